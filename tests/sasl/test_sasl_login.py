"""LOGIN: two questions, two answers."""

from __future__ import annotations

import pytest

from mailauth.attempt import Credential
from mailauth.sasl import login
from mailauth.sasl.mechanism import Challenge, Malformed

USERNAME = Challenge(b"Username:")
PASSWORD = Challenge(b"Password:")


@pytest.mark.parametrize(
    ("responses", "turns"),
    [
        ([None, b"alice", b"secret"], [USERNAME, PASSWORD, Credential("alice", "secret")]),
        ([b"alice", b"secret"], [PASSWORD, Credential("alice", "secret")]),  # Python's smtplib
        ([b"alice", b" se cret "], [PASSWORD, Credential("alice", " se cret ")]),
        (["用户".encode(), "пароль".encode()], [PASSWORD, Credential("用户", "пароль")]),
    ],
)
def test_an_exchange(responses: list[bytes | None], turns: list[Challenge | Credential]) -> None:
    exchange = login.build({}).start()
    assert [exchange.step(response) for response in responses] == turns


@pytest.mark.parametrize("bad", [b"", b"al\0ice", b"\0", b"\xff", b"\xed\xa0\x80"])
@pytest.mark.parametrize("before", [[], [b"alice"]], ids=["login", "password"])
def test_an_answer_that_is_none_is_malformed(bad: bytes, before: list[bytes]) -> None:
    exchange = login.build({}).start()
    for response in before:
        exchange.step(response)
    with pytest.raises(Malformed):
        exchange.step(bad)
