"""The keeper as a service of its own, for servers that run as another user and so cannot read what it reads.

Rule: who may connect is asked of the system before a word is said, as at the bridges.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable

from mailauth import logs
from mailauth.config import ConfigError, Settings
from mailauth.keeper.configured import is_needed, open_keeper
from mailauth.keeper.keeper import Keeper
from mailauth.serving import memory, peercred
from mailauth.serving.hardening import keep_memory_private
from mailauth.serving.inherited import Inherited
from mailauth.serving.listen import CannotListen
from mailauth.serving.shortage import Shortage, raise_descriptor_limit
from mailauth.serving.unixsocket import UnixSocket, bind_unix


async def serve_all(settings: Settings, ready: Callable[[str], object]) -> None:
    """Answer everybody who may ask until SIGTERM or SIGINT. ready: told once, with what listens.

    Raises ConfigError, CannotListen.
    """
    keep_memory_private()
    raise_descriptor_limit()
    try:
        logs.configure(settings.log.level, settings.log.file)
    except OSError as error:
        raise ConfigError(
            f"{settings.source}: [log] file: cannot write {settings.log.file}: {error.strerror}"
        ) from None
    admits = _admits(settings)
    keeper = open_keeper(settings)
    bound = _bound(settings)
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    memory.keep_little()
    gc.freeze()
    shortage = Shortage()
    shortage.look()
    loop.add_reader(bound.sock, _accept, bound.sock, admits, keeper, shortage)
    ready(f"listening keeper unix:{bound.path}")
    try:
        await over.wait()
    finally:
        loop.remove_reader(bound.sock)
        bound.sock.close()
        bound.remove()
        shortage.close()
        await keeper.close()


def _accept(
    listening: socket.socket, admits: Callable[[socket.socket], bool], keeper: Keeper, shortage: Shortage
) -> None:
    try:
        sock, _ = listening.accept()
    except BlockingIOError:
        return
    except OSError as error:  # it is told at once, or its being there would have us look without end
        shortage.note(error)
        shortage.turn_away(listening)
        return
    shortage.look()
    if admits(sock):
        keeper.serve(sock)
    else:
        sock.close()


def _admits(settings: Settings) -> peercred.LocalPeers:
    """Raises ConfigError."""
    written = settings.keeper
    if not is_needed(settings):
        raise ConfigError(
            f'{settings.source}: nothing is to be kept: [mailbox] kind is not "backend", no [[bridge]] names doveadm'
        )
    try:
        groups = [*written.groups, *filter(None, [written.socket_group])]
        users = [peercred.user_id(user) for user in written.users]
        return peercred.LocalPeers("keeper", users, [peercred.group_id(group) for group in groups])
    except peercred.NoSuchName as error:
        raise ConfigError(f"{settings.source}: [keeper]: {error}") from None


def _bound(settings: Settings) -> UnixSocket:
    """Raises ConfigError, CannotListen."""
    written = settings.keeper
    if written.address is None:
        raise ConfigError(
            f'{settings.source}: [keeper] address: is missing; write "unix:PATH", or leave it to `mailauth serve` to '
            "start a keeper of its own"
        )
    path = written.address.path
    given = Inherited()
    sock = given.take(path)
    given.close()
    if sock is not None:
        return UnixSocket(path, sock)
    try:
        group = peercred.group_id(written.socket_group) if written.socket_group else None
        return bind_unix(path, written.socket_mode, group)
    except CannotListen as error:
        raise CannotListen(f"{settings.source}: [keeper] address: {error}") from None
