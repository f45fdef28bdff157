"""IMAP after login: one client's commands, answered with pymap's engine.

Source: RFC 3501, RFC 2177 (IDLE), RFC 7888 (literals), RFC 5530 (response codes).
Rule: whatever the client sends, it gets a tagged answer or a BYE. Reading is ours, with limits; parsing is pymap's, and
what it cannot parse is BAD.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, cast

from pymap.exceptions import ResponseError
from pymap.parsing.command import Command
from pymap.parsing.command.select import IdleCommand
from pymap.parsing.commands import InvalidCommand
from pymap.parsing.response import CommandResponse, ResponseBad, ResponseCode, ResponseNo, ResponseOk

from mailauth.mailbox import imap_mends
from mailauth.mailbox.account import Account
from mailauth.mailbox.imap_mail import Mail, NotRemoved
from mailauth.mailbox.imap_state import Config, State
from mailauth.mailbox.keywords import KeywordsFull
from mailauth.mailbox.layout import BadName, FolderExists, NoFolder
from mailauth.mailbox.view import FolderGone
from mailauth.mailbox.wire import LineTooLong, Silence, Wire

log = logging.getLogger(__name__)

MAX_COMMAND_BYTES = 65_536  # lines and literals together; a message in APPEND comes on top
MAX_BAD_COMMANDS = 20
TAG = re.compile(rb'[^\x00-\x20\x7f-\xff(){%*"\\+]+')
LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r?\n\Z")
APPEND = re.compile(rb"[^ ]+ APPEND ", re.IGNORECASE)

imap_mends.mend()


async def serve(
    account: Account,
    wire: Wire,
    capabilities: Sequence[bytes],
    max_message_bytes: int,
    named: Callable[[str], None] = lambda _: None,
) -> None:
    """Talk to a client that is in, from its first unread command to LOGOUT or the end of the connection.

    named: told what the client calls itself, when it says so (RFC 2971).
    """
    config = Config(max_message_bytes)
    state = State(config, Mail(account), capabilities, named)
    conversation = Conversation(state, config, wire, max_message_bytes)
    try:
        await conversation.run()
    except LineTooLong:
        await wire.say(b"* BAD Line too long.\r\n* BYE Line too long.\r\n")
    except Silence:
        await wire.say(b"* BYE Disconnected for inactivity.\r\n")


class Conversation:
    """Commands in, responses out."""

    def __init__(self, state: State, config: Config, wire: Wire, max_message_bytes: int) -> None:
        self._state = state
        self._commands = config.commands
        self._params = config.parsing_params.copy(allow_continuations=False)
        self._wire = wire
        self._max_message_bytes = max_message_bytes
        self._bad_commands = 0

    async def run(self) -> None:
        """Until LOGOUT, too many bad commands, or the end of the connection. Raises LineTooLong, Silence, OSError."""
        while (octets := await self._next()) is not None:
            command = self._parsed(octets)
            if command is None:
                continue
            response = await self._answer(command)
            self._bad_commands = self._bad_commands + 1 if response.is_bad else 0
            async with self._wire.reply():
                await response.async_write(self._wire)
            if response.is_terminal:
                return
            if self._bad_commands >= MAX_BAD_COMMANDS:
                await self._wire.say(b"* BYE Too many bad commands.\r\n")
                return

    # ---- reading

    async def _next(self) -> bytearray | None:
        """One command with its literals, all of them in the non-synchronising form; None: there is none to come."""
        command = bytearray()
        while line := await self._wire.line():
            command += line
            literal = LITERAL.search(line)
            if literal is None:
                return command
            size_bytes = int(literal[1]) if len(literal[1]) < 12 else 10**12
            if len(command) + size_bytes > self._limit(command):
                tag = bytes(command.partition(b" ")[0])
                await self._wire.say(tag + b" NO [TOOBIG] Literal too big.\r\n")
                if literal[2]:  # it is on its way: there is no getting back in step
                    await self._wire.say(b"* BYE [TOOBIG] Literal too big.\r\n")
                    return None
                command.clear()
                continue
            if not literal[2]:
                await self._wire.say(b"+ Ready.\r\n")
                command[len(command) - len(line) + literal.start() :] = b"{%d+}\r\n" % size_bytes
            octets = await self._wire.octets(size_bytes)
            if len(octets) < size_bytes:
                return None
            command += octets
        return None

    def _limit(self, command: bytearray) -> int:
        return MAX_COMMAND_BYTES + (self._max_message_bytes if APPEND.match(command) else 0)

    def _parsed(self, octets: bytearray) -> Command | None:
        """None: an empty line, which is nothing (some clients send one after a literal)."""
        if not octets.strip():
            return None
        try:
            command, _ = self._commands.parse(memoryview(octets), self._params)
        except Exception:  # noqa: BLE001  whatever pymap's parser trips over, the client has sent
            tag = bytes(octets.split(None, 1)[0])
            return Unreadable(self._params.copy(tag=tag if TAG.fullmatch(tag) else b"*"), None)
        return command

    # ---- answering

    async def _answer(self, command: Command) -> CommandResponse:
        try:
            if isinstance(command, InvalidCommand):
                return _invalid(command)
            if isinstance(command, IdleCommand):
                return await self._idle(command)
            return await self._state.do_command(command)
        except ResponseError as refused:
            return cast("CommandResponse", refused.get_response(command.tag))  # of each of its classes
        except (ConnectionError, Silence, LineTooLong):
            raise
        except Exception as fault:  # noqa: BLE001  one command that fails is no reason to lose the session
            return _refusal(command.tag, fault)

    async def _idle(self, command: IdleCommand) -> CommandResponse:
        """Tell what changes until the client says DONE, or says anything else, or nothing for too long."""
        await self._wire.say(b"+ Idling.\r\n")
        done = asyncio.ensure_future(self._wire.line())
        try:
            while self._state.is_selected and not done.done():
                change = self._state.next_change()  # first, so that no change falls between looking and waiting
                try:
                    if await self._tell(command):
                        raise ConnectionAbortedError  # the goodbye is said
                    either: set[asyncio.Future[Any]] = {done, change}
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    change.cancel()
            line = await done
        finally:
            done.cancel()
        if not line:
            raise ConnectionResetError
        if line.strip().upper() != b"DONE":
            return ResponseBad(command.tag, b"Expected DONE.")
        return ResponseOk(command.tag, b"IDLE completed.")

    async def _tell(self, command: IdleCommand) -> bool:
        """Say what has changed; True: that was a goodbye."""
        try:
            updates = list(await self._state.updates(command))
        except OSError:  # the disk's fault: whatever it hides now, a later look shows
            return False
        async with self._wire.reply():
            for update in updates:
                await update.async_write(self._wire)
        return any(update.is_terminal for update in updates)


class Unreadable(InvalidCommand):
    """A command that made the parser fail, rather than say no."""

    @property
    def message(self) -> bytes:
        return b"Not understood."


def _invalid(command: InvalidCommand) -> CommandResponse:
    """BAD, or NO where the parser knows a reason that is not the syntax (TOOBIG, BADCHARSET)."""
    reason = command.parse_exc.code if command.parse_exc is not None else None
    if reason is not None:
        return ResponseNo(command.tag, command.message, reason)
    return ResponseBad(command.tag, command.message)


def _refusal(tag: bytes, fault: Exception) -> CommandResponse:
    match fault:
        case BadName():
            code, text = b"CANNOT", str(fault).encode("ascii", "replace")
        case FolderGone() | NoFolder():
            code, text = b"NONEXISTENT", b"Mailbox does not exist."
        case FolderExists():
            code, text = b"ALREADYEXISTS", b"Mailbox already exists."
        case KeywordsFull():
            code, text = b"LIMIT", b"This mailbox cannot have another keyword."
        case NotRemoved():
            code, text = b"UNAVAILABLE", b"Some messages were not removed."
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            code, text = b"OVERQUOTA", b"No space left."
        case OSError():
            log.warning("mailbox fault: %s", errno.errorcode.get(fault.errno or 0, type(fault).__name__))
            code, text = b"UNAVAILABLE", b"Mailbox unavailable, try again later."
        case _:
            log.error("command failed: %s", type(fault).__name__, exc_info=fault)
            code, text = b"SERVERBUG", b"Internal error."
    return ResponseNo(tag, text, ResponseCode.of(code))
