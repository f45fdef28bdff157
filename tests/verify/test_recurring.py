"""Logins that come again: what is remembered of them, what is not, and that the account is read each time."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from doubles import LengthKeys, MemoryPassdb, PlainHashes
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import Events, LoginJudged
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reason, Reject, Stay
from mailauth.verify import recurring
from mailauth.verify.recurring import Recurring
from mailauth.verify.verifier import Verifier

ALICE = "alice@example.test"
APP = "abcdefghjkmnpqrs"
SAME_SELECTOR = "srqpnmkjhgfedcba"
WEB = "correct horse"
PEER = "192.0.2.1"


class Reading:
    def __init__(self, passdb, login, selectors, account):
        self.passdb, self.asked, self.account = passdb, (login, selectors), account

    def is_unchanged(self):
        self.passdb.reads += 1
        return self.passdb.slow() and self.passdb.found(*self.asked) == self.account


class Passdb(MemoryPassdb):
    """Remembers what was read last. slow: what happens meanwhile."""

    def __init__(self):
        super().__init__()
        self.latest = None
        self.reads = 0
        self.slow = lambda: True

    def found(self, login, selectors):
        try:
            MemoryPassdb.lookup(self, login, selectors).send(None)
        except StopIteration as end:
            return end.value

    async def lookup(self, login, selectors):
        account = await super().lookup(login, selectors)
        self.latest = Reading(self, login, selectors, account)
        return account

    def reading(self, account):
        return self.latest if self.latest is not None and self.latest.account is account else None


class Changes:
    """Nothing was changed, and everything is applied, unless a test says otherwise."""

    def __init__(self):
        self.at, self.is_up_to_date = 5, True

    def mark(self):
        return self.at

    def touched(self, mark, account_id, domain_id):
        return False

    def is_current(self):
        return self.is_up_to_date

    async def current(self):
        pass


class Welcomed:
    """A throttle that admits everybody, and hears who got in."""

    def __init__(self):
        self.heard = []

    def claim(self, attempt, login, account_id, *, web, device=""):
        return Claimed()

    def welcome(self, peer, account_id, device=""):
        self.heard.append((peer, account_id))

    def knows(self, peer, account_id):
        return False


class Claimed:
    guess = 1

    def settle(self, outcome):
        pass


class Stage:
    """A verifier that remembers, and one beside it that does not, on one store."""

    def __init__(self):
        self.passdb, self.keys, self.events, self.changes = Passdb(), LengthKeys(), Events(), Changes()
        self.throttle = Welcomed()
        self.told: list[LoginJudged] = []
        self.events.subscribe(self.told.append)
        self.now, self.monotonic = 1000.0, 50.0
        self.hashes = PlainHashes()
        clock = {"clock": lambda: self.now}
        self.recurring = Recurring(
            self.passdb, self.keys, self.changes, self.events, self.throttle, **clock, monotonic=lambda: self.monotonic
        )
        means = (self.passdb, self.keys, self.hashes)
        options = {"changes": self.changes, "aliases_log_in": True, **clock}
        self.verifier = Verifier(*means, self.events, self.throttle, recurring=self.recurring, **options)
        self.forgetful = Verifier(*means, Events(), **options)

    async def log_in(self, attempt: Attempt, times: int = 1) -> Outcome:
        for _ in range(times):
            outcome = await self.verifier.authenticate(attempt)
        return outcome

    def knows(self, attempt: Attempt) -> bool:
        return self.recurring.question(attempt) in self.recurring.questions


@pytest.fixture
def stage():
    made = Stage()
    made.passdb.add(ALICE, WEB)
    return made


def attempt(password=APP, login=ALICE, authzid="", service=Service.IMAP, peer=PEER, question=b"a question"):
    return Attempt(Credential(login, password, authzid), service, peer, tls=True, client="a program", question=question)


async def test_from_the_third_time_on_it_is_compared_and_told_like_any_other(stage):
    stage.passdb.mint(ALICE, APP)
    judged = [await stage.verifier.authenticate(attempt()) for _ in range(2)]
    assert b"a question" in stage.recurring.questions
    lookups, reads = stage.passdb.lookups, stage.passdb.reads
    known = stage.recurring.judge(b"a question")
    assert known.accept == judged[0] == judged[1] == Accept(Principal(1, ALICE, 100))
    assert known.accept.stay == judged[1].stay == Stay(5, 1, None, None)
    assert known.attempt == attempt().without_secret()
    assert (stage.passdb.lookups, stage.passdb.reads) == (lookups + 1, reads + 1)  # read like any other
    assert stage.told[2] == stage.told[1]._replace(took_ms=stage.told[2].took_ms)
    assert APP not in repr(stage.recurring) + repr(stage.told)


async def test_what_came_once_is_not_remembered(stage):
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt())
    await stage.log_in(attempt(question=b"another"))
    await stage.log_in(attempt(question=b""))
    assert b"a question" not in stage.recurring.questions
    assert stage.recurring.judge(b"a question") is None
    assert stage.passdb.reads == 0


@pytest.mark.parametrize(
    "asked",
    [
        attempt("wrong"),
        attempt(WEB),
        attempt(SAME_SELECTOR),
        attempt(login="nobody@example.test"),
        attempt(login="alias@example.test"),
        attempt(authzid="bob@example.test"),
    ],
    ids=lambda asked: repr(asked.credential),
)
async def test_what_is_not_as_simple_as_most_is_judged_from_the_beginning_each_time(stage, asked):
    stage.passdb.mint(ALICE, APP)
    stage.passdb.aliases["alias@example.test"] = ALICE
    for question in (b"a question", b""):
        asked = dataclasses.replace(asked, question=question)
        first = await stage.log_in(asked)
        assert await stage.log_in(asked, 4) == first
        assert not stage.knows(asked)


OTHERS = {
    "password": f" {APP}",
    "login": "Alice@example.test",
    "authzid": ALICE,
    "service": Service.POP3,
    "peer": "192.0.2.2",
    "tls": False,
    "client": "another program",
}


@pytest.mark.parametrize("differs", OTHERS)
async def test_without_a_question_of_its_own_an_attempt_is_known_by_all_that_it_is_made_of(stage, differs):
    stage.passdb.mint(ALICE, APP)
    asked = attempt(question=b"")
    await stage.log_in(asked, 2)
    assert stage.knows(asked)
    assert stage.recurring.question(asked) == stage.recurring.question(attempt(question=b""))
    if differs in {"tls", "client"}:
        other = dataclasses.replace(asked, **{differs: OTHERS[differs]})
    else:
        other = attempt(**{differs: OTHERS[differs]}, question=b"")
    assert not stage.knows(other)
    assert await stage.log_in(other) == Accept(Principal(1, ALICE, 100))
    assert stage.told[-1].attempt == other.without_secret()
    assert APP not in repr(stage.recurring.question(asked))


async def test_no_two_processes_digest_passwords_alike():
    one, other = Stage(), Stage()
    asked = attempt(question=b"")
    assert one.recurring.question(asked) != other.recurring.question(asked)
    assert repr(one.recurring.secret) not in repr(one.recurring)


async def test_a_bug_in_it_is_a_fault_like_any_other(stage, monkeypatch):
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt(), 2)
    monkeypatch.setattr(Reading, "is_unchanged", lambda self: 1 / 0)
    assert await stage.log_in(attempt()) == Defer(Cause.BUG)


async def test_a_bug_in_remembering_is_a_fault_too_and_told_as_one(stage):
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt())
    stage.passdb.reading = lambda account: 1 / 0
    assert await stage.log_in(attempt()) == Defer(Cause.BUG)
    assert stage.told[-1].outcome == Defer(Cause.BUG)
    del stage.passdb.reading
    assert await stage.log_in(attempt()) == Accept(Principal(1, ALICE, 100))


async def test_two_app_passwords_of_one_selector_are_judged_from_the_beginning(stage):
    stage.passdb.mint(ALICE, SAME_SELECTOR)
    stage.passdb.mint(ALICE, APP)
    assert await stage.log_in(attempt(), 4) == Accept(Principal(1, ALICE, 101))
    assert b"a question" not in stage.recurring.questions


async def test_what_was_opened_and_taken_away_while_it_was_judged_is_refused_and_not_remembered(stage):
    stored = stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt())

    def touched(mark, account_id, domain_id):
        stage.changes.touched = lambda *_: False
        stage.passdb.app_passwords[ALICE] = [(sum(APP.encode()), stored._replace(revoked=True))]
        return True

    stage.changes.touched = touched
    assert await stage.log_in(attempt(), 3) == Reject(Reason.REVOKED, 100)
    assert b"a question" not in stage.recurring.questions


async def test_what_is_to_be_moved_to_the_newest_key_is_judged_from_the_beginning(stage):
    stage.passdb.mint(ALICE, APP)
    stage.keys.newest = 2
    stage.keys.selectors = lambda login, cleaned: ((1, sum(cleaned.encode())), (2, 7))
    assert await stage.log_in(attempt(), 4) == Accept(Principal(1, ALICE, 100))
    assert b"a question" not in stage.recurring.questions
    await stage.verifier.close()


async def test_where_others_were_read_meanwhile_or_it_cannot_be_read_at_once_nothing_is_remembered(stage):
    stage.passdb.mint(ALICE, APP)
    stage.passdb.reading = lambda account: None
    await stage.log_in(attempt(), 4)
    assert b"a question" not in stage.recurring.questions
    del stage.passdb.reading
    stage.passdb.slow = lambda: False
    await stage.log_in(attempt(), 4)
    assert b"a question" not in stage.recurring.questions


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"revoked": True}, Reason.REVOKED),
        ({"suspended": True}, Reason.SUSPENDED),
        ({"expires_at": 999.0}, Reason.EXPIRED),
        ({"services": frozenset({Service.SMTP})}, Reason.OTHER_SERVICE),
        ({"networks": ("10.0.0.0/8",)}, Reason.OTHER_NETWORK),
        ({"record": "plain:another"}, Reason.WRONG_PASSWORD),
    ],
    ids=str,
)
async def test_an_app_password_that_was_changed_is_judged_anew(stage, change, reason):
    stored = stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt(), 3)
    stage.passdb.app_passwords[ALICE] = [(sum(APP.encode()), stored._replace(**change))]
    outcome = await stage.log_in(attempt())
    assert isinstance(outcome, Reject)
    assert outcome.reason is reason
    assert b"a question" not in stage.recurring.questions


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"enabled": False}, Reason.DISABLED),
        ({"domain_enabled": False}, Reason.DOMAIN_DISABLED),
        ({"client_logon": False}, Reason.CLIENT_LOGON_OFF),
        ({"services": frozenset({Service.SMTP})}, Reason.SERVICE_OFF),
        ({"mode_on": True}, None),
        ({"web_record": None}, None),
    ],
    ids=str,
)
async def test_an_account_that_was_changed_is_judged_anew(stage, change, reason):
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt(), 3)
    stage.passdb.accounts[ALICE] = stage.passdb.accounts[ALICE]._replace(**change)
    outcome = await stage.log_in(attempt())
    assert outcome == (Accept(Principal(1, ALICE, 100)) if reason is None else Reject(reason))


async def test_an_account_that_is_gone_is_gone(stage):
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt(), 3)
    del stage.passdb.accounts[ALICE]
    assert await stage.log_in(attempt()) == Reject(Reason.UNKNOWN_LOGIN)


async def test_it_expires_by_the_clock_though_no_row_changes(stage):
    stage.passdb.mint(ALICE, APP, expires_at=2000.0)
    await stage.log_in(attempt(), 3)
    stage.now = 1999.9
    assert stage.recurring.judge(b"a question").accept.stay.until == 2000.0
    stage.now = 2000.0
    assert stage.recurring.judge(b"a question") is None
    assert await stage.log_in(attempt()) == Reject(Reason.EXPIRED, 100)


async def test_nobody_gets_in_while_this_process_is_behind_the_store(stage):
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt(), 3)
    told = len(stage.told)
    stage.changes.is_up_to_date = False
    assert stage.recurring.judge(b"a question") is None
    assert len(stage.told) == told
    stage.changes.is_up_to_date = True
    assert stage.recurring.judge(b"a question") is not None


async def test_what_it_stands_on_is_what_was_read_now(stage):
    """A session that is entered by it ends with a change that came between the first login and this one."""
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt(), 3)
    stage.changes.at = 9
    known = stage.recurring.judge(b"a question")
    assert known.accept.stay.mark == 9
    assert stage.told[-1].outcome.stay.mark == 9


async def test_the_throttle_hears_once_a_minute_who_got_in(stage):
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt(), 2)
    stage.throttle.heard.clear()
    for _ in range(5):
        stage.recurring.judge(b"a question")
    assert stage.throttle.heard == [(PEER, 1)]
    stage.monotonic += recurring.WELCOME_S
    stage.recurring.judge(b"a question")
    assert stage.throttle.heard == [(PEER, 1)] * 2


async def test_where_nobody_is_slowed_down_nobody_is_told(stage):
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt(), 2)
    stage.recurring.throttle = None
    assert stage.recurring.judge(b"a question") is not None


async def test_a_read_that_took_long_is_told_so_and_others_as_one_and_the_same(stage, monkeypatch):
    stage.passdb.mint(ALICE, APP)
    await stage.log_in(attempt(), 2)
    ticks = iter([0.0, 0.00004, 1.0, 1.00003, 2.0, 2.5])
    stage.recurring.monotonic = lambda: next(ticks)
    for _ in range(3):
        stage.recurring.judge(b"a question")
    assert stage.told[-3] is stage.told[-2]
    assert [event.took_ms for event in stage.told[-3:]] == [0.0, 0.0, 500.0]


async def test_only_so_many_are_remembered(stage, monkeypatch):
    monkeypatch.setattr(recurring, "CAPACITY", 3)
    stage.passdb.mint(ALICE, APP)
    for number in range(5):
        await stage.log_in(attempt(question=b"%d" % number), 2)
    assert [number for number in range(5) if b"%d" % number in stage.recurring.questions] == [2, 3, 4]
    assert len(stage.recurring._seen) <= 3


ASKED = [
    *[attempt(service=service, question=f"app password {service}".encode()) for service in Service],
    attempt(peer="10.0.0.1", question=b""),
    attempt(WEB, question=b""),
    attempt("wrong", question=b"guess"),
]
services = st.frozensets(st.sampled_from(Service))
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("account"),
            st.one_of(
                *[st.fixed_dictionaries({name: st.booleans()}) for name in ("enabled", "domain_enabled")],
                *[st.fixed_dictionaries({name: st.booleans()}) for name in ("client_logon", "mode_on")],
                st.fixed_dictionaries({"services": services}),
                st.fixed_dictionaries({"web_changed_at": st.none() | st.integers(0, 3)}),
            ),
        ),
        st.tuples(
            st.just("app password"),
            st.one_of(
                *[st.fixed_dictionaries({name: st.booleans()}) for name in ("revoked", "suspended")],
                st.fixed_dictionaries({"services": services}),
                st.fixed_dictionaries({"networks": st.sampled_from([(), ("10.0.0.0/8",), ("no network",)])}),
                st.fixed_dictionaries({"record": st.sampled_from([f"plain:{APP}", "plain:another", "no hash"])}),
                st.fixed_dictionaries({"expires_at": st.sampled_from([None, 995.0, 1005.0])}),
            ),
        ),
    ),
    max_size=6,
)


@given(steps)
@example([("app password", {"expires_at": 1005.0})])
async def test_whatever_happens_between_logins_the_verdict_is_that_of_who_remembers_nothing(steps):
    stage = Stage()
    stage.passdb.add(ALICE, WEB)
    stage.passdb.mint(ALICE, APP)
    for asked in ASKED:
        await stage.log_in(asked, 3)
    assert [asked for asked in ASKED if not stage.knows(asked)] == ASKED[-2:]
    for step in steps:
        change(stage.passdb, *step)
        for stage.now, asked in itertools.product((1000.0, 1010.0, 990.0), ASKED * 2):  # let in twice, remembered again
            outcome = await stage.log_in(asked)
            expected = await stage.forgetful.authenticate(asked)
            assert outcome == expected
            assert getattr(outcome, "stay", None) == getattr(expected, "stay", None)


def change(passdb: Passdb, what: str, values) -> None:
    if what == "account":
        passdb.accounts[ALICE] = passdb.accounts[ALICE]._replace(**values)
    else:
        passdb.app_passwords[ALICE] = [(s, stored._replace(**values)) for s, stored in passdb.app_passwords[ALICE]]
