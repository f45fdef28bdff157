"""Web passwords that are judged elsewhere: who is asked about what, and that no answer is never a no."""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import replace

import pytest

from doubles import NO_DEMAND, LengthKeys, MemoryPassdb, PlainHashes
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import Events, LoginJudged
from mailauth.interfaces import (
    BadRecord,
    Demand,
    HashUnavailable,
    PolicyLevel,
    PoolBusy,
    SourceUnavailable,
    StoreUnavailable,
    UnknownKey,
    WebMatch,
)
from mailauth.serving.sessions import LiveSessions
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject
from mailauth.verify.outside import PROVEN_S, Asked, Outside
from mailauth.verify.throttle import GuessThrottle
from mailauth.verify.verifier import Verifier
from mailauth.verify.websignin import WebSignIn

ALICE, NEW = "alice@example.test", "new@example.test"
WEB, APP = "correct horse", "abcdefghjkmnpqrs"
ENFORCED = Demand(PolicyLevel.ENFORCED, None, False, False, None, False)


class Source:
    """Says yes to the password, or raises what it was given."""

    def __init__(self, password: str | None = WEB, fault: Exception | None = None) -> None:
        self.password, self.fault = password, fault
        self.asked: list[tuple[str, bytes]] = []
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()
        self.is_closed = False

    async def check(self, login: str, password: bytes) -> bool:
        self.asked.append((login, password))
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return self.password is not None and self.password.encode() == password

    async def close(self) -> None:
        self.is_closed = True


class Newcomers:
    """Makes accounts in a MemoryPassdb, of one domain."""

    def __init__(self, passdb: MemoryPassdb) -> None:
        self.passdb = passdb
        self.removed: set[str] = set()
        self.made: list[tuple[str, str]] = []
        self.changes: dict[str, object] = {}
        self.fault: Exception | None = None
        self.fails_to_make = False

    async def prospect(self, login):
        if self.fault is not None:
            raise self.fault
        if login in self.removed or login in self.passdb.accounts or not login.endswith("@example.test"):
            return None
        account = MemoryPassdb().add(login)
        return account._replace(id=-7, **self.changes)

    async def make(self, login, source):
        self.made.append((login, source))
        if not self.fails_to_make:
            self.passdb.add(login, **self.changes)


class Bench:
    def __init__(self, *sources: Source, throttled: bool = False, alphabet: str = "", **terms: object) -> None:
        self.passdb, self.hashes, self.events = MemoryPassdb(), PlainHashes(), Events()
        self.seen: list[LoginJudged] = []
        self.events.subscribe(self.seen.append)
        self.now = 1000.0
        self.sources = sources
        self.newcomers = Newcomers(self.passdb)
        terms = {"timeout_s": 30.0, **terms}
        asked = [Asked(f"source{n}", one, asyncio.Semaphore(16), **terms) for n, one in enumerate(sources)]
        self.outside = Outside(asked, self.newcomers, alphabet=alphabet, clock=lambda: self.now)
        self.throttle = GuessThrottle(clock=lambda: self.now) if throttled else None
        self.verifier = Verifier(
            *(self.passdb, LengthKeys(), self.hashes, self.events, self.throttle),
            outside=self.outside,
            clock=lambda: self.now,
        )
        sessions = LiveSessions(self.passdb)
        self.sign_in = WebSignIn(self.passdb, self.verifier.matching, self.throttle, sessions, delay_s=0.0)

    async def try_(self, password=WEB, login=ALICE, service=Service.IMAP, peer="192.0.2.1"):
        return await self.verifier.authenticate(Attempt(Credential(login, password), service, peer, True))

    @property
    def questions(self) -> int:
        return sum(len(source.asked) for source in self.sources)


# ---- every outcome of the store against every outcome of the sources

