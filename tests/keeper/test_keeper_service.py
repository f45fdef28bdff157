"""The keeper's door: what becomes of a server that comes when there is no descriptor for it."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from test_keeper_channel import no_descriptor_left

from keepers import backend, keeper_of
from mailauth.keeper.service import _accept
from mailauth.serving.shortage import Shortage
from mailauth.serving.unixsocket import bind_unix
from wire import eventually


async def test_out_of_descriptors_servers_are_turned_away_and_the_next_one_is_served(tmp_path: Path) -> None:
    keeper, shortage = keeper_of(backend(imap="127.0.0.1:143")), Shortage()
    bound = bind_unix(tmp_path / "keeper", 0o600)
    with contextlib.closing(shortage), bound.sock, socket.socket(socket.AF_UNIX) as server:
        assert shortage.look()
        server.settimeout(30)
        server.connect(str(bound.path))
        with no_descriptor_left():
            _accept(bound.sock, lambda _: True, keeper, shortage)
            assert server.recv(1) == b""
            _accept(bound.sock, lambda _: True, keeper, shortage)  # nobody waits there any more
        assert not keeper._channels
        with socket.socket(socket.AF_UNIX) as another:
            another.connect(str(bound.path))
            _accept(bound.sock, lambda _: True, keeper, shortage)
            assert len(keeper._channels) == 1
            another.setblocking(False)
            assert b"ready" in another.recv(100)
        await eventually(lambda: not keeper._channels)
    await keeper.close()
