"""A TCP way to PostgreSQL that can be cut in the middle of a COMMIT, before or after the server has heard it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from psycopg import conninfo

BEFORE, AFTER, ANSWERED = "before", "after", "answered"  # the server has not, has, has heard and answered the COMMIT


class Way:
    """Passes everything on. cut: at the next COMMIT of a change, cut its connection so; stays_cut: and all others."""

    def __init__(self, url: str) -> None:
        self._target = {key: str(value) for key, value in conninfo.conninfo_to_dict(url).items()}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self.cut: str | None = None
        self.stays_cut = False
        self.before_commit: Callable[[], object] = lambda: None
        self.cuts = 0
        self._begin(self._accept)

    @property
    def url(self) -> str:
        port = self._listener.getsockname()[1]
        user, database = self._target.get("user", "postgres"), self._target["dbname"]
        password = f":{self._target['password']}" if self._target.get("password") else ""
        return f"postgresql://{user}{password}@127.0.0.1:{port}/{database}?sslmode=disable&gssencmode=disable"

    def close(self) -> None:
        """Everybody's connections should be closed before."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _begin(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.stays_cut and self.cuts:
                client.close()
                continue
            server = self._connected()
            answers = threading.Event()  # set: the client is not to hear them any more
            self._begin(self._ask, client, server, answers)
            self._begin(self._answer, client, server, answers)

    def _connected(self) -> socket.socket:
        host, port = self._target.get("host", "127.0.0.1"), int(self._target.get("port", "5432"))
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(Path(host, f".s.PGSQL.{port}")))
        return server

    def _ask(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        changes = False
        while data := _received(client):
            changes = changes or b"INSERT INTO changes" in data
            if changes and b"COMMIT" in data:
                changes, cut = False, self.cut
                self.before_commit()
                if cut is not None:
                    self.cut = None
                    self.cuts += 1
                    self._cut(cut, data, client, server, muted)
                    return
            with contextlib.suppress(OSError):
                server.sendall(data)
        _closed(server)

    def _cut(self, cut: str, data: bytes, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        if cut == ANSWERED:
            muted.set()
            server.sendall(data)
            return  # who passes answers on closes both when there is one
        if cut == AFTER:
            server.sendall(data)
        _closed(client)
        _closed(server)

    def _answer(self, client: socket.socket, server: socket.socket, muted: threading.Event) -> None:
        while data := _received(server):
            if muted.is_set():
                break
            with contextlib.suppress(OSError):
                client.sendall(data)
        _closed(client)
        _closed(server)


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except OSError:
        return b""


def _closed(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


@contextlib.contextmanager
def way(url: str) -> Iterator[Way]:
    """A way to this database, and its end."""
    opened = Way(url)
    try:
        yield opened
    finally:
        opened.close()
