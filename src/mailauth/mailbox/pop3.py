"""POP3 after login: the TRANSACTION and UPDATE states (RFC 1939 sections 5 and 6, RFC 2449).

Rule: the maildrop is what INBOX held when the session entered. Nothing is removed before QUIT, and nothing at all when
the connection is lost. Reading a message marks nothing: what is new to IMAP stays new.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mailauth.mailbox import messagefile
from mailauth.mailbox.account import Account
from mailauth.mailbox.folder import Folder
from mailauth.mailbox.layout import INBOX
from mailauth.mailbox.view import FolderGone, MessageGone, Stored
from mailauth.mailbox.wire import LineTooLong, Silence, Wire

IDLE_S = 600.0  # RFC 1939 section 3: at least 10 minutes
MAX_LINE_BYTES = 255  # RFC 2449 section 4
MAX_BAD_COMMANDS = 20
CAPABILITIES = (b"TOP", b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE", b"PIPELINING", b"EXPIRE NEVER")
UNAVAILABLE = b"[SYS/TEMP] Mailbox unavailable, try again later."
NUMBER = re.compile(rb"[0-9]{1,9}")


class Refused(Exception):
    """The answer is -ERR with this text."""


@dataclass(slots=True)
class Entry:
    """One message of the maildrop. octets: as RETR sends it, before dots are doubled; doomed: marked by DELE."""

    stored: Stored
    octets: int
    doomed: bool = False

    @property
    def unique_id(self) -> bytes:
        """Of the file's unique name, which outlives flags, sessions and restarts (RFC 1939 section 7)."""
        name = self.stored.unique.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(name, digest_size=16).hexdigest().encode("ascii")


async def serve(account: Account, wire: Wire) -> None:
    """Talk to a client that has just logged in, from its first unread command to QUIT or the end of the connection."""
    try:
        folder = await account.folder(INBOX)
        maildrop = await account.work(folder, _maildrop)
    except (FolderGone, OSError):
        await wire.say(b"-ERR " + UNAVAILABLE + b"\r\n")
        return
    session = Session(account, folder, maildrop, wire)
    try:
        while session.open and (line := await wire.line()):
            await session.take(line)
    except LineTooLong:
        await wire.say(b"-ERR Line too long.\r\n")
    except Silence:
        pass  # RFC 1939 section 3: close without removing anything and without a word


class Session:
    """The TRANSACTION state of one session."""

    def __init__(self, account: Account, folder: Folder, maildrop: Sequence[Entry], wire: Wire) -> None:
        self.open = True
        self._account = account
        self._folder = folder
        self._maildrop = maildrop
        self._wire = wire
        self._bad_commands = 0

    async def take(self, line: bytes) -> None:
        """Answer one command line."""
        try:
            if len(line) > MAX_LINE_BYTES:
                raise Refused(b"Line too long.")
            name, *arguments = line.split() or [b""]
            command = COMMANDS.get(name.upper())
            if command is None:
                raise Refused(b"Unknown command.")
            await command(self, *self._numbers(name.upper(), arguments))
        except Refused as refused:
            self._bad_commands += 1
            await self._wire.say(b"-ERR " + refused.args[0] + b"\r\n")
            self.open = self.open and self._bad_commands < MAX_BAD_COMMANDS

    def _numbers(self, name: bytes, arguments: list[bytes]) -> list[int]:
        least, most = ARGUMENT_COUNTS.get(name, (0, 0))
        if not least <= len(arguments) <= most or not all(map(NUMBER.fullmatch, arguments)):
            raise Refused(b"Wrong arguments.")
        return [int(argument) for argument in arguments]

    def _live(self) -> Iterator[tuple[int, Entry]]:
        return ((number, entry) for number, entry in enumerate(self._maildrop, 1) if not entry.doomed)

    def _entry(self, number: int) -> Entry:
        if not 1 <= number <= len(self._maildrop) or self._maildrop[number - 1].doomed:
            raise Refused(b"No such message.")
        return self._maildrop[number - 1]

    # ---- commands

    async def _capa(self) -> None:
        await self._wire.say(_multiline(b"Capabilities follow.", CAPABILITIES))

    async def _noop(self) -> None:
        await self._ok(b"Nothing done.")

    async def _stat(self) -> None:
        live = [entry.octets for _, entry in self._live()]
        await self._ok(b"%d %d" % (len(live), sum(live)))

    async def _list(self, number: int | None = None) -> None:
        if number is not None:
            await self._ok(b"%d %d" % (number, self._entry(number).octets))
        else:
            lines = [b"%d %d" % (number, entry.octets) for number, entry in self._live()]
            await self._wire.say(_multiline(b"%d messages." % len(lines), lines))

    async def _uidl(self, number: int | None = None) -> None:
        if number is not None:
            await self._ok(b"%d %b" % (number, self._entry(number).unique_id))
        else:
            lines = [b"%d %b" % (number, entry.unique_id) for number, entry in self._live()]
            await self._wire.say(_multiline(b"Unique ids follow.", lines))

    async def _dele(self, number: int) -> None:
        self._entry(number).doomed = True
        await self._ok(b"Message %d will be removed." % number)

    async def _rset(self) -> None:
        for entry in self._maildrop:
            entry.doomed = False
        await self._ok(b"No message will be removed.")

    async def _retr(self, number: int) -> None:
        entry = self._entry(number)
        await self._send(entry, b"%d octets" % entry.octets, lambda chunks: chunks)

    async def _top(self, number: int, line_count: int) -> None:
        await self._send(self._entry(number), b"Top of message follows.", lambda chunks: _head(chunks, line_count))

    async def _send(self, entry: Entry, text: bytes, part: Callable[[Iterator[bytes]], Iterator[bytes]]) -> None:
        try:
            stored, file = await self._account.work(self._folder, Folder.open, entry.stored.uid)
        except (MessageGone, FolderGone):
            raise Refused(b"The message is gone: another session removed it.") from None
        except OSError:
            raise Refused(UNAVAILABLE) from None
        with file:
            if stored.unique != entry.stored.unique:  # the folder has started anew, and its numbers with it
                raise Refused(b"The message is gone: another session removed it.")
            chunks = _stuffed(part(messagefile.wire_chunks(file, stored.unique)))
            async with self._wire.reply():
                self._wire.write(b"+OK " + text + b"\r\n")
                while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                    await self._wire.send(chunk)
                self._wire.write(b".\r\n")

    async def _quit(self) -> None:
        self.open = False
        doomed = [entry.stored for entry in self._maildrop if entry.doomed]
        try:
            all_gone = not doomed or not await self._account.work(self._folder, _remove, doomed)
        except (FolderGone, OSError):
            all_gone = False
        if not all_gone:
            raise Refused(b"[SYS/TEMP] Some deleted messages were not removed.")
        await self._ok(b"Bye.")

    async def _ok(self, text: bytes) -> None:
        await self._wire.say(b"+OK " + text + b"\r\n")


