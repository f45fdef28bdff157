"""A mail server to stand behind another: lets everybody in, waits in IDLE, and gives and takes as much as one likes.

    behind.py PORT

`x SEND n` is answered with n MiB and then with its OK, `x TAKE n` with its OK when n MiB have come.
Source: RFC 3501, RFC 2177, as far as a login, SELECT and IDLE go. A program of its own: its CPU is nobody else's.
"""

from __future__ import annotations

import asyncio
import resource
import sys

import uvloop

MIB = 2**20
BLOCK = bytes(MIB)


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection, until it ends."""
    try:
        writer.write(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN IDLE] ready\r\n")
        while words := (await reader.readline()).split():
            tag, name, *rest = words
            if name == b"SEND":
                for _ in range(int(rest[0])):
                    writer.write(BLOCK)
                    await writer.drain()
            elif name == b"TAKE":
                await _swallow(reader, int(rest[0]) * MIB)
            elif name == b"IDLE":
                writer.write(b"+ idling\r\n")
                continue
            writer.write(tag + b" OK [CAPABILITY IMAP4rev1 IDLE] done\r\n")
    except (OSError, ValueError):
        pass  # it is gone, or stands in the middle of nothing
    finally:
        writer.close()


async def _swallow(reader: asyncio.StreamReader, left: int) -> None:
    while left > 0:
        left -= len(await reader.read(min(left, MIB)))


async def main(port: int) -> None:
    """Listen until the end."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = await asyncio.start_server(talk, "127.0.0.1", port, backlog=1024, limit=MIB)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1])))