STORE_FAULTS = {
    "store": (StoreUnavailable("gone"), Cause.STORE),
    "key": (UnknownKey("lost"), Cause.KEY),
    "record": (BadRecord("torn"), Cause.RECORD),
}
STORE = {  # what the store says: the outcome that it settles alone, or None where the sources decide
    "no account": Reject(Reason.UNKNOWN_LOGIN),
    "disabled": Reject(Reason.DISABLED),
    "domain disabled": Reject(Reason.DOMAIN_DISABLED),
    "logon off": Reject(Reason.CLIENT_LOGON_OFF),
    "service off": Reject(Reason.SERVICE_OFF),
    "mode on": Reject(Reason.CLIENT_PASSWORDS_ONLY),
    "enforced": Reject(Reason.CLIENT_PASSWORDS_ONLY),
    "own password, right": Accept(Principal(1, ALICE, None)),
    "own password, another": Reject(Reason.WRONG_PASSWORD),
    "own password, taken away": Reject(Reason.WRONG_PASSWORD),
    "own password, unreadable": Defer(Cause.RECORD),
    "no password here": None,
    **{f"fault: {name}": Defer(cause) for name, (_, cause) in STORE_FAULTS.items()},
}
ACCOUNTS = {
    "disabled": {"enabled": False},
    "domain disabled": {"domain_enabled": False},
    "logon off": {"client_logon": False},
    "service off": {"services": frozenset({Service.SMTP})},
    "mode on": {"mode_on": True},
    "enforced": {"demands": (ENFORCED, NO_DEMAND, NO_DEMAND)},
    "own password, right": {"web_record": f"plain:{WEB}", "web_changed_at": 1.0},
    "own password, another": {"web_record": "plain:another", "web_changed_at": 1.0},
    "own password, taken away": {"web_changed_at": 1.0},
    "own password, unreadable": {"web_record": "garbage", "web_changed_at": 1.0},
    "no password here": {},
}
YES, NO = "yes", "no"
FAULTS = {
    "away": (SourceUnavailable("away"), Cause.SOURCE),
    "its record": (BadRecord("torn"), Cause.RECORD),
    "its hash": (HashUnavailable("no memory"), Cause.HASH),
    "busy": (PoolBusy("full"), Cause.BUSY),
    "its bug": (RuntimeError("bug"), Cause.BUG),
}
ANSWERS = (YES, NO, *FAULTS)


def source(answer: str) -> Source:
    fault = FAULTS[answer][0] if answer in FAULTS else None
    return Source(WEB if answer == YES else None, fault)


def expected(first: str, second: str):
    """Who is asked first decides by a yes; a bug of somebody else's code ends the asking."""
    if first == YES:
        return Accept(Principal(1, ALICE, None))
    if first == "its bug":
        return Defer(Cause.BUG)
    if second == YES:
        return Accept(Principal(1, ALICE, None))
    if first == second == NO:
        return Reject(Reason.WRONG_PASSWORD)
    return Defer(FAULTS[second if first == NO or second == "its bug" else first][1])


@pytest.mark.parametrize(("first", "second"), list(itertools.product(ANSWERS, ANSWERS)))
@pytest.mark.parametrize("said", STORE)
async def test_every_outcome_of_the_store_with_every_outcome_of_two_sources(said, first, second):
    bench = Bench(source(first), source(second))
    if said in ACCOUNTS:
        bench.passdb.add(ALICE, **ACCOUNTS[said])
    if said.startswith("fault: "):
        bench.passdb.fault = STORE_FAULTS[said.removeprefix("fault: ")][0]
    outcome = await bench.try_()
    settled = STORE[said]
    assert outcome == (expected(first, second) if settled is None else settled)
    assert (bench.questions > 0) == (settled is None), "a source is asked where nothing else decides, and only there"


@pytest.mark.parametrize("fault", [StoreUnavailable("gone"), BadRecord("torn")])
async def test_a_store_that_cannot_say_whether_an_account_would_be_made_has_nobody_asked(fault):
    bench = Bench(Source(), creates=True)
    bench.newcomers.fault = fault
    assert type(await bench.try_(login=NEW)) is Defer
    assert bench.questions == 0


# ---- what is never sent

SHAPES = [APP, "abcd efgh jkmn pqrs", "abcd-efgh-jkmn-pqrs\r\n", "\u3000" + APP + "\u200b", "ａｂｃｄefghjkmnpqrs"]


@pytest.mark.parametrize("creates", [False, True])
@pytest.mark.parametrize("typed", SHAPES)
async def test_what_looks_like_an_app_password_is_never_sent_there(typed, creates):
    bench = Bench(Source(typed), creates=creates)
    bench.passdb.add(ALICE)
    assert await bench.try_(typed) == Reject(Reason.WRONG_PASSWORD)
    assert await bench.try_(typed, login=NEW) == Reject(Reason.UNKNOWN_LOGIN)
    assert await bench.sign_in.check(ALICE, typed, "192.0.2.1") is None
    assert await bench.sign_in.check(NEW, typed, "192.0.2.1") is None
    assert bench.questions == 0


