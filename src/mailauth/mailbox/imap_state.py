"""What pymap's connection state lacks or does otherwise than we want.

Source: pymap.imap.state (0.36); RFC 2342 (NAMESPACE), RFC 3691 (UNSELECT), RFC 5161 (ENABLE).
Rule: the session is there from the beginning; nobody logs in here.
"""

from __future__ import annotations

import asyncio
import ssl
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import cast

from pymap.concurrent import Event, Subsystem
from pymap.config import BackendCapability, IMAPConfig
from pymap.imap.state import ConnectionState
from pymap.interfaces.login import LoginInterface
from pymap.parsing import EndLine, Params, Space
from pymap.parsing.command import Command, CommandAuth, CommandNoArgs, CommandSelect
from pymap.parsing.command.any import IdCommand
from pymap.parsing.command.auth import AppendCommand
from pymap.parsing.command.select import CloseCommand, FetchCommand, IdleCommand, StoreCommand
from pymap.parsing.commands import Commands
from pymap.parsing.exceptions import NotParseable
from pymap.parsing.primitives import Atom
from pymap.parsing.response import CommandResponse, ResponseBad, ResponseCode, ResponseOk, UntaggedResponse
from pymap.parsing.specials import FetchAttribute
from pymap.selected import SelectedMailbox
from pysasl.hashing import BuiltinHash

from mailauth.attempt import client_name
from mailauth.mailbox.imap_fetch import FetchLines, LastContent
from mailauth.mailbox.imap_mail import Mail

Answer = tuple[CommandResponse, SelectedMailbox | None]
FLAGS, UID = FetchAttribute(b"FLAGS"), FetchAttribute(b"UID")


class NamespaceCommand(CommandNoArgs, CommandAuth):
    """NAMESPACE, RFC 2342."""

    command = b"NAMESPACE"


class UnselectCommand(CommandNoArgs, CommandSelect):
    """UNSELECT, RFC 3691."""

    command = b"UNSELECT"


class EnableCommand(CommandAuth):
    """ENABLE, RFC 5161. We have nothing that must be enabled; whatever is asked for is passed over."""

    command = b"ENABLE"

    @classmethod
    def parse(cls, buf: memoryview, params: Params) -> tuple[EnableCommand, memoryview]:
        while True:
            _, buf = Space.parse(buf, params)
            _, buf = Atom.parse(buf, params)
            with suppress(NotParseable):
                _, buf = EndLine.parse(buf, params)
                return cls(params.tag), buf


class Config(IMAPConfig):
    """pymap's settings, of which few matter after login."""

    def __init__(self, max_message_bytes: int) -> None:
        super().__init__(
            Namespace(proxy_protocol=None),
            host=None,
            port=0,
            ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            hash_context=BuiltinHash(),
            subsystem=Subsystem.for_asyncio(),
            cpu_subsystem=Subsystem.for_asyncio(),
            max_append_len=max_message_bytes,
        )

    @property
    def backend_capability(self) -> BackendCapability:
        return BackendCapability(idle=True, object_id=False, multi_append=False)

    @property
    def commands(self) -> Commands:
        commands = Commands()
        for command in (NamespaceCommand, UnselectCommand, EnableCommand):
            commands.register(command)
        return commands


class State(ConnectionState):
    """The state of one session that is in."""

    def __init__(
        self, config: IMAPConfig, mail: Mail, capabilities: Sequence[bytes], named: Callable[[str], None]
    ) -> None:
        super().__init__(cast("LoginInterface", None), config)
        self._mail = self._session = mail
        self._capability = list(capabilities[1:])  # IMAP4rev1 is pymap's own
        self._last = LastContent()
        self._named = named

    @property
    def is_selected(self) -> bool:
        """Whether a mailbox is selected."""
        return self._selected is not None

    def next_change(self) -> asyncio.Future[None]:
        """A future that is done once the selected mailbox has changed; cancel it when it is not wanted any more."""
        return self._mail.next_change(self.selected)

    async def updates(self, command: IdleCommand) -> Iterable[UntaggedResponse]:
        """What the client has not been told yet about the selected mailbox."""
        return await self.receive_updates(command, Event.for_asyncio())

    async def do_command(self, cmd: Command) -> CommandResponse:
        if not isinstance(cmd, FetchCommand):
            self._last.keep(None)
        return await super().do_command(cmd)

    async def do_id(self, cmd: IdCommand) -> Answer:
        self._named(client_name({name.lower(): value for name, value in (cmd.parameters or {}).items()}))
        return await super().do_id(cmd)

    async def do_fetch(self, cmd: FetchCommand) -> Answer:
        selected = self.selected
        selected.hide_expunged = not cmd.uid
        set_seen = not selected.readonly and any(attribute.set_seen for attribute in cmd.attributes)
        reply = ResponseOk(cmd.tag, cmd.command + b" completed.")
        lines = FetchLines(cmd.attributes, selected.session_flags, reply, self._last)
        lines.found, updates = await self._mail.fetch_messages(selected, cmd.sequence_set, set_seen)
        reply.add_untagged(lines)
        return reply, updates

    async def do_store(self, cmd: StoreCommand) -> Answer:
        selected = self.selected
        selected.hide_expunged = not cmd.uid
        flags = self._mail.storable(selected, cmd.flag_set)
        selected.silence(cmd.sequence_set, flags, cmd.mode)  # what others change at the same time is told all the same
        reply = ResponseOk(cmd.tag, cmd.command + b" completed.")
        found, updates = await self._mail.update_flags(selected, cmd.sequence_set, flags, cmd.mode)
        if any(message.expunged for _, message in found):
            reply.code = ResponseCode.of(b"EXPUNGEISSUED")
        if not cmd.silent:
            lines = FetchLines((FLAGS, UID) if cmd.uid else (FLAGS,), selected.session_flags, reply, self._last)
            lines.found = [(number, message) for number, message in found if not message.expunged]
            reply.add_untagged(lines)
        return reply, updates

    async def do_append(self, cmd: AppendCommand) -> Answer:
        if any(message.options for message in cmd.messages):  # what is no literal, pymap takes for an option
            return ResponseBad(cmd.tag, b"APPEND: Invalid arguments."), None
        return await super().do_append(cmd)

    async def do_close(self, cmd: CloseCommand) -> Answer:
        if self.selected.readonly:  # RFC 3501 section 6.4.2: nothing is removed, and that is no error
            self._selected = None
            return ResponseOk(cmd.tag, b"CLOSE completed."), None
        return await super().do_close(cmd)

    async def do_unselect(self, cmd: UnselectCommand) -> Answer:
        """Close without removing anything."""
        self._selected = None
        return ResponseOk(cmd.tag, b"UNSELECT completed."), None

    async def do_namespace(self, cmd: NamespaceCommand) -> Answer:
        """One namespace, without a prefix."""
        reply = ResponseOk(cmd.tag, b"NAMESPACE completed.")
        reply.add_untagged(UntaggedResponse(b'NAMESPACE (("" "/")) NIL NIL'))
        return reply, None

    async def do_enable(self, cmd: EnableCommand) -> Answer:
        """Nothing of what was asked for has been enabled."""
        reply = ResponseOk(cmd.tag, b"ENABLE completed.")
        reply.add_untagged(UntaggedResponse(b"ENABLED"))
        return reply, None
