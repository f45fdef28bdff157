"""One login, judged: the rules in their order, and that a fault is never a refusal."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from doubles import LengthKeys, MemoryPassdb, PlainHashes
from mailauth.attempt import Attempt, Credential, Service
from mailauth.events import Events, LoginJudged
from mailauth.interfaces import (
    BadRecord,
    Demand,
    HashUnavailable,
    Lane,
    PolicyLevel,
    PoolBusy,
    StoreUnavailable,
    UnknownKey,
)
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject, Stay
from mailauth.verify.verifier import Verifier

ALICE = "alice@example.test"
APP = "abcdefghjkmnpqrs"
OTHER = "srqpnmkjhgfedcba"  # the same letters: hits the same selector here
WEB = "correct horse"
ENFORCED = Demand(PolicyLevel.ENFORCED, None, False, False, None, False)


class Bench:
    """A verifier on a store in memory, with everything that happened."""

    def __init__(self, **options):
        self.passdb, self.hashes, self.events = MemoryPassdb(), PlainHashes(), Events()
        self.seen: list[LoginJudged] = []
        self.events.subscribe(self.seen.append)
        self.now = 1000.0
        self.verifier = Verifier(self.passdb, LengthKeys(), self.hashes, self.events, clock=lambda: self.now, **options)

    async def try_(self, password=WEB, login=ALICE, service=Service.IMAP, authzid="", peer="192.0.2.1"):
        return await self.verifier.authenticate(Attempt(Credential(login, password, authzid), service, peer, True))


@pytest.fixture
def bench():
    return Bench()


async def test_the_web_password_gets_in_while_the_mode_is_off(bench):
    bench.passdb.add(ALICE, WEB)
    assert await bench.try_() == Accept(Principal(1, ALICE, None))
    assert await bench.try_("wrong") == Reject(Reason.WRONG_PASSWORD)
    assert await bench.try_(login="Alice@EXAMPLE.test") == Accept(Principal(1, ALICE, None))


@pytest.mark.parametrize("changes", [{"mode_on": True}, {"demands": (ENFORCED,)}])
async def test_with_the_mode_on_the_web_password_is_refused_without_a_hash(bench, changes):
    bench.passdb.add(ALICE, WEB, **changes)
    bench.passdb.mint(ALICE, APP)
    assert await bench.try_() == Reject(Reason.CLIENT_PASSWORDS_ONLY)
    assert await bench.try_("wrong") == Reject(Reason.CLIENT_PASSWORDS_ONLY)
    assert bench.hashes.computed == 0
    assert await bench.try_(APP) == Accept(Principal(1, ALICE, 100))


@pytest.mark.parametrize("mode_on", [False, True])
@pytest.mark.parametrize("typed", [APP, "abcd efgh jkmn pqrs", "abcd-efgh-jkmn-pqrs\r\n", "\u3000" + APP + "\u200b"])
async def test_an_app_password_gets_in_in_either_mode_however_it_was_typed(bench, mode_on, typed):
    bench.passdb.add(ALICE, WEB, mode_on=mode_on)
    bench.passdb.mint(ALICE, APP)
    assert await bench.try_(typed) == Accept(Principal(1, ALICE, 100))


async def test_a_web_password_of_sixteen_letters_works_while_the_mode_is_off(bench):
    bench.passdb.add(ALICE, OTHER)
    bench.passdb.mint(ALICE, APP)
    bench.passdb.mint(ALICE, APP, revoked=True)
    assert await bench.try_(OTHER) == Accept(Principal(1, ALICE, None))


async def test_all_hits_of_a_selector_are_verified(bench):
    bench.passdb.add(ALICE)
    bench.passdb.mint(ALICE, OTHER)
    bench.passdb.mint(ALICE, APP)
    assert await bench.try_(APP) == Accept(Principal(1, ALICE, 101))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"revoked": True}, Reason.REVOKED),
        ({"suspended": True}, Reason.SUSPENDED),
        ({"expires_at": 1000.0}, Reason.EXPIRED),
        ({"services": frozenset({Service.SMTP})}, Reason.OTHER_SERVICE),
        ({"networks": ("10.0.0.0/8",)}, Reason.OTHER_NETWORK),
    ],
)
@pytest.mark.parametrize("mode_on", [False, True])
async def test_a_recognised_app_password_that_does_not_open_this_is_refused_by_its_own_reason(
    bench, changes, reason, mode_on
):
    bench.passdb.add(ALICE, WEB, mode_on=mode_on)
    bench.passdb.mint(ALICE, APP, **changes)
    assert await bench.try_(APP) == Reject(reason, 100)


async def test_a_revoked_app_password_stays_out_even_if_it_is_the_web_password_too(bench):
    bench.passdb.add(ALICE, APP)
    bench.passdb.mint(ALICE, APP, revoked=True)
    assert await bench.try_(APP) == Reject(Reason.REVOKED, 100)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enabled": False}, Reason.DISABLED),
        ({"domain_enabled": False}, Reason.DOMAIN_DISABLED),
        ({"client_logon": False}, Reason.CLIENT_LOGON_OFF),
        ({"services": frozenset({Service.SMTP})}, Reason.SERVICE_OFF),
    ],
)
async def test_what_is_switched_off_refuses_every_secret_without_a_hash(bench, changes, reason):
    bench.passdb.add(ALICE, WEB, **changes)
    bench.passdb.mint(ALICE, APP)
    assert await bench.try_(APP) == Reject(reason)
    assert await bench.try_(WEB) == Reject(reason)
    assert bench.hashes.computed == 0


@pytest.mark.parametrize(
    "login", ["nobody@example.test", "alice", "", "alice@example.test\0", "\uff41lice@example.test", "a b@example.test"]
)
async def test_a_login_that_is_none_is_unknown(bench, login):
    bench.passdb.add(ALICE, WEB)
    assert await bench.try_(login=login) == Reject(Reason.UNKNOWN_LOGIN)


async def test_nobody_acts_for_somebody_else(bench):
    bench.passdb.add(ALICE, WEB)
    assert await bench.try_(authzid="root@example.test") == Reject(Reason.AUTHZID)
    assert await bench.try_(authzid=ALICE) == Accept(Principal(1, ALICE, None))


@pytest.mark.parametrize("password", ["", "x" * 1025, "\udcff" * 1025])
async def test_empty_and_endless_passwords_are_refused_before_anything_is_computed(bench, password):
    bench.passdb.add(ALICE, WEB)
    assert await bench.try_(password) == Reject(Reason.WRONG_PASSWORD)
    assert bench.hashes.computed == 0


async def test_an_account_without_web_password_lets_none_in(bench):
    bench.passdb.add(ALICE, None)
    assert await bench.try_() == Reject(Reason.WRONG_PASSWORD)


async def test_an_alias_logs_in_only_if_the_setting_says_so():
    for setting, expected in ((False, Reject(Reason.UNKNOWN_LOGIN)), (True, Accept(Principal(1, ALICE, 100)))):
        bench = Bench(aliases_log_in=setting)
        bench.passdb.add(ALICE, WEB)
        bench.passdb.mint(ALICE, APP)
        bench.passdb.aliases["al@example.test"] = ALICE
        assert await bench.try_(APP, login="al@example.test") == expected


# ---- faults


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (StoreUnavailable("down"), Cause.STORE),
        (UnknownKey("key 9"), Cause.KEY),
        (BadRecord("policy"), Cause.RECORD),
        (RuntimeError("secret inside"), Cause.BUG),
        (KeyError("x"), Cause.BUG),
        (TimeoutError(), Cause.BUG),
    ],
)
@pytest.mark.parametrize("password", [APP, WEB, "wrong"])
async def test_a_fault_of_the_store_defers_whatever_was_shown(bench, fault, cause, password):
    bench.passdb.add(ALICE, WEB)
    bench.passdb.mint(ALICE, APP)
    bench.passdb.fault = fault
    assert await bench.try_(password) == Defer(cause)
    assert "secret inside" not in repr(bench.seen)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (HashUnavailable("memory"), Cause.HASH),
        (PoolBusy("queue"), Cause.BUSY),
        (BadRecord("hash"), Cause.RECORD),
        (MemoryError(), Cause.BUG),
    ],
)
@pytest.mark.parametrize("password", [APP, WEB])
async def test_a_fault_of_the_hash_defers_right_and_wrong_alike(bench, fault, cause, password):
    bench.passdb.add(ALICE, WEB)
    bench.passdb.mint(ALICE, APP)
    bench.hashes.fault = fault
    assert await bench.try_(password) == Defer(cause)


async def test_an_unreadable_record_is_no_wrong_password(bench):
    bench.passdb.add(ALICE, web_record="rot13:uryyb")
    assert await bench.try_() == Defer(Cause.RECORD)


async def test_while_the_pool_is_saturated_every_outcome_but_accept_is_a_defer(bench):
    bench.passdb.add(ALICE, WEB, mode_on=True)
    bench.passdb.mint(ALICE, APP)
    bench.hashes.full = True
    assert await bench.try_(WEB) == Defer(Cause.BUSY)
    assert await bench.try_(login="nobody@example.test") == Defer(Cause.BUSY)
    assert await bench.try_(APP) == Accept(Principal(1, ALICE, 100))


async def test_cancelling_is_no_fault(bench):
    bench.passdb.fault = asyncio.CancelledError()
    with pytest.raises(asyncio.CancelledError):
        await bench.try_()


# ---- proofs and flights


async def test_a_password_is_hashed_once_and_the_row_is_read_each_time(bench):
    bench.passdb.add(ALICE, WEB)
    stored = bench.passdb.mint(ALICE, APP)
    for _ in range(5):
        assert type(await bench.try_(APP)) is Accept
    assert (bench.hashes.computed, bench.passdb.lookups) == (1, 5)
    bench.passdb.app_passwords[ALICE] = []
    assert type(await bench.try_(APP)) is Reject
    assert stored.id == 100


async def test_an_app_password_of_another_cost_is_hashed_once_too(bench):
    bench.passdb.add(ALICE)
    bench.passdb.mint(ALICE, APP, record=f"dear:{APP}")
    for _ in range(4):
        assert type(await bench.try_(APP)) is Accept
    assert bench.hashes.computed == 1


async def test_a_wrong_password_is_never_remembered_as_proof(bench):
    bench.passdb.add(ALICE, WEB)
    for _ in range(3):
        assert type(await bench.try_("wrong")) is Reject
    assert bench.hashes.computed == 1


async def test_a_changed_web_password_needs_no_flushing(bench):
    bench.passdb.add(ALICE, WEB)
    assert type(await bench.try_(WEB)) is Accept
    bench.passdb.add(ALICE, "new password")
    assert type(await bench.try_(WEB)) is Reject
    assert type(await bench.try_("new password")) is Accept


class SlowHashes(PlainHashes):
    def __init__(self) -> None:
        super().__init__()
        self.go = asyncio.Event()

    async def verify(self, record, secret, lane=Lane.ORDINARY):
        await self.go.wait()
        return await super().verify(record, secret, lane)


async def flock(bench, count=5):
    tries = [asyncio.ensure_future(bench.try_(APP)) for _ in range(count)]
    for _ in range(5):
        await asyncio.sleep(0)
    return tries


async def test_five_connections_at_once_cost_one_hash():
    bench = Bench()
    bench.hashes = SlowHashes()
    bench.verifier = Verifier(bench.passdb, LengthKeys(), bench.hashes, bench.events)
    bench.passdb.add(ALICE)
    bench.passdb.mint(ALICE, APP)
    tries = await flock(bench)
    bench.hashes.go.set()
    assert [type(outcome) for outcome in await asyncio.gather(*tries)] == [Accept] * 5
    assert bench.hashes.computed == 1


async def test_the_one_who_leaves_takes_nobody_along_and_a_fault_is_everybodys_defer():
    bench = Bench()
    bench.hashes = SlowHashes()
    bench.verifier = Verifier(bench.passdb, LengthKeys(), bench.hashes, bench.events)
    bench.passdb.add(ALICE)
    bench.passdb.mint(ALICE, APP)
    tries = await flock(bench)
    tries[0].cancel()
    bench.hashes.fault = HashUnavailable("no memory")
    bench.hashes.go.set()
    left = await asyncio.gather(*tries, return_exceptions=True)
    assert isinstance(left[0], asyncio.CancelledError)
    assert left[1:] == [Defer(Cause.HASH)] * 4


async def test_a_weak_record_is_replaced_after_a_good_login_and_only_then(bench):
    bench.passdb.add(ALICE, web_record=f"weak:{WEB}")
    assert type(await bench.try_("wrong")) is Reject
    await bench.verifier.close()
    assert bench.passdb.replaced == []
    assert type(await bench.try_()) is Accept
    await bench.verifier.close()
    assert bench.passdb.replaced == [(1, f"weak:{WEB}", f"plain:{WEB}")]


# ---- events


async def test_every_attempt_is_told_once_and_never_with_its_secret(bench):
    bench.passdb.add(ALICE, WEB)
    await bench.try_()
    await bench.try_("s3cret-guess")
    await bench.try_(login="nobody@example.test")
    assert [(event.login, event.account_id, type(event.outcome)) for event in bench.seen] == [
        (ALICE, 1, Accept),
        (ALICE, 1, Reject),
        ("nobody@example.test", None, Reject),
    ]
    told = [(event, dataclasses.asdict(event.attempt), dataclasses.asdict(event.outcome)) for event in bench.seen]
    assert "s3cret-guess" not in str(told)


class Gate:
    """Admits, or makes wait; notes what it was asked and told."""

    guess = 17

    def __init__(self, wait=None):
        self.wait, self.asked, self.settled, self.welcomed = wait, [], [], []

    def claim(self, attempt, login, account_id, *, web, device=""):
        self.asked.append((login, account_id, web))
        return self if self.wait is None else self.wait

    def welcome(self, peer, account_id, device=""):
        self.welcomed.append((peer, account_id))

    def knows(self, peer, account_id):
        return (peer, account_id) in self.welcomed

    def settle(self, outcome):
        self.settled.append(outcome)


async def test_a_throttled_guess_is_deferred_and_an_app_password_is_not_held_up():
    gate = Gate(12.5)
    bench = Bench(throttle=gate)
    bench.passdb.add(ALICE, WEB)
    bench.passdb.mint(ALICE, APP)
    assert await bench.try_() == Defer(Cause.THROTTLED, 12.5)
    assert await bench.try_(login="nobody@example.test") == Defer(Cause.THROTTLED, 12.5)
    assert bench.hashes.computed == 0
    assert await bench.try_(APP) == Accept(Principal(1, ALICE, 100))
    assert (gate.asked, gate.settled) == ([(ALICE, 1, True), ("nobody@example.test", None, False)], [])


@pytest.mark.parametrize(
    ("shown", "refused"),
    [
        ({"login": "no login"}, Reason.UNKNOWN_LOGIN),
        ({"authzid": "root"}, Reason.AUTHZID),
        ({"password": "x" * 5000}, Reason.WRONG_PASSWORD),
        ({"password": ""}, Reason.WRONG_PASSWORD),
    ],
)
async def test_what_needs_no_look_at_the_store_is_a_guess_all_the_same(shown, refused):
    gate = Gate()
    bench = Bench(throttle=gate)
    bench.passdb.add(ALICE, WEB)
    assert await bench.try_(**shown) == Reject(refused)
    assert gate.settled == [Reject(refused)]
    gate.wait = 9.0
    assert await bench.try_(**shown) == Defer(Cause.THROTTLED, 9.0)


async def test_a_program_that_repeats_a_wrong_password_costs_one_hash():
    bench = Bench()
    bench.passdb.add(ALICE, WEB)
    for _ in range(20):
        assert await bench.try_("wrong") == Reject(Reason.WRONG_PASSWORD)
    assert bench.hashes.computed == 1
    bench.passdb.accounts[ALICE] = bench.passdb.accounts[ALICE]._replace(web_record="plain:wrong")
    assert type(await bench.try_("wrong")) is Accept


async def test_an_admitted_guess_is_settled_with_what_came_of_it():
    gate = Gate(None)
    bench = Bench(throttle=gate)
    bench.passdb.add(ALICE, WEB)
    bench.passdb.add("bob@example.test", WEB, mode_on=True)
    await bench.try_("wrong")
    await bench.try_(WEB)
    await bench.try_(WEB, login="bob@example.test")
    bench.hashes.fault = PoolBusy("full")
    await bench.try_("other")
    bob = ("bob@example.test", 2, False)
    assert gate.asked == [(ALICE, 1, True), (ALICE, 1, True), bob, (ALICE, 1, True)]
    assert gate.settled == [
        Reject(Reason.WRONG_PASSWORD),
        Accept(Principal(1, ALICE, None)),
        Reject(Reason.CLIENT_PASSWORDS_ONLY),
        Defer(Cause.BUSY),
    ]


async def test_a_full_queue_makes_no_guess_free():
    gate = Gate(None)
    bench = Bench(throttle=gate)
    bench.passdb.add(ALICE, WEB)
    bench.hashes.full = True
    assert await bench.try_("wrong") == Defer(Cause.BUSY)
    assert gate.settled == [Reject(Reason.WRONG_PASSWORD)]


async def test_a_web_password_that_is_proven_is_no_guess():
    gate = Gate(None)
    bench = Bench(throttle=gate)
    bench.passdb.add(ALICE, WEB)
    await bench.try_(WEB)
    gate.wait = 60.0
    assert type(await bench.try_(WEB)) is Accept
    assert await bench.try_("wrong") == Defer(Cause.THROTTLED, 60.0)
    assert bench.seen[-1].account_id == 1


async def test_a_chance_hit_of_a_selector_makes_no_guess_at_the_web_password_free():
    gate = Gate(30.0)
    bench = Bench(throttle=gate)
    bench.passdb.add(ALICE, WEB)
    bench.passdb.mint(ALICE, APP)
    assert await bench.try_(OTHER) == Defer(Cause.THROTTLED, 30.0)
    assert gate.asked == [(ALICE, 1, True)]
    gate.wait = None
    assert await bench.try_(OTHER) == Reject(Reason.WRONG_PASSWORD)
    assert gate.settled == [Reject(Reason.WRONG_PASSWORD)]


async def test_the_event_says_which_guess_it_was_and_what_a_policy_would_break():
    bench = Bench(throttle=Gate())
    bench.passdb.add(ALICE, WEB, demands=(Demand(PolicyLevel.OBSERVE, None, False, False, None, False),) * 3)
    bench.passdb.mint(ALICE, APP)
    await bench.try_("wrong")
    await bench.try_(WEB)
    await bench.try_(APP)
    assert [(event.guess, event.would_break) for event in bench.seen] == [(17, False), (17, True), (None, False)]


async def test_whoever_got_in_from_here_goes_first_when_hashes_wait():
    bench = Bench(throttle=Gate())
    bench.passdb.add(ALICE, WEB)
    await bench.try_(WEB)
    await bench.try_("wrong")
    await bench.try_("wrong as well", peer="198.51.100.7")
    assert bench.hashes.lanes == [Lane.ORDINARY, Lane.FIRST, Lane.ORDINARY]


class Meanwhile:
    """interfaces.Changes whose next marks are touched: each by a function that changes something just then."""

    def __init__(self, *happenings):
        self.happenings, self.marks, self.waited = list(happenings), 0, 0
        self.fault = None

    def mark(self):
        self.marks += 1
        return self.marks

    def touched(self, mark, account_id, domain_id):
        assert (account_id, domain_id) == (1, 1)
        return mark < self.marks + bool(self.happenings) and self._happen()

    def _happen(self):
        self.happenings.pop(0)()
        return True

    async def current(self):
        self.waited += 1
        if self.fault is not None:
            raise self.fault


async def test_what_is_revoked_while_it_is_judged_is_read_again_and_refused():
    bench = Bench(changes=Meanwhile(lambda: bench.passdb.revoke(ALICE, APP)))
    bench.passdb.add(ALICE, WEB)
    bench.passdb.mint(ALICE, APP)
    assert await bench.try_(APP) == Reject(Reason.REVOKED, 100)
    assert bench.passdb.lookups == 2
    assert bench.hashes.computed == 1
    assert len(bench.seen) == 1


async def test_a_change_that_takes_nothing_costs_one_more_read():
    bench = Bench(changes=Meanwhile(lambda: None))
    bench.passdb.add(ALICE, WEB)
    bench.passdb.mint(ALICE, APP)
    assert await bench.try_(APP) == Accept(Principal(1, ALICE, 100))
    assert bench.passdb.lookups == 2
    assert bench.hashes.computed == 1


async def test_an_account_that_never_stands_still_is_deferred_and_no_guess():
    bench = Bench(throttle=Gate(), changes=Meanwhile(*[lambda: None] * 10))
    bench.passdb.add(ALICE, WEB)
    assert await bench.try_(WEB) == Defer(Cause.STORE)
    assert bench.passdb.lookups == 4
    assert len(bench.verifier._throttle.asked) == 1


async def test_who_is_not_up_to_date_lets_nobody_in_and_calls_nothing_wrong():
    """A store that was put back or exchanged under a running server knows nothing of the newest app passwords."""
    changes = Meanwhile()
    changes.fault = StoreUnavailable("lost")
    gate = Gate()
    bench = Bench(changes=changes, throttle=gate)
    bench.passdb.add(ALICE, WEB)
    assert await bench.try_(WEB) == Defer(Cause.STORE)
    assert await bench.try_("wrong") == Defer(Cause.STORE)
    assert await bench.try_(login="nobody@example.test") == Defer(Cause.STORE)
    assert gate.settled == [Defer(Cause.STORE)] * 3


async def test_an_accept_says_what_it_stands_on():
    bench = Bench(changes=Meanwhile())
    bench.passdb.add(ALICE, WEB, web_changed_at=5.0, domain_id=1)
    bench.passdb.mint(ALICE, APP, expires_at=2000.0)
    by_app, by_web = await bench.try_(APP), await bench.try_(WEB)
    assert (by_app.stay, by_web.stay) == (Stay(1, 1, 5.0, 2000.0), Stay(2, 1, 5.0, None))


async def test_a_listener_that_fails_takes_no_login_along(bench):
    def fails(event):
        raise RuntimeError

    bench.events._listeners.insert(0, fails)
    bench.passdb.add(ALICE, WEB)
    assert type(await bench.try_()) is Accept
    assert len(bench.seen) == 1


async def test_a_key_that_comes_into_use_while_the_store_is_slow_makes_no_right_password_wrong():
    bench = Bench()
    bench.passdb.add(ALICE)
    bench.passdb.mint(ALICE, APP)
    keys, lookup = bench.verifier._finding._keys, bench.passdb.lookup
    came = []

    async def slow(login, selectors):
        if not came:
            came.append(2)
            raise UnknownKey("made under a key that came meanwhile")
        return await lookup(login, selectors)

    class Growing:
        newest = 1

        def selectors(self, login, cleaned):
            return (*keys.selectors(login, cleaned), *[(key, 0) for key in came])

    bench.passdb.lookup = slow
    bench.verifier._finding._keys = Growing()
    assert await bench.try_(APP) == Accept(Principal(1, ALICE, 100))