async def test_nor_one_of_an_alphabet_of_the_sites_own():
    bench = Bench(Source("ABCDEFGHABCDEFGH"), alphabet="ABCDEFGH")
    bench.passdb.add(ALICE)
    assert await bench.try_("ABCDEFGHABCDEFGH") == Reject(Reason.WRONG_PASSWORD)
    assert bench.questions == 0


@pytest.mark.parametrize("password", ["Abcdefghjkmnpqrs", "abcdefghjkmnpqr0", "abcdefghjkmnpqr", "abcdefghjkmnpqrst"])
async def test_what_is_no_app_password_by_its_looks_is_sent(password):
    bench = Bench(Source(password))
    bench.passdb.add(ALICE)
    assert type(await bench.try_(password)) is Accept


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"revoked": True}, Reason.REVOKED),
        ({"expires_at": 1.0}, Reason.EXPIRED),
        ({"suspended": True}, Reason.SUSPENDED),
    ],
)
async def test_an_app_password_that_opens_nothing_is_never_sent_whatever_it_looks_like(changes, reason):
    odd = "ABCDEFGHIJKLMNOP"  # made with an alphabet that the site had once
    bench = Bench(Source(odd))
    bench.passdb.add(ALICE)
    stored = bench.passdb.mint(ALICE, odd, **changes)
    assert await bench.try_(odd) == Reject(reason, stored.id)
    assert bench.questions == 0


async def test_nothing_empty_and_nothing_with_a_nul_is_sent():
    bench = Bench(Source("\0x"))
    bench.passdb.add(ALICE)
    for password in ("", "\0", "\0x", "correct\0"):
        assert await bench.try_(password) == Reject(Reason.WRONG_PASSWORD)
        assert await bench.sign_in.check(ALICE, password, "192.0.2.1") is None
    assert bench.questions == 0


async def test_an_app_password_that_is_right_asks_nobody():
    bench = Bench(Source(APP))
    bench.passdb.add(ALICE)
    stored = bench.passdb.mint(ALICE, APP)
    assert await bench.try_(APP) == Accept(Principal(1, ALICE, stored.id))
    assert bench.questions == 0


async def test_only_the_sources_of_its_domain_are_asked_about_a_login():
    bench = Bench(Source(), domains=frozenset({"example.org"}))
    bench.passdb.add(ALICE)
    bench.passdb.add("bob@example.org")
    assert await bench.try_() == Reject(Reason.WRONG_PASSWORD)
    assert bench.questions == 0
    assert type(await bench.try_(login="bob@example.org")) is Accept


async def test_a_source_hears_the_login_in_its_one_spelling_and_the_bytes_as_they_came():
    bench = Bench(Source())
    bench.passdb.add(ALICE)
    await bench.try_("pässword \udcff", login="Alice@EXAMPLE.test")
    assert bench.sources[0].asked == [(ALICE, "pässword ".encode() + b"\xff")]


# ---- throttling, remembering, sharing


async def test_a_refusal_is_a_guess_and_a_fault_is_none():
    bench = Bench(Source(), throttled=True)
    bench.passdb.add(ALICE)
    for number in range(40):
        outcome = await bench.try_(f"wrong {number}", peer=f"192.0.{number}.1")
        assert outcome == Reject(Reason.WRONG_PASSWORD)
    spent = len(bench.throttle.exchange_out())
    bench.sources[0].fault = SourceUnavailable("away")
    for number in range(40):
        assert await bench.try_(f"other {number}", peer="198.51.100.1") == Defer(Cause.SOURCE)
    assert len(bench.throttle.exchange_out()) == spent


@pytest.mark.parametrize("login", [ALICE, NEW])
async def test_guesses_at_an_account_are_bounded_over_all_addresses_also_where_it_is_not_made_yet(login):
    bench = Bench(Source(), throttled=True, creates=True)
    bench.passdb.add(ALICE)
    for number in range(100):
        bench.now += 0.001
        assert type(await bench.try_(f"wrong {number}", login=login, peer=f"10.{number}.1.1")) is Reject
    asked = bench.questions
    outcome = await bench.try_("wrong again", login=login, peer="10.200.1.1")
    assert type(outcome) is Defer
    assert outcome.cause is Cause.THROTTLED
    assert bench.questions == asked == 100


