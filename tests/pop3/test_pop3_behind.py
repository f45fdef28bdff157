"""POP3 with a server behind us that takes over at login: what is offered before, what is said, what is handed on."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable

import pytest

from mailauth.pop3.protocol import ALONE, Offer, Pop3Dialogue
from mailauth.verdict import Cause, Defer
from servers import MECHANISMS
from stage import PRINCIPAL, REFUSED, Stage, bytewise, whole

PLAIN = base64.b64encode(b"\0alice@example.test\0secret")
LOGINS = {
    "user": b"USER alice@example.test\r\nPASS secret\r\n",
    "sasl, initial response": b"AUTH PLAIN " + PLAIN + b"\r\n",
    "sasl": b"AUTH PLAIN\r\n" + PLAIN + b"\r\n",
}
AFTER = {
    "nothing": b"",
    "a command": b"STAT\r\n",
    "ours elsewhere": b"CAPA\r\nNOOP\r\nSTLS\r\nQUIT\r\n",
    "half a command": b"RET",
    "another login": b"USER bob@example.test\r\nPASS secret\r\n",
    "no protocol at all": bytes(range(256)) * 100,
}


def stage(**options: object) -> Stage:
    opened = Stage(Pop3Dialogue(Offer(MECHANISMS, starttls=True, always=ALONE)), behind=(), **options)  # type: ignore[arg-type]
    opened.news()
    return opened


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("login", LOGINS)
def test_all_behind_a_login_is_handed_on_unread(
    login: str, after: str, cut: Callable[[bytes], Iterable[bytes]]
) -> None:
    client = stage()
    assert client.say(LOGINS[login] + AFTER[after], cut).endswith(b"+OK Logged in.\r\n")
    assert client.entered is not None
    assert (client.entered.principal, client.entered.leftover) == (PRINCIPAL, AFTER[after])


def test_nothing_is_offered_before_login_that_the_server_behind_may_lack() -> None:
    said = stage().say(b"CAPA\r\n").split(b"\r\n")
    assert said == [
        b"+OK Capabilities follow.",
        b"RESP-CODES",
        b"AUTH-RESP-CODE",
        b"USER",
        b"SASL PLAIN LOGIN",
        b".",
        b"",
    ]


@pytest.mark.parametrize("outcome", [REFUSED, Defer(Cause.BACKEND)], ids=["refused", "deferred"])
def test_who_is_not_let_in_stays_with_us(outcome: object) -> None:
    client = stage(judge=lambda _: outcome)
    assert client.say(LOGINS["user"] + b"NOOP\r\n").endswith(b"\r\n+OK\r\n")
    assert client.entered is None
