"""Mail on this machine: each account's Maildir, served by IMAP and POP3 after login, and local delivery into it.

Rule: what IMAP after login is made of (pymap) is imported when the first IMAP session enters, not with this module.
"""

from __future__ import annotations

import asyncio
import string
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from weakref import WeakValueDictionary

from mailauth.dialogue import Ending
from mailauth.mailbox import pop3
from mailauth.mailbox.account import Account
from mailauth.mailbox.delivery import DeliveryFailed, deliver_file
from mailauth.mailbox.layout import INBOX
from mailauth.mailbox.watch import POLL_S, Watch
from mailauth.mailbox.wire import Wire, talk_until
from mailauth.verdict import Principal

IMAP_IDLE_S = 1800.0  # RFC 3501 section 5.4: at least 30 minutes
MAX_MESSAGE_BYTES = 35 * 1024 * 1024  # a 25 MB attachment in base64, and its company
IMAP_CAPABILITIES: tuple[bytes, ...] = (
    b"IMAP4rev1",
    b"LITERAL+",
    b"ID",
    b"ENABLE",
    b"IDLE",
    b"NAMESPACE",
    b"UIDPLUS",
    b"UNSELECT",
    b"CHILDREN",
    b"MOVE",
)
_PLAIN = frozenset((string.ascii_lowercase + string.digits + "._+=-").encode())

Goodbye = Callable[[Ending], bytes]
Named = Callable[[str], None]


class MaildirMailboxes:
    """All mailboxes below one directory. Belongs to one event loop.

    max_message_bytes: of a message that a client appends. poll_s: how often folders that somebody waits for are
    looked at; this process's own deliveries and changes are told at once.
    """

    def __init__(self, root: Path, max_message_bytes: int = MAX_MESSAGE_BYTES, poll_s: float = POLL_S) -> None:
        self._root = root
        self._max_message_bytes = max_message_bytes
        self._watch = Watch(poll_s)
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()

    @property
    def imap_capabilities(self) -> tuple[bytes, ...]:
        """What the tagged OK of a login announces: IMAP_CAPABILITIES and our limit (RFC 7889)."""
        return *IMAP_CAPABILITIES, b"APPENDLIMIT=%d" % self._max_message_bytes

    def path_of(self, login: str) -> Path:
        """The account's Maildir: <root>/<domain>/<local part>.

        Every byte outside [a-z0-9._+=-] is written %hh, and so is a leading dot: no login leads outside, no two
        logins share a path on any file system, and the login can be read from the path. Raises ValueError.
        """
        local, at, domain = login.rpartition("@")
        if not (local and at and domain):
            raise ValueError("a login is a full mail address")
        return self._root / _entry(domain) / _entry(local)

    async def serve_imap(
        self,
        principal: Principal,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ending: asyncio.Future[Ending],
        goodbye: Goodbye,
        *,
        named: Named = lambda _: None,
    ) -> None:
        """Serve IMAP to a client that has been told that it is in; its first unread command is in `reader`.

        ending: when done, the session says goodbye(its result) and returns. Returns too when the client has left. The
        caller closes the connection. named: told what the client calls itself, when it says so (RFC 2971).
        """
        await asyncio.to_thread(import_module, "mailauth.mailbox.imap_session")  # the first time takes 0.2 s
        from mailauth.mailbox import imap_session  # noqa: PLC0415

        wire = Wire(reader, writer, IMAP_IDLE_S)
        account, capabilities = self._account(principal.login), self.imap_capabilities
        talk = imap_session.serve(account, wire, capabilities, self._max_message_bytes, named)
        await talk_until(wire, talk, ending, goodbye)

    async def serve_pop3(
        self,
        principal: Principal,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        ending: asyncio.Future[Ending],
        goodbye: Goodbye,
        *,
        named: Named = lambda _: None,  # noqa: ARG002 - in POP3 nobody says
    ) -> None:
        """Serve POP3's TRANSACTION state; as serve_imap."""
        wire = Wire(reader, writer, pop3.IDLE_S)
        await talk_until(wire, pop3.serve(self._account(principal.login), wire), ending, goodbye)

    async def deliver(self, login: str, content: bytes, envelope_from: str) -> None:
        """Store a message in the account's INBOX, down to the disk, under Return-Path and Delivered-To.

        content: line ends may be any; it is stored with CRLF, the last line included. Raises DeliveryFailed, and then
        nothing is stored.
        """
        try:
            path = self.path_of(login)
        except ValueError as bad:
            raise DeliveryFailed(str(bad)) from None
        await asyncio.to_thread(deliver_file, str(path), login, content, envelope_from)
        self.changed(login)

    def changed(self, login: str) -> None:
        """Somebody has put mail into this account's INBOX: wake the sessions that wait for it."""
        account = self._accounts.get(login)
        folder = account.open_folder(INBOX) if account is not None else None
        if folder is not None:
            self._watch.changed(folder)

    def _account(self, login: str) -> Account:
        account = self._accounts.get(login)
        if account is None:
            account = self._accounts[login] = Account(str(self.path_of(login)), self._watch)
        return account


def _entry(part: str) -> str:
    octets = part.encode("utf-8", "surrogatepass")
    return "".join(
        chr(octet) if octet in _PLAIN and not (index == 0 and octet == ord(".")) else f"%{octet:02x}"
        for index, octet in enumerate(octets)
    )
