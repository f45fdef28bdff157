"""While the store is known to be away nobody is asked for a password: after a "no" to one, programs throw it away."""

from __future__ import annotations

import base64
import dataclasses
import time
from typing import Any

import pytest

from doubles import Doorman, MemoryPassdb
from mailauth.ends import Ends
from mailauth.imap.offer import Offer as ImapOffer
from mailauth.imap.protocol import ImapDialogue
from mailauth.pop3.protocol import Offer as Pop3Offer
from mailauth.pop3.protocol import Pop3Dialogue
from mailauth.serving.lines import LineConnection
from mailauth.serving.sessions import GRACE_S, LiveSessions
from servers import MECHANISMS, imap, listening, pop3
from stage import Stage, bytewise, whole
from wire import Wire

LEASE_S = 3.0
PLAIN = base64.b64encode(b"\0alice@example.test\0secret")
LATER = b"NO [UNAVAILABLE] Temporary authentication failure, try again later.\r\n"
SYS_TEMP = b"-ERR [SYS/TEMP] Temporary authentication failure, try again later.\r\n"


AWAY_S = LEASE_S + GRACE_S + 0.001


class Clock:
    """The monotonic one, as `serving.sessions` sees it; put forward at will."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("mailauth.serving.sessions.time", clock)
    clock.time = time.time  # type: ignore[attr-defined]
    return clock


def sessions(clock: Clock, *, last_read_s_ago: float = 0.0) -> LiveSessions:
    live = LiveSessions(MemoryPassdb(), LEASE_S)
    live.has_read(clock.monotonic())
    clock.ahead_s += last_read_s_ago
    return live


# ---- when it is known


@pytest.mark.parametrize(
    ("last_read_s_ago", "is_away"),
    [
        (0.0, False),
        (LEASE_S, False),
        (LEASE_S + GRACE_S - 1.0, False),
        (LEASE_S + GRACE_S + 0.1, True),
        (86400.0, True),
    ],
)
def test_a_store_is_away_some_time_after_it_was_read_last(clock: Clock, last_read_s_ago: float, is_away: bool) -> None:
    assert sessions(clock, last_read_s_ago=last_read_s_ago).unavailable() is is_away


def test_one_reading_ends_it(clock: Clock) -> None:
    live = sessions(clock, last_read_s_ago=86400.0)
    assert live.unavailable()
    live.has_read(clock.monotonic())
    assert not live.unavailable()


def test_a_store_that_can_be_read_and_must_let_nobody_in_is_as_good_as_away(clock: Clock) -> None:
    """So the applier says it: of a store put in the place of another, or that it has no place in any more."""
    live = sessions(clock)
    for _ in range(12):
        assert not live.unavailable()
        clock.ahead_s += 0.4
        live.has_read(clock.monotonic() - LEASE_S)
    clock.ahead_s += 0.4
    assert live.unavailable()


def test_who_follows_no_changes_knows_of_nothing() -> None:
    assert not LiveSessions(MemoryPassdb()).unavailable()


# ---- at the greeting


@pytest.mark.parametrize("tls", ["implicit", "starttls", "off"])
@pytest.mark.parametrize(
    ("dialogue", "greeting"),
    [
        (imap, b"* BYE [UNAVAILABLE] Nobody can log in now, try again later.\r\n"),
        (pop3, b"-ERR [SYS/TEMP] Nobody can log in now, try again later.\r\n"),
    ],
)
async def test_imap_and_pop3_say_so_in_place_of_a_greeting(
    clock: Clock, dialogue: Any, greeting: bytes, tls: str
) -> None:
    live = sessions(clock, last_read_s_ago=AWAY_S)

    def connection(house: Any, proxied: Ends | None) -> LineConnection:
        return LineConnection(dataclasses.replace(house, sessions=live), proxied)

    making: Any = connection
    async with listening(dialogue(clear=tls == "off"), Doorman(), tls=tls, connection=making) as running:
        wire = await Wire.to(running.port, tls=tls == "implicit")
        assert await wire.rest() == greeting
        wire.close()
        live.has_read(clock.monotonic())
        wire = await Wire.to(running.port, tls=tls == "implicit")
        assert (await wire.line()).startswith((b"* OK ", b"+OK "))
        wire.close()


# ---- on a connection that was greeted before


def imap_stage(**options: Any) -> Stage:
    stage = Stage(ImapDialogue(ImapOffer(MECHANISMS, True, **options)))
    stage.news()
    return stage


def pop3_stage(**options: Any) -> Stage:
    stage = Stage(Pop3Dialogue(Pop3Offer(MECHANISMS, True, **options)))
    stage.news()
    return stage


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"a AUTHENTICATE PLAIN\r\n", b"a " + LATER),
        (b"a AUTHENTICATE LOGIN\r\n", b"a " + LATER),
        (b"a LOGIN {18}\r\n", b"a " + LATER),
        (b"a LOGIN alice@example.test {6}\r\n", b"a " + LATER),
        (b"a AUTHENTICATE X-OWN\r\n", b"a NO Unsupported authentication mechanism.\r\n"),
        (b"a NOOP\r\n", b"a OK NOOP completed.\r\n"),
    ],
)
def test_imap_asks_for_no_password(said: bytes, heard: bytes, cut: Any) -> None:
    stage = imap_stage(unavailable=lambda: True)
    assert stage.say(said, cut) == heard
    assert not stage.attempts and not stage.is_closed


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        (b"USER alice@example.test\r\n", SYS_TEMP),
        (b"USER alice@example.test\r\nPASS secret\r\n", SYS_TEMP * 2),  # pipelined
        (b"AUTH PLAIN\r\n", SYS_TEMP),
        (b"AUTH LOGIN\r\n", SYS_TEMP),
        (b"AUTH\r\n", b"+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n"),
        (b"AUTH X-OWN\r\n", b"-ERR Unsupported authentication mechanism.\r\n"),
        (b"NOOP\r\n", b"+OK\r\n"),
    ],
)
@pytest.mark.parametrize("cut", [whole, bytewise])
def test_pop3_asks_for_no_password(said: bytes, heard: bytes, cut: Any) -> None:
    stage = pop3_stage(unavailable=lambda: True)
    assert stage.say(said, cut) == heard
    assert not stage.attempts and not stage.is_closed


@pytest.mark.parametrize("cut", [whole, bytewise])
def test_a_password_that_has_come_already_is_judged(cut: Any) -> None:
    """The store may be back before the deadline has passed."""
    for said in (b"a LOGIN alice@example.test secret\r\n", b"a AUTHENTICATE PLAIN " + PLAIN + b"\r\n"):
        assert b"a OK " in imap_stage(unavailable=lambda: True).say(said, cut)
    assert pop3_stage(unavailable=lambda: True).say(b"AUTH PLAIN " + PLAIN + b"\r\n", cut).startswith(b"+OK ")


def test_a_password_on_its_way_is_judged() -> None:
    away: list[bool] = []
    stage = pop3_stage(unavailable=lambda: bool(away))
    assert stage.say(b"USER alice@example.test\r\n").startswith(b"+OK ")
    away.append(True)
    assert stage.say(b"PASS secret\r\n").startswith(b"+OK ")
    away.clear()
    stage = imap_stage(unavailable=lambda: bool(away))
    assert stage.say(b"a AUTHENTICATE PLAIN\r\n") == b"+ \r\n"
    away.append(True)
    assert b"a OK " in stage.say(PLAIN + b"\r\n")


def test_it_is_no_failure_and_goes_on_when_it_is_over() -> None:
    away = [True]
    stage = pop3_stage(unavailable=lambda: bool(away), max_failures=1)
    assert stage.say(b"USER alice@example.test\r\n" * 50) == SYS_TEMP * 50
    away.clear()
    assert b"+OK Logged in." in stage.say(b"USER alice@example.test\r\nPASS secret\r\n")