COMMANDS: Mapping[bytes, Callable[..., Awaitable[None]]] = MappingProxyType(
    {
        b"CAPA": Session._capa,
        b"DELE": Session._dele,
        b"LIST": Session._list,
        b"NOOP": Session._noop,
        b"QUIT": Session._quit,
        b"RETR": Session._retr,
        b"RSET": Session._rset,
        b"STAT": Session._stat,
        b"TOP": Session._top,
        b"UIDL": Session._uidl,
    }
)
ARGUMENT_COUNTS: Mapping[bytes, tuple[int, int]] = MappingProxyType(
    {b"DELE": (1, 1), b"LIST": (0, 1), b"RETR": (1, 1), b"TOP": (2, 2), b"UIDL": (0, 1)}
)


def _maildrop(folder: Folder) -> list[Entry]:
    entries = []
    for uid, stored in folder.view.messages.items():
        try:
            size = folder.size(uid)
        except MessageGone:
            continue
        entries.append(Entry(stored, size.octets + (0 if size.whole_lines else 2)))  # 2: the line end that RETR adds
    return entries


def _remove(folder: Folder, doomed: Sequence[Stored]) -> list[int]:
    """Remove these messages; returns the UIDs of those that could not be removed. What is gone already is removed."""
    now = folder.refresh().messages
    return folder.expunge([old.uid for old in doomed if old.uid in now and now[old.uid].unique == old.unique])


def _multiline(text: bytes, lines: Sequence[bytes]) -> bytes:
    return b"+OK " + text + b"\r\n" + b"".join(line + b"\r\n" for line in lines) + b".\r\n"


def _stuffed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Wire form as RETR sends it: a dot that begins a line is doubled, the last line ends (RFC 1939 section 3)."""
    line_begins = True
    for chunk in chunks:
        yield (b"." if line_begins and chunk.startswith(b".") else b"") + chunk.replace(b"\n.", b"\n..")
        line_begins = chunk.endswith(b"\n")
    if not line_begins:
        yield b"\r\n"


def _head(chunks: Iterator[bytes], line_count: int) -> Iterator[bytes]:
    """The header, the blank line, and so many lines of the body."""
    left: int | None = None  # None: in the header
    line = b""  # how the line under way begins, if it began in a chunk before
    for chunk in chunks:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if left is not None:
                left -= 1
            elif line + chunk[start:end] == b"\r":
                left = line_count
            start, line = end + 1, b""
            if left == 0:
                yield chunk[:start]
                return
        line = (line + chunk[start:])[:2]
        yield chunk
