"""doveadm's HTTP API: what is sent, and what each answer of it means."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from mailauth.gateways.doveadm import MAX_ANSWER_BYTES, Doveadm, NotReached
from site_of_tests import free_ports
from wire import eventually

KEY = "a key of doveadm's"
KICKED = b'[["doveadmResponse",[{"result":"alice@example.test"}],"mailauth"]]'
NOBODY = b'[["error",{"type":"exitCode","exitCode":68},"mailauth"]]'
PATIENCE_S = 30.0


@dataclass
class Dovecot:
    """Answers each request with what it has been told to; None: not at all."""

    answer: bytes | None = b""
    port: int = 0
    heard: list[bytes] = field(default_factory=list)
    open: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.heard.append(head + await reader.readexactly(length))
        if self.answer is None:
            await reader.read()
        else:
            writer.write(self.answer)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.open -= 1

    @property
    def doveadm(self) -> Doveadm:
        return Doveadm(f"http://127.0.0.1:{self.port}", KEY)


@contextlib.asynccontextmanager
async def dovecot(answer: bytes | None) -> AsyncIterator[Dovecot]:
    stand_in = Dovecot(answer)
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", 0)
    stand_in.port = server.sockets[0].getsockname()[1]
    async with server:
        yield stand_in
        await eventually(lambda: stand_in.open == 0)


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body


@pytest.mark.parametrize(("body", "ended"), [(KICKED, True), (NOBODY, False)])
async def test_a_kick_says_whether_there_was_anything(body: bytes, ended: bool) -> None:
    async with dovecot(ok(body)) as there:
        assert await there.doveadm.kick("alice@example.test", PATIENCE_S) is ended
    head, _, sent = there.heard[0].partition(b"\r\n\r\n")
    assert json.loads(sent) == [["kick", {"mask": ["alice@example.test"]}, "mailauth"]]
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /doveadm/v1 HTTP/1.0"
    assert b"Authorization: X-Dovecot-API " + base64.b64encode(KEY.encode()) in lines


async def test_one_device_is_named_by_its_field() -> None:
    async with dovecot(ok(KICKED)) as there:
        assert await there.doveadm.kick("7", PATIENCE_S, passdb_field="user_app")
    assert json.loads(there.heard[0].partition(b"\r\n\r\n")[2])[0][1] == {"mask": ["7"], "passdbField": "user_app"}


async def test_one_address_is_a_second_mask() -> None:
    async with dovecot(ok(KICKED)) as there:
        assert await there.doveadm.kick("alice@example.test", PATIENCE_S, address="2001:db8::1")
    sent = json.loads(there.heard[0].partition(b"\r\n\r\n")[2])[0][1]
    assert sent == {"mask": ["alice@example.test", "2001:db8::1"]}


async def test_dovecot_2_4_counts_what_it_ended() -> None:
    for answer, was_there in ((b"0", False), (b"2", True)):
        async with dovecot(ok(b'[["doveadmResponse",[{"count":"%b"}],"mailauth"]]' % answer)) as there:
            assert await there.doveadm.kick("7", PATIENCE_S, passdb_field="user_app") is was_there


async def test_a_password_is_forgotten_by_the_user_s_name() -> None:
    async with dovecot(ok(b'[["doveadmResponse",[{"entries":"0"}],"mailauth"]]')) as there:
        await there.doveadm.forget("alice@example.test", PATIENCE_S)
    assert json.loads(there.heard[0].partition(b"\r\n\r\n")[2])[0][:2] == [
        "authCacheFlush",
        {"user": ["alice@example.test"]},
    ]


UNCLEAR = [
    b"",
    b"HTTP/1.1 401 Unauthorized\r\n\r\n",
    b"HTTP/1.1 500 Internal Error\r\n\r\n" + KICKED,
    b"220 mail.example.test ESMTP\r\n",
    ok(b""),
    ok(b"[]"),
    ok(b"{}"),
    ok(b"null"),
    ok(b"[[1,2]]"),
    ok(b'[["error",{"type":"exitCode","exitCode":75},"mailauth"]]'),
    ok(b'[["error",{"type":"unknownMethod"},"mailauth"]]'),
    ok(b'[["error","x","mailauth"]]'),
    ok(b"[" * 10_000),
    ok(b"x" * 2 * MAX_ANSWER_BYTES),
]


@pytest.mark.parametrize("answer", UNCLEAR, ids=lambda answer: repr(answer[:60]))
async def test_what_is_no_clear_answer_is_to_be_tried_again(answer: bytes) -> None:
    async with dovecot(answer) as there:
        with pytest.raises(NotReached) as caught:
            await there.doveadm.kick("alice@example.test", PATIENCE_S)
    assert KEY not in str(caught.value)


async def test_who_says_nothing_is_not_waited_for() -> None:
    """So a wrong key is told by 2.3."""
    async with dovecot(None) as there:
        with pytest.raises(NotReached, match="no answer in time"):
            await there.doveadm.kick("alice@example.test", 0.2)


async def test_who_is_not_there_is_not_reached() -> None:
    (port,) = free_ports(1)
    with pytest.raises(NotReached, match="no connection"):
        await Doveadm(f"http://127.0.0.1:{port}", KEY).kick("alice@example.test", PATIENCE_S)


def test_the_key_is_left_out_of_every_repr() -> None:
    assert KEY not in repr(Doveadm("http://127.0.0.1:1", KEY))
