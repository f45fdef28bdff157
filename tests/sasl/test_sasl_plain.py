"""PLAIN: what is a message, and what is not."""

from __future__ import annotations

import pytest

from mailauth.attempt import Credential
from mailauth.sasl import plain
from mailauth.sasl.mechanism import Challenge, Malformed


def step(response: bytes | None) -> Challenge | Credential:
    return plain.build({}).start().step(response)


@pytest.mark.parametrize(
    ("message", "credential"),
    [
        (b"\0alice\0secret", Credential("alice", "secret")),
        (b"alice\0alice\0secret", Credential("alice", "secret", "alice")),
        (b"root\0alice\0secret", Credential("alice", "secret", "root")),  # who may act for whom is judged elsewhere
        (b"\0alice\0 se cret ", Credential("alice", " se cret ")),
        (b"\0 alice\0secret", Credential(" alice", "secret")),
        ("\0用户@例子.test\0пароль".encode(), Credential("用户@例子.test", "пароль")),
        (b"\0alice\0secret\r\n", Credential("alice", "secret\r\n")),
        (b"\0a\0" + b"x" * 8000, Credential("a", "x" * 8000)),
    ],
)
def test_a_message_is_taken_as_it_is(message: bytes, credential: Credential) -> None:
    assert step(message) == credential


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0",
        b"\0\0",
        b"\0\0secret",
        b"\0alice\0",
        b"alice\0\0secret",
        b"alice\0secret",
        b"alice",
        b"\0alice\0secret\0",
        b"\0alice\0sec\0ret",
        b"\0\0alice\0secret",
        b"\0\0\0",
        b"\0al\xffice\0secret",
        b"\0alice\0sec\xffret",
        b"\xff\0alice\0secret",
        b"\0alice\0\xc0\x80",  # NUL, written too long
        b"\0alice\0\xed\xa0\x80",  # a surrogate
        b"\0alice\0\xb0\xb2",  # GB18030
    ],
)
def test_anything_else_is_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        step(message)


def test_without_an_initial_response_the_message_is_asked_for() -> None:
    exchange = plain.build({}).start()
    assert exchange.step(None) == Challenge(b"")
    assert exchange.step(b"\0alice\0secret") == Credential("alice", "secret")


def test_an_error_never_tells_what_was_sent() -> None:
    with pytest.raises(Malformed) as raised:
        step(b"\0alice\0hunter2\xff")
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
