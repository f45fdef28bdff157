"""`python -m mailauth.keeper.process DESCRIPTOR CONFIG`: the keeper as a child of the server that asks it.

Rule: its memory is closed to others before a secret is read. It ends with the channel, and by no signal that is meant
for the server: otherwise it would cut what the server still says goodbye to.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Coroutine
from pathlib import Path

from mailauth import config, logs
from mailauth.keeper.channel import Channel
from mailauth.keeper.configured import open_keeper
from mailauth.serving import memory
from mailauth.serving.hardening import keep_memory_private
from mailauth.serving.shortage import raise_descriptor_limit

THE_SERVERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

log = logging.getLogger(__name__)


async def serve_one(sock: socket.socket, path: Path) -> None:
    """Answer the server at the other end until it goes."""
    over = asyncio.Event()
    try:
        settings = config.load(path)
        logs.configure(settings.log.level, settings.log.file)
        keeper = open_keeper(settings)
    except (config.ConfigError, OSError) as fault:
        channel = Channel(sock, lambda *_: None, over.set)
        channel.send({"fault": str(fault)})
        await over.wait()
        return
    memory.keep_little()
    keeper.serve(sock, over.set)
    gc.freeze()
    await over.wait()
    await keeper.close()


def main() -> None:
    """The process."""
    keep_memory_private()
    for number in THE_SERVERS:
        signal.signal(number, signal.SIG_IGN)
    raise_descriptor_limit()  # a session over TLS takes two
    descriptor, path = sys.argv[1:]
    run(serve_one(socket.socket(fileno=int(descriptor)), Path(path)))


def run(keeping: Coroutine[None, None, None]) -> None:
    """To its end, in the fastest event loop there is."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # a platform without it: slower, but right
        asyncio.run(keeping)
    else:
        uvloop.run(keeping)


if __name__ == "__main__":
    main()
