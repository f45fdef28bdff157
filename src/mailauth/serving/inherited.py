"""Listening sockets that a service manager has opened before us, and keeps while we start anew.

Source: sd_listen_fds(3): LISTEN_PID names us, LISTEN_FDS says how many there are, from descriptor 3 on.
Rule: each is known by its address, and taken once; one that nobody asked for is closed, so that nobody waits at it.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping
from pathlib import Path

from mailauth.serving.listen import bind

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START

log = logging.getLogger(__name__)


class Inherited:
    """The sockets that we were given. environment: in which they are announced; the announcement is taken out."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._sockets: dict[Path | tuple[str, int], socket.socket] = {}
        told = {name: environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
        if told["LISTEN_PID"] != str(os.getpid()) or not told["LISTEN_FDS"].isdigit():
            return
        for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(told["LISTEN_FDS"])):
            os.set_inheritable(descriptor, False)
            self._add(descriptor)

    def take(self, address: Path | tuple[str, int]) -> socket.socket | None:
        """The one that listens there; None: we have to make it."""
        return self._sockets.pop(address, None)

    def taken_or_bound(self, host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
        """The TCP socket of this address, ours to close. Raises CannotListen."""
        return self.take((host, port)) or bind(host, port, reuse_port=reuse_port)

    def close(self) -> None:
        """Close what nobody has taken, and say so."""
        for address, sock in self._sockets.items():
            log.warning("a socket was handed over that the configuration does not name: %s", address)
            sock.close()
        self._sockets.clear()

    def _add(self, descriptor: int) -> None:
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)
        name = sock.getsockname()
        listens = sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if not listens or not name:
            log.warning("a descriptor was handed over that is no listening socket: %d", descriptor)
            sock.close()
        elif sock.family == socket.AF_UNIX:
            self._sockets[Path(name)] = sock
        else:
            self._sockets[name[0], name[1]] = sock
