"""An account on disk, and clients that are in already, over socket pairs."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from mailauth.dialogue import Ending
from mailauth.mailbox import messagefile
from mailauth.mailbox.folder import Folder
from mailauth.mailbox.maildir import MaildirMailboxes
from mailauth.verdict import Principal

LOGIN = "alice@example.test"
LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


class Connection:
    """The client's end of one session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, session: asyncio.Task[None]) -> None:
        self.reader = reader
        self.writer = writer
        self.session = session
        self.ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def line(self) -> bytes:
        """One line, or one response with its literals."""
        whole = b""
        while True:
            part = await asyncio.wait_for(self.reader.readline(), 10)
            whole += part
            literal = LITERAL.search(part)
            if literal is None:
                return whole
            whole += await asyncio.wait_for(self.reader.readexactly(int(literal[1])), 10)

    async def lines_until(self, start: bytes) -> list[bytes]:
        """Lines up to and with the one that starts so; fewer when the server closes."""
        lines = []
        while line := await self.line():
            lines.append(line)
            if line.startswith(start):
                break
        return lines

    async def rest(self) -> bytes:
        """All that the server says before it closes."""
        return await asyncio.wait_for(self.reader.read(), 10)


class ImapClient(Connection):
    tags = 0

    async def do(self, command: bytes) -> list[bytes]:
        """A command in full; all lines of its answer, the tagged one last and without its tag."""
        self.tags += 1
        tag = b"t%d " % self.tags
        self.send(tag + command + b"\r\n")
        *untagged, last = await self.lines_until(tag)
        return [*untagged, last.removeprefix(tag)]

    async def ok(self, command: bytes) -> list[bytes]:
        """The untagged lines of a command that must succeed."""
        *untagged, last = await self.do(command)
        assert last.startswith(b"OK "), last
        return untagged

    async def fetched(self, number: int, item: bytes) -> bytes:
        """The octets of one section."""
        line, *_ = await self.ok(b"FETCH %d (%b)" % (number, item))
        head, _, rest = line.partition(b"}\r\n")
        return rest[: int(head.rpartition(b"{")[2])]


class Pop3Client(Connection):
    async def do(self, command: bytes) -> bytes:
        """A command with a one-line answer."""
        self.send(command + b"\r\n")
        return await self.line()

    async def multiline(self, command: bytes) -> tuple[bytes, bytes]:
        """A command with an answer of many lines: the status line, and what stands before the last dot, unstuffed."""
        status = await self.do(command)
        assert status.startswith(b"+OK"), status
        lines = []
        while (line := await self.line()) != b".\r\n":
            assert line, "cut short"
            lines.append(line.removeprefix(b"."))
        return status, b"".join(lines)


class House:
    """Mailboxes below a directory, and whoever is connected."""

    def __init__(self, root: Path, **settings: float) -> None:
        self.mailboxes = MaildirMailboxes(root, **settings)  # type: ignore[arg-type]
        self.path = str(self.mailboxes.path_of(LOGIN))
        self._clients: list[Connection] = []

    def fill(self, *messages: bytes, place: str = "cur") -> Folder:
        """Put messages into INBOX, as some other program would."""
        messagefile.make_maildir(self.path)
        for content in messages:
            unique = messagefile.mint_unique(content)
            Path(self.path, place, unique + ":2," * (place == "cur")).write_bytes(content)
        return self.inbox()

    def inbox(self) -> Folder:
        """INBOX, looked at anew."""
        folder = Folder(self.path)
        folder.refresh()
        return folder

    async def imap(self, login: str = LOGIN) -> ImapClient:
        client = await self._connect(ImapClient, self.mailboxes.serve_imap, login)
        assert isinstance(client, ImapClient)
        return client

    async def pop3(self, login: str = LOGIN) -> Pop3Client:
        client = await self._connect(Pop3Client, self.mailboxes.serve_pop3, login)
        assert isinstance(client, Pop3Client)
        return client

    async def _connect(self, kind: type[Connection], serve: Callable[..., Awaitable[None]], login: str) -> Connection:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

        async def session() -> None:
            try:
                await serve(Principal(1, login, None), reader, writer, ending, lambda cause: b"BYE " + cause.encode())
            finally:
                writer.close()

        task = asyncio.create_task(session())
        client = kind(*await asyncio.open_connection(sock=theirs, limit=2**26), task)
        client.ending = ending
        self._clients.append(client)
        return client

    async def close(self) -> None:
        for client in self._clients:
            client.writer.close()
        for client in self._clients:
            await asyncio.wait_for(client.session, 10)
            await client.writer.wait_closed()
        await asyncio.sleep(0)