async def test_a_yes_is_remembered_for_a_minute_and_a_no_is_not():
    bench = Bench(Source())
    bench.passdb.add(ALICE)
    for _ in range(3):
        assert type(await bench.try_()) is Accept
    assert bench.questions == 1
    bench.now += PROVEN_S - 1
    assert type(await bench.try_()) is Accept
    assert bench.questions == 1, "it is not renewed by being used"
    bench.now += 1
    bench.sources[0].password = "another"
    for asked in (2, 3):
        assert await bench.try_() == Reject(Reason.WRONG_PASSWORD)
        assert bench.questions == asked
    assert PROVEN_S <= 60


async def test_what_is_remembered_is_of_one_login_and_lets_nobody_in_whom_the_store_keeps_out():
    bench = Bench(Source())
    bench.passdb.add(ALICE)
    bench.passdb.add("bob@example.test")
    assert type(await bench.try_()) is Accept
    await bench.try_(login="bob@example.test")
    assert bench.questions == 2
    bench.passdb.accounts[ALICE] = bench.passdb.accounts[ALICE]._replace(mode_on=True)
    assert await bench.try_() == Reject(Reason.CLIENT_PASSWORDS_ONLY)
    bench.passdb.accounts[ALICE] = bench.passdb.accounts[ALICE]._replace(mode_on=False, web_changed_at=5.0)
    assert await bench.try_() == Reject(Reason.WRONG_PASSWORD)


async def test_one_password_on_five_connections_is_one_question_and_who_leaves_takes_nobody_along():
    bench = Bench(Source())
    bench.passdb.add(ALICE)
    bench.sources[0].gate = asyncio.Event()
    tries = [asyncio.create_task(bench.try_()) for _ in range(5)]
    await bench.sources[0].reached.wait()
    tries[0].cancel()
    await asyncio.gather(tries[0], return_exceptions=True)
    bench.sources[0].gate.set()
    assert [type(outcome) for outcome in await asyncio.gather(*tries[1:])] == [Accept] * 4
    assert bench.questions == 1


async def test_a_source_that_does_not_answer_is_a_fault():
    bench = Bench(Source(), timeout_s=0.01)
    bench.passdb.add(ALICE)
    bench.sources[0].gate = asyncio.Event()
    assert await bench.try_() == Defer(Cause.SOURCE)
    assert "no answer within" in bench.seen[-1].detail


