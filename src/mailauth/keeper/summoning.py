"""How a server comes by its keeper: a child of its own, or a service that somebody else runs.

Rule: a child is begun with nothing of ours but one end of a socket pair and the path of the configuration.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mailauth.config import ConfigError, Settings
from mailauth.keeper.client import Asking, KeptBackends, NoKeeper
from mailauth.keeper.configured import BEHIND_US, backends_of, is_needed
from mailauth.serving.backing import Backends

LEAVES_S = 3.0  # a child that has been left ends by itself in less


class Child:
    """Starts the keeper's process, one after the other."""

    def __init__(self, config_file: Path) -> None:
        self._config_file = config_file
        self._process: subprocess.Popen[bytes] | None = None

    async def summon(self) -> socket.socket:
        """Our end of a pair, whose other end the new process has. Raises NoKeeper."""
        await self.end()
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.to_thread(self._start, theirs)
        except OSError as error:
            ours.close()
            raise NoKeeper(f"its process cannot be started: {error.strerror}") from None
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    async def end(self) -> None:
        """Have the one before end, if it has not yet."""
        if self._process is not None:
            process, self._process = self._process, None
            await asyncio.to_thread(_ended, process)

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        number = theirs.fileno()
        arguments = [str(number), os.fspath(self._config_file)]
        words = [sys.executable, "-P", "-m", "mailauth.keeper.process", *arguments]  # not from where we happen to be
        return subprocess.Popen(words, pass_fds=[number], stdin=subprocess.DEVNULL)  # noqa: S603  our own program


def _ended(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(LEAVES_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


async def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, os.fspath(path))
    except OSError as error:
        sock.close()
        raise NoKeeper(
            f"nobody listens at {path} ({error.strerror}); start `mailauth keeper`, or leave [keeper] address out"
        ) from None
    except BaseException:
        sock.close()
        raise
    return sock


@asynccontextmanager
async def open_asking(settings: Settings) -> AsyncIterator[Asking | None]:
    """A keeper that is there; None: there is nothing to keep. Raises ConfigError."""
    backends_of(settings)
    if not is_needed(settings):
        yield None
        return
    where = settings.keeper.address
    child = Child(settings.source)
    asking = Asking(child.summon if where is None else lambda: _connected(where.path))
    try:
        try:
            await asking.start()
        except NoKeeper as fault:
            raise ConfigError(f"the keeper: {fault}") from None
        yield asking
    finally:
        await asking.close()
        await child.end()


@asynccontextmanager
async def open_behind(settings: Settings) -> AsyncIterator[tuple[Asking | None, Backends | None]]:
    """The keeper, where there is anything to keep; the back ends, where mail is not kept here. Raises ConfigError."""
    async with open_asking(settings) as asking:
        if asking is None or settings.mailbox.kind != BEHIND_US:
            yield asking, None
            return
        backends = KeptBackends(asking)
        try:
            yield asking, backends
        finally:
            await backends.close()
