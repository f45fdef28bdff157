"""The next mail server, played: it says what it is told to say, and remembers what it heard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class NextServer:
    """Answers as told. answers: by command; "." is the end of data, "greeting" the first line; None closes."""

    def __init__(self, **answers: str | None) -> None:
        self.answers: dict[str, str | None] = {
            "greeting": "220 next",
            "ehlo": "250-next\r\n250-SIZE 1000000\r\n250 8BITMIME",
            "mail": "250 ok",
            "rcpt": "250 ok",
            "data": "354 go",
            "end": "250 ok",
            "quit": "221 bye",
            "rset": "250 ok",
            **answers,
        }
        self.heard: list[str] = []
        self.messages: list[bytes] = []
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            answer = self.answers["greeting"]
            while answer is not None:
                writer.write(answer.encode("latin-1") + b"\r\n")
                if answer.startswith("354"):
                    self.messages.append(await reader.readuntil(b"\r\n.\r\n"))
                    answer = self.answers["end"]
                    continue
                line = (await reader.readuntil(b"\r\n")).decode().strip()
                self.heard.append(line)
                answer = self.answers.get(line.split(" ")[0].lower(), "500 what")
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[NextServer]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