async def test_no_more_questions_are_asked_at_once_than_there_are_turns():
    bench = Bench(Source())
    bench.passdb.add(ALICE)
    bench.sources[0].gate = asyncio.Event()
    tries = [asyncio.create_task(bench.try_(f"wrong {number}")) for number in range(30)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert bench.questions == 16
    bench.sources[0].gate.set()
    assert {type(outcome) for outcome in await asyncio.gather(*tries)} == {Reject}


async def test_a_no_that_comes_too_late_for_its_refusal_is_told_once(caplog):
    caplog.set_level(logging.WARNING)
    bench = Bench(Source())
    bench.passdb.add(ALICE)

    class Slow(Source):
        async def check(self, login, password):
            bench.now += 3.0
            return await super().check(login, password)

    bench.outside._sources = [Asked("slow", Slow(), asyncio.Semaphore(1), 30.0)]
    for _ in range(2):
        assert await bench.try_("wrong") == Reject(Reason.WRONG_PASSWORD)
    assert caplog.text.count("raise [replies] refusal_delay_s") == 1


async def test_closing_ends_what_was_asked_and_lets_go_of_the_sources():
    bench = Bench(Source())
    bench.passdb.add(ALICE)
    bench.sources[0].gate = asyncio.Event()
    waiting = asyncio.create_task(bench.try_())
    await bench.sources[0].reached.wait()
    await bench.verifier.close()
    assert bench.sources[0].is_closed
    with pytest.raises(asyncio.CancelledError):
        await waiting


# ---- accounts that are made


async def test_an_account_is_made_at_the_first_good_login_and_judged_as_it_is_then():
    bench = Bench(Source(), creates=True)
    assert await bench.try_("wrong", login=NEW) == Reject(Reason.WRONG_PASSWORD)
    assert bench.newcomers.made == []
    assert await bench.try_(login="New@Example.Test") == Accept(Principal(1, NEW, None))
    assert bench.newcomers.made == [(NEW, "source0")]
    assert bench.seen[-1].account_id == 1
    assert await bench.try_(login=NEW) == Accept(Principal(1, NEW, None))
    assert bench.questions == 2, "what made it is remembered"


async def test_no_account_is_made_unless_it_is_configured():
    bench = Bench(Source())
    assert await bench.try_(login=NEW) == Reject(Reason.UNKNOWN_LOGIN)
    assert bench.questions == 0


async def test_only_a_source_that_makes_accounts_is_asked_about_one_that_is_not_there():
    bench = Bench(Source(), Source("other"), creates=True)
    bench.outside._sources = [replace(bench.outside._sources[0], creates=False), bench.outside._sources[1]]
    assert await bench.try_(login=NEW) == Reject(Reason.WRONG_PASSWORD)
    assert bench.sources[0].asked == []
    assert type(await bench.try_("other", login=NEW)) is Accept
    assert bench.newcomers.made == [(NEW, "source1")]


@pytest.mark.parametrize("login", ["removed@example.test", "new@elsewhere.test"])
async def test_none_is_made_that_was_removed_or_is_of_no_domain_of_ours(login):
    bench = Bench(Source(), creates=True)
    bench.newcomers.removed.add("removed@example.test")
    assert await bench.try_(login=login) == Reject(Reason.UNKNOWN_LOGIN)
    assert await bench.sign_in.check(login, WEB, "192.0.2.1") is None
    assert bench.questions == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"demands": (ENFORCED, NO_DEMAND, NO_DEMAND)}, Reason.CLIENT_PASSWORDS_ONLY),
        ({"demands": (replace(NO_DEMAND, two_factor=True), NO_DEMAND, NO_DEMAND)}, Reason.CLIENT_PASSWORDS_ONLY),
        ({"domain_enabled": False}, Reason.DOMAIN_DISABLED),
        ({"services": frozenset({Service.SMTP})}, Reason.SERVICE_OFF),
    ],
)
async def test_none_is_made_whose_web_password_would_not_be_let_in(changes, reason):
    bench = Bench(Source(), creates=True)
    bench.newcomers.changes = changes
    assert await bench.try_(login=NEW) == Reject(reason)
    assert bench.questions == 0


async def test_one_that_is_not_made_after_all_stays_unknown():
    bench = Bench(Source(), creates=True)
    bench.newcomers.fails_to_make = True
    make = bench.newcomers.make

    async def removed_meanwhile(login, name):
        await make(login, name)
        bench.newcomers.removed.add(login)

    bench.newcomers.make = removed_meanwhile
    assert await bench.try_(login=NEW) == Reject(Reason.UNKNOWN_LOGIN)


# ---- the web portal


@pytest.mark.parametrize("mode_on", [False, True])
async def test_the_portal_asks_the_sources_whatever_the_mode(mode_on):
    bench = Bench(Source())
    bench.passdb.add(ALICE, mode_on=mode_on)
    assert await bench.sign_in.check(ALICE, WEB, "192.0.2.1") == WebMatch(1, ALICE)
    assert await bench.sign_in.check(ALICE, "wrong", "192.0.2.1") is None
    assert bench.questions == 2


async def test_the_portal_makes_an_account_too_also_where_mail_programs_need_app_passwords():
    bench = Bench(Source(), creates=True)
    bench.newcomers.changes = {"demands": (ENFORCED, NO_DEMAND, NO_DEMAND)}
    assert await bench.sign_in.check(NEW, WEB, "192.0.2.1") == WebMatch(1, NEW)


@pytest.mark.parametrize("changes", [{"enabled": False}, {"domain_enabled": False}])
async def test_the_portal_asks_nobody_about_an_account_that_is_disabled(changes):
    bench = Bench(Source())
    bench.passdb.add(ALICE, **changes)
    assert await bench.sign_in.check(ALICE, WEB, "192.0.2.1") is None
    assert bench.questions == 0


async def test_at_the_portal_a_fault_is_no_refusal_either():
    bench = Bench(Source(fault=SourceUnavailable("away")), throttled=True)
    bench.passdb.add(ALICE)
    with pytest.raises(SourceUnavailable):
        await bench.sign_in.check(ALICE, WEB, "192.0.2.1")
    assert bench.throttle.exchange_out() == []
