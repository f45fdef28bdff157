"""Live sessions: a session stays as long as its login would be let in again, and not a moment longer."""

from __future__ import annotations

import asyncio
import json
import types
from dataclasses import dataclass, field
from typing import Any

import pytest

import virtual_time
from doubles import NO_DEMAND, LengthKeys, MemoryPassdb, PlainHashes
from mailauth.attempt import Attempt, Credential, Service
from mailauth.dialogue import Ending
from mailauth.events import Events
from mailauth.interfaces import Account, Answer, BadRecord, Change, Demand, PolicyLevel, StoreUnavailable
from mailauth.serving import sessions as module
from mailauth.serving.session import SESSIONS_ASKED, SESSIONS_CLOSED
from mailauth.serving.sessions import LiveSessions
from mailauth.verdict import Accept, Outcome, Principal, Reject
from mailauth.verify.verifier import Verifier

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@elsewhere.test"
WEB, PHONE, LAPTOP = "correct horse battery", "abcdefghjkmnpqrs", "tuvwxyz23456789a"
ENFORCED = Demand(PolicyLevel.ENFORCED, None, False, False, None, False)
TWO_FACTOR = Demand(PolicyLevel.OPTIONAL, None, False, True, None, False)
EPOCH = 1_800_000_000.0
HOUR_S = 3600.0


@dataclass(eq=False)
class Client:
    """A connection as the registry knows it. on_end: what its end does besides."""

    ended: list[Ending] = field(default_factory=list)

    def end(self, cause: Ending) -> None:
        self.ended.append(cause)

    @property
    def is_in(self) -> bool:
        return not self.ended


class Process:
    """A verifier and its sessions, on a store in memory: Alice and Bob in one domain, Carol in another."""

    def __init__(self, **options: Any) -> None:
        self.passdb = MemoryPassdb()
        self.now = EPOCH
        for login, domain_id in ((ALICE, 1), (BOB, 1), (CAROL, 2)):
            self.passdb.add(login, WEB, domain_id=domain_id)
            for password in (PHONE, LAPTOP):
                self.passdb.mint(login, password)
        self.live = LiveSessions(self.passdb, clock=lambda: self.now, **options)
        self.verifier = Verifier(
            self.passdb, LengthKeys(), PlainHashes(), Events(), changes=self.live, clock=lambda: self.now
        )
        self._numbers = iter(range(1, 1_000_000))

    async def judge(
        self, password: str, login: str = ALICE, service: Service = Service.IMAP
    ) -> tuple[Attempt, Outcome]:
        attempt = Attempt(Credential(login, password), service, "192.0.2.7", True, "Mail 1.0")
        return attempt, await self.verifier.authenticate(attempt)

    async def log_in(self, password: str, login: str = ALICE, service: Service = Service.IMAP) -> Client:
        attempt, outcome = await self.judge(password, login, service)
        assert isinstance(outcome, Accept), outcome
        client = Client()
        assert self.live.enter(client, attempt, outcome)
        return client

    async def is_let_in(self, password: str, login: str = ALICE, service: Service = Service.IMAP) -> bool:
        return isinstance((await self.judge(password, login, service))[1], Accept)

    def account(self, login: str, **changes: Any) -> None:
        self.passdb.accounts[login] = self.passdb.accounts[login]._replace(**changes)

    def app_password(self, login: str, password: str, **changes: Any) -> None:
        self.passdb.app_passwords[login] = [
            (selector, stored._replace(**changes) if stored.record == f"plain:{password}" else stored)
            for selector, stored in self.passdb.app_passwords[login]
        ]

    def change(self, kind: str = "account-changed", login: str | None = ALICE, **whom: Any) -> Change:
        if login is not None:
            whom["account_id"] = self.id_of(login)
        return Change(next(self._numbers), kind, **whom)

    def id_of(self, login: str) -> int:
        found = self.passdb.accounts.get(login)
        return 1 if found is None else found.id

    async def apply(self, *changes: Change) -> int:
        """How many sessions these changes have ended."""
        return sum(answer.ended for answer in (await self.live.apply(changes)).values())


@pytest.fixture
def process() -> Process:
    return Process()


# ---- coming and going


async def test_sessions_come_and_go(process: Process) -> None:
    phone, laptop = await process.log_in(PHONE), await process.log_in(LAPTOP)
    assert len(process.live) == 2
    process.live.leave(phone)
    process.live.leave(phone)
    process.live.leave(Client())
    assert len(process.live) == 1
    process.live.leave(laptop)
    assert len(process.live) == 0
    assert not process.live._of_account


async def test_an_accept_that_nobody_follows_is_let_in_and_not_kept(process: Process) -> None:
    attempt, _ = await process.judge(PHONE)
    assert process.live.enter(Client(), attempt, Accept(Principal(1, ALICE, 7)))
    assert len(process.live) == 0


async def test_who_has_left_is_not_ended(process: Process) -> None:
    client = await process.log_in(PHONE)
    process.live.leave(client)
    process.app_password(ALICE, PHONE, revoked=True)
    assert await process.apply(process.change()) == 0
    assert client.is_in


# ---- what was changed since a login read its account


@pytest.mark.parametrize(
    ("whom", "is_touched"),
    [
        ({"login": ALICE}, True),
        ({"login": None, "domain_id": 1}, True),
        ({"login": None}, True),
        ({"login": BOB}, False),
        ({"login": None, "domain_id": 2}, False),
    ],
    ids=["its account", "its domain", "everybody", "another account", "another domain"],
)
async def test_a_login_that_read_before_a_change_does_not_enter(
    process: Process, whom: dict[str, Any], is_touched: bool
) -> None:
    attempt, outcome = await process.judge(PHONE)
    assert isinstance(outcome, Accept)
    await process.apply(process.change(**whom))
    assert process.live.enter(Client(), attempt, outcome) is not is_touched
    assert len(process.live) == (0 if is_touched else 1)
    _, again = await process.judge(PHONE)
    assert isinstance(again, Accept)
    assert process.live.enter(Client(), attempt, again)


async def test_only_so_many_touched_accounts_are_remembered_and_the_rest_counts_as_touched(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TOUCHED", 100)
    mark = process.live.mark()
    await process.apply(*[Change(number, "account-changed", number + 1000) for number in range(100)])
    assert not process.live.touched(mark, 1, 1)
    await process.apply(Change(100, "account-changed", 5000))
    assert process.live.touched(mark, 1, 1)
    assert not process.live.touched(process.live.mark(), 1, 1)
    assert len(process.live._touched) <= 100


async def test_questions_and_orders_touch_nobody(process: Process) -> None:
    heard: list[str] = []
    process.live.orders["order"] = heard.append
    mark = process.live.mark()
    await process.apply(Change(1, SESSIONS_ASKED), Change(2, "order", takes='{"what": 1}'))
    assert heard == ['{"what": 1}']
    assert not process.live.touched(mark, 1, 1)


# ---- what ends, and what stays


async def everybody(process: Process) -> dict[str, Client]:
    """One session of each kind."""
    return {
        "phone": await process.log_in(PHONE),
        "phone sending": await process.log_in(PHONE, service=Service.SMTP),
        "laptop": await process.log_in(LAPTOP, service=Service.POP3),
        "web": await process.log_in(WEB),
        "web pop3": await process.log_in(WEB, service=Service.POP3),
        "bob": await process.log_in(WEB, BOB),
        "bob's phone": await process.log_in(PHONE, BOB),
        "carol": await process.log_in(WEB, CAROL),
        "carol's phone": await process.log_in(PHONE, CAROL),
    }


HER_WEB, HER_PHONE = {"web", "web pop3"}, {"phone", "phone sending"}
HERS = HER_WEB | HER_PHONE | {"laptop"}
THE_DOMAINS = HERS | {"bob", "bob's phone"}
WITHOUT_POP3 = frozenset({Service.IMAP, Service.SMTP})

CAUSES: dict[str, tuple[Any, set[str]]] = {
    "app password revoked": (lambda p: p.app_password(ALICE, PHONE, revoked=True), HER_PHONE),
    "app password suspended": (lambda p: p.app_password(ALICE, PHONE, suspended=True), HER_PHONE),
    "app password pruned": (lambda p: p.passdb.app_passwords[ALICE].pop(0), HER_PHONE),
    "app password expired": (lambda p: p.app_password(ALICE, PHONE, expires_at=p.now), HER_PHONE),
    "app password for one service": (
        lambda p: p.app_password(ALICE, PHONE, services=frozenset({Service.IMAP})),
        {"phone sending"},
    ),
    "app password for one network": (lambda p: p.app_password(ALICE, PHONE, networks=("198.51.100.0/24",)), HER_PHONE),
    "account disabled": (lambda p: p.account(ALICE, enabled=False), HERS),
    "client logon off": (lambda p: p.account(ALICE, client_logon=False), HERS),
    "service off": (lambda p: p.account(ALICE, services=WITHOUT_POP3), {"laptop", "web pop3"}),
    "mode on": (lambda p: p.account(ALICE, mode_on=True), HER_WEB),
    "policy enforced": (lambda p: p.account(ALICE, demands=(NO_DEMAND, NO_DEMAND, ENFORCED)), HER_WEB),
    "second factor demanded": (lambda p: p.account(ALICE, demands=(TWO_FACTOR, NO_DEMAND, NO_DEMAND)), HER_WEB),
    "web password changed": (
        lambda p: p.account(ALICE, web_record=f"plain:{WEB}", web_changed_at=p.now),  # also to the same again
        HER_WEB,
    ),
    "web password hashed anew": (lambda p: p.account(ALICE, web_record=f"dear:{WEB}"), set()),
    "account removed": (lambda p: p.passdb.accounts.pop(ALICE), HERS),
    "nothing that matters": (lambda p: p.account(ALICE), set()),
}


@pytest.mark.parametrize(("change", "ended"), CAUSES.values(), ids=CAUSES)
async def test_a_change_of_an_account_ends_what_it_would_not_let_in_again(
    process: Process, change: Any, ended: set[str]
) -> None:
    clients = await everybody(process)
    change(process)
    assert await process.apply(process.change()) == len(ended)
    assert {name for name, client in clients.items() if not client.is_in} == ended
    assert all(client.ended == [Ending.REVOKED] for client in clients.values() if not client.is_in)
    assert len(process.live) == len(clients) - len(ended)
    assert await process.apply(process.change()) == 0  # once


async def test_what_stays_would_be_let_in_again_and_what_ends_would_not(process: Process) -> None:
    """The one rule, over all causes: the registry and the verifier never differ."""
    shown = {"phone": PHONE, "laptop": LAPTOP, "web": WEB}
    services = {"phone": Service.SMTP, "laptop": Service.POP3, "web": Service.IMAP}
    for name, (change, _) in CAUSES.items():
        process = Process()
        clients = {who: await process.log_in(secret, service=services[who]) for who, secret in shown.items()}
        change(process)
        await process.apply(process.change())
        if name == "web password changed":  # the same password again: let in, and yet the session was another's
            continue
        if name == "web password hashed anew":
            process.account(ALICE, web_record=f"plain:{WEB}")
        for who, client in clients.items():
            assert client.is_in is await process.is_let_in(shown[who], service=services[who]), (name, who)


@pytest.mark.parametrize(
    ("whom", "ended"),
    [
        ({"domain_id": 1}, THE_DOMAINS),
        ({"domain_id": 2}, {"carol", "carol's phone"}),
        ({}, THE_DOMAINS | {"carol", "carol's phone"}),
    ],
    ids=["domain", "another domain", "site"],
)
async def test_a_change_of_a_domain_or_of_the_site_concerns_all_of_it(
    process: Process, whom: dict[str, Any], ended: set[str]
) -> None:
    clients = await everybody(process)
    for login in (ALICE, BOB, CAROL):
        process.account(login, domain_enabled=False)
    assert await process.apply(process.change(login=None, **whom)) == len(ended)
    assert {name for name, client in clients.items() if not client.is_in} == ended


async def test_a_policy_of_the_site_ends_the_web_passwords_sessions(process: Process) -> None:
    clients = await everybody(process)
    for login in (ALICE, BOB, CAROL):
        process.account(login, demands=(ENFORCED, NO_DEMAND, NO_DEMAND))
    assert await process.apply(process.change("site-changed", login=None)) == 4
    assert {name for name, client in clients.items() if not client.is_in} == HER_WEB | {"bob", "carol"}


async def test_nobody_is_asked_about_accounts_without_sessions(process: Process) -> None:
    await process.log_in(WEB, BOB)
    process.passdb.fault = StoreUnavailable("not to be asked")
    assert await process.apply(process.change(login=ALICE), process.change(login=None, domain_id=2)) == 0


# ---- by the clock


def virtual(main: Any) -> Any:
    """Run it in a loop whose time jumps; the process's wall clock goes with it."""

    async def run() -> Any:
        process = Process()
        began = virtual_time.now()
        process.live.clock = lambda: process.now + virtual_time.now() - began
        process.verifier._clock = process.live.clock
        return await main(process)

    return virtual_time.run(run())


async def wait_until(process: Process, at: float) -> None:
    await asyncio.sleep(at - process.live.clock())


def test_a_session_ends_with_its_app_password_to_the_second() -> None:
    async def main(process: Process) -> None:
        process.app_password(ALICE, PHONE, expires_at=EPOCH + HOUR_S)
        phone, laptop = await process.log_in(PHONE), await process.log_in(LAPTOP)
        await wait_until(process, EPOCH + HOUR_S - 0.01)
        assert phone.is_in
        assert await process.is_let_in(PHONE)
        await wait_until(process, EPOCH + HOUR_S + 0.5)
        assert phone.ended == [Ending.REVOKED]
        assert not await process.is_let_in(PHONE)
        assert laptop.is_in
        assert len(process.live) == 1

    virtual(main)


@pytest.mark.parametrize(
    "demand",
    [
        lambda start: Demand(PolicyLevel.ENFORCED, start, False, False, None, False),
        lambda start: Demand(PolicyLevel.OPTIONAL, None, False, True, start, False),
    ],
    ids=["policy", "second factor"],
)
def test_a_demand_ends_the_web_passwords_sessions_when_it_starts(demand: Any) -> None:
    def demanded(process: Process, start: float) -> None:
        process.account(ALICE, demands=(NO_DEMAND, demand(start), NO_DEMAND))

    async def main(process: Process) -> None:
        before = await process.log_in(WEB)
        demanded(process, EPOCH + HOUR_S)
        assert await process.apply(process.change()) == 0
        after, phone = await process.log_in(WEB), await process.log_in(PHONE)
        demanded(process, EPOCH + 2 * HOUR_S)  # later
        assert await process.apply(process.change()) == 0
        await wait_until(process, EPOCH + 2 * HOUR_S - 0.01)
        assert before.is_in
        assert after.is_in
        await wait_until(process, EPOCH + 2 * HOUR_S + 0.5)
        assert not before.is_in
        assert not after.is_in
        assert phone.is_in

    virtual(main)


def test_a_demand_that_is_moved_nearer_ends_sessions_sooner_and_one_taken_back_never() -> None:
    async def main(process: Process) -> None:
        alice, bob = await process.log_in(WEB), await process.log_in(WEB, BOB)
        for start in (EPOCH + HOUR_S, EPOCH + 60.0):
            for login in (ALICE, BOB):
                process.account(login, demands=(Demand(PolicyLevel.ENFORCED, start, False, False, None, False),))
            assert await process.apply(process.change(login=None)) == 0
        process.account(BOB, demands=(NO_DEMAND,))
        assert await process.apply(process.change(login=BOB)) == 0
        await wait_until(process, EPOCH + 60.5)
        assert not alice.is_in
        await wait_until(process, EPOCH + 2 * HOUR_S)
        assert bob.is_in
        assert not process.live._ends

    virtual(main)


def test_it_is_the_wall_clock_that_counts() -> None:
    """Set forward, an app password has expired; set back, it has not."""

    async def main(process: Process) -> None:
        process.app_password(ALICE, PHONE, expires_at=EPOCH + HOUR_S)
        process.app_password(ALICE, LAPTOP, expires_at=EPOCH + 60)
        phone, laptop = await process.log_in(PHONE), await process.log_in(LAPTOP)
        process.now -= HOUR_S
        await asyncio.sleep(120)
        assert laptop.is_in
        assert await process.is_let_in(LAPTOP)
        process.now += 2 * HOUR_S
        await asyncio.sleep(0.5)
        assert not laptop.is_in
        assert not phone.is_in

    virtual(main)


def test_an_end_that_has_come_before_the_login_was_entered_comes_at_once() -> None:
    async def main(process: Process) -> None:
        process.app_password(ALICE, PHONE, expires_at=EPOCH + 1)
        attempt, outcome = await process.judge(PHONE)
        assert isinstance(outcome, Accept)
        await asyncio.sleep(2)
        client = Client()
        assert process.live.enter(client, attempt, outcome)
        await asyncio.sleep(0.5)
        assert not client.is_in

    virtual(main)


def test_ends_are_remembered_for_those_who_are_there() -> None:
    """Who left long before, and ends that were moved, do not add up."""

    async def main(process: Process) -> None:
        process.app_password(ALICE, PHONE, expires_at=EPOCH + HOUR_S)
        attempt, outcome = await process.judge(PHONE)
        assert isinstance(outcome, Accept)
        for _ in range(10_000):
            client = Client()
            assert process.live.enter(client, attempt, outcome)
            process.live.leave(client)
        assert len(process.live._ends) <= 2 * module.SPARE_ENDS
        staying = await process.log_in(PHONE)
        for number in range(1000):
            process.app_password(ALICE, PHONE, expires_at=EPOCH + HOUR_S + number % 2)
            await process.apply(process.change())
        assert len(process.live._ends) <= 2 * module.SPARE_ENDS
        await wait_until(process, EPOCH + HOUR_S + 0.5)
        assert staying.is_in
        await wait_until(process, EPOCH + HOUR_S + 1.5)
        assert not staying.is_in
        assert not process.live._ends

    virtual(main)


def test_a_connection_that_fails_to_end_takes_nobody_along() -> None:
    class Broken(Client):
        def end(self, cause: Ending) -> None:
            raise OSError("broken")

    async def main(process: Process) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        process.app_password(ALICE, PHONE, expires_at=EPOCH + 60)
        attempt, outcome = await process.judge(PHONE)
        assert isinstance(outcome, Accept)
        assert process.live.enter(Broken(), attempt, outcome)
        client = await process.log_in(PHONE)
        await wait_until(process, EPOCH + 61)
        assert not client.is_in
        assert len(process.live) == 0

    virtual(main)


# ---- questions and orders


async def test_sessions_are_told_on_request(process: Process) -> None:
    await process.log_in(PHONE, service=Service.SMTP)
    named = await process.log_in(WEB, BOB)
    process.live.named(named, "Other Mail 2")
    process.live.named(Client(), "nobody's")
    answers = await process.live.apply([process.change(SESSIONS_ASKED), process.change(SESSIONS_ASKED, login=None)])
    alice, everybody_ = [json.loads(answer.report) for answer in answers.values()]
    phone = process.passdb.app_passwords[ALICE][0][1].id
    common = {"peer": "192.0.2.7", "since": EPOCH}
    assert alice == [{"login": ALICE, "service": "smtp", "client": "Mail 1.0", "credential_id": phone, **common}]
    bob = {"login": BOB, "service": "imap", "client": "Other Mail 2", "credential_id": None, **common}
    assert everybody_ == [*alice, bob]
    assert all(answer.ended == 0 for answer in answers.values())
    assert len(process.live) == 2


async def test_closing_ends_all_sessions_of_an_account_which_may_come_again(process: Process) -> None:
    clients = await everybody(process)
    assert await process.apply(process.change(SESSIONS_CLOSED)) == len(HERS)
    assert {name for name, client in clients.items() if not client.is_in} == HERS
    await process.log_in(WEB)


async def test_of_several_changes_each_says_what_it_ended(process: Process) -> None:
    clients = await everybody(process)
    process.app_password(ALICE, PHONE, revoked=True)
    process.account(BOB, enabled=False)
    changes = [process.change(), process.change(), process.change(login=BOB), process.change(login=CAROL)]
    answers = await process.live.apply(changes)
    assert answers == {changes[0].number: Answer(2), changes[2].number: Answer(2)}
    assert {name for name, client in clients.items() if not client.is_in} == HER_PHONE | {"bob", "bob's phone"}


@pytest.mark.parametrize(
    ("earlier", "takes"), [("app-password-added", ""), ("app-password-revoked", json.dumps({"app_passwords": [999]}))]
)
async def test_a_change_says_nothing_of_what_the_next_one_ends(process: Process, earlier: str, takes: str) -> None:
    """The earlier one is applied late: what the store says by then is what the later one has made of it."""
    phone = await process.log_in(PHONE)
    [id_] = [stored.id for _, stored in process.passdb.app_passwords[ALICE] if stored.record == f"plain:{PHONE}"]
    process.app_password(ALICE, PHONE, revoked=True)
    assert await process.apply(process.change(earlier, takes=takes)) == 0
    assert phone.is_in
    assert await process.apply(process.change("app-password-revoked", takes=json.dumps({"app_passwords": [id_]}))) == 1
    assert not phone.is_in


async def test_one_account_is_read_once_for_all_its_sessions(process: Process) -> None:
    for _ in range(5):
        await process.log_in(PHONE)
        await process.log_in(WEB)
    asked: list[tuple[int, int | None]] = []
    read = process.passdb.session

    async def counted(*credential: Any) -> Account | None:
        asked.append(credential)
        return await read(*credential)

    process.passdb.session = counted  # type: ignore[method-assign]
    await process.apply(process.change(), process.change())
    assert len(asked) == len(set(asked)) == 2


# ---- faults


async def test_a_store_that_fails_in_the_middle_ends_nobody_and_is_asked_again(process: Process) -> None:
    clients = await everybody(process)
    for login in (ALICE, BOB):
        process.account(login, enabled=False)
    changes = [process.change(login=BOB), process.change(login=ALICE)]
    read, left = process.passdb.session, [2]

    async def failing(*credential: Any) -> Account | None:
        left[0] -= 1
        if left[0] == 0:
            raise StoreUnavailable("gone")
        return await read(*credential)

    process.passdb.session = failing  # type: ignore[method-assign]
    mark = process.live.mark()
    with pytest.raises(StoreUnavailable):
        await process.apply(*changes)
    assert all(client.is_in for client in clients.values())
    assert process.live.touched(mark, 1, 1)  # but nobody enters any more who has read before
    assert await process.apply(*changes) == len(THE_DOMAINS)
    assert {name for name, client in clients.items() if not client.is_in} == THE_DOMAINS


async def test_a_record_that_cannot_be_read_ends_its_own_sessions_only(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """It would not be let in again either; and nobody else's revocation waits until somebody has mended it."""
    clients = await everybody(process)
    process.app_password(ALICE, PHONE, networks=("no network",))
    read = process.passdb.session

    async def unreadable(account_id: int, credential_id: int | None) -> Account | None:
        if account_id == process.id_of(BOB):
            raise BadRecord("the row of account 2 cannot be understood")
        return await read(account_id, credential_id)

    process.passdb.session = unreadable  # type: ignore[method-assign]
    process.account(CAROL, enabled=False)
    ended = HER_PHONE | {"bob", "bob's phone", "carol", "carol's phone"}
    assert await process.apply(process.change(login=None)) == len(ended)
    assert {name for name, client in clients.items() if not client.is_in} == ended
    assert "sessions of account 2 end: the row of account 2 cannot be understood" in caplog.text
    assert "a session of account 1 ends: an app password's network cannot be read" in caplog.text


async def test_who_leaves_or_enters_meanwhile_is_seen_as_he_is(process: Process) -> None:
    """While accounts are read, one client leaves, and another enters by what stands now."""
    leaving, staying = await process.log_in(PHONE), await process.log_in(PHONE)
    process.app_password(ALICE, PHONE, revoked=True)
    read = process.passdb.session
    entered: list[Client] = []

    async def slow(*credential: Any) -> Account | None:
        found = await read(*credential)
        process.live.leave(leaving)
        assert not await process.is_let_in(PHONE)
        entered.append(await process.log_in(LAPTOP))
        return found

    process.passdb.session = slow  # type: ignore[method-assign]
    assert await process.apply(process.change()) == 1
    assert leaving.is_in  # it has left by itself
    assert not staying.is_in
    assert entered[0].is_in
    assert len(process.live) == 1


# ---- many


async def fill(process: Process, count: int) -> list[Client]:
    """So many accounts of one domain, with one session each."""
    clients = []
    for number in range(count):
        login = f"user{number}@example.test"
        account = process.passdb.add(login, WEB)
        attempt = Attempt(Credential(login, WEB), Service.IMAP, "192.0.2.7", True)
        client = Client()
        accept = Accept(Principal(account.id, login, None), types.SimpleNamespace(**STAY))  # type: ignore[arg-type]
        assert process.live.enter(client, attempt, accept)
        clients.append(client)
    by_id = {account.id: account for account in process.passdb.accounts.values()}

    async def session(account_id: int, credential_id: int | None) -> Account | None:
        return by_id.get(account_id)

    process.passdb.session = session  # type: ignore[method-assign]
    return clients


STAY = {"mark": 1_000_000, "domain_id": 1, "web_changed_at": None, "until": None}


async def turns_while(work: Any) -> tuple[int, Any]:
    """How often others had their turn while this was done."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    result = await work
    counting.cancel()
    return turns, result


async def test_others_have_their_turn_while_thousands_are_looked_at_and_ended(process: Process) -> None:
    clients = await fill(process, 3000)
    turns, ended = await turns_while(process.apply(process.change(login=None)))
    assert ended == 0
    assert turns >= 3000 // module.BREATH
    for login in process.passdb.accounts:
        process.account(login, enabled=False)
    by_id = {account.id: account for account in process.passdb.accounts.values()}

    async def session(account_id: int, credential_id: int | None) -> Account | None:
        return by_id.get(account_id)

    process.passdb.session = session  # type: ignore[method-assign]
    turns, ended = await turns_while(process.apply(process.change(login=None, domain_id=1)))
    assert ended == 3000
    assert not any(client.is_in for client in clients)
    assert turns >= 2 * (3000 // module.BREATH)


def test_thousands_that_end_at_the_same_moment_end_in_breaths() -> None:
    async def main(process: Process) -> None:
        process.app_password(ALICE, PHONE, expires_at=EPOCH + 60)
        attempt, outcome = await process.judge(PHONE)
        assert isinstance(outcome, Accept)
        in_a_row, rows = 0, []

        async def have_turns() -> None:
            nonlocal in_a_row
            while any(client.is_in for client in clients):
                rows.append(in_a_row)
                in_a_row = 0
                await asyncio.sleep(0)

        class Counted(Client):
            def end(self, cause: Ending) -> None:
                nonlocal in_a_row
                if not rows:
                    rows.append(0)
                    tasks.append(asyncio.ensure_future(have_turns()))
                in_a_row += 1
                super().end(cause)

        tasks: list[asyncio.Future[None]] = []
        clients = [Counted() for _ in range(1000)]
        for client in clients:
            assert process.live.enter(client, attempt, outcome)
        await wait_until(process, EPOCH + 61)
        await tasks[0]
        assert not any(client.is_in for client in clients)
        assert sum(rows) + in_a_row == 1000
        assert max(rows) <= module.BREATH

    virtual(main)


# ---- up to date or not


def patched_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = types.SimpleNamespace(monotonic=virtual_time.now, time=virtual_time.now)
    monkeypatch.setattr(module, "time", clock)


def test_a_process_is_current_for_as_long_as_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    patched_clock(monkeypatch)

    async def main() -> None:
        live = LiveSessions(MemoryPassdb(), lease_s=3.0)
        live.has_read(virtual_time.now())
        began = virtual_time.now()
        await live.current()
        await asyncio.sleep(2.9)
        await live.current()
        assert virtual_time.now() == pytest.approx(began + 2.9)
        await asyncio.sleep(0.2)
        asyncio.get_running_loop().call_later(4.0, live.has_read, began + 7.0)
        await live.current()  # waits for it
        assert virtual_time.now() == pytest.approx(began + 7.1, abs=0.05)

    virtual_time.run(main())


def test_a_process_that_does_not_come_up_to_date_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    patched_clock(monkeypatch)

    async def main() -> None:
        live = LiveSessions(MemoryPassdb(), lease_s=3.0)
        began = virtual_time.now()
        with pytest.raises(StoreUnavailable):
            await live.current()
        assert virtual_time.now() == pytest.approx(began + module.CURRENT_S, abs=0.1)

    virtual_time.run(main())


async def test_without_a_lease_there_is_nothing_to_be_behind_of() -> None:
    await LiveSessions(MemoryPassdb()).current()


async def test_an_account_that_changes_again_and_again_is_deferred(process: Process) -> None:
    look_up = process.passdb.lookup

    async def changing(*asked: Any) -> Account | None:
        found = await look_up(*asked)
        await process.apply(process.change())
        return found

    process.passdb.lookup = changing  # type: ignore[method-assign]
    _, outcome = await process.judge(PHONE)
    assert type(outcome).__name__ == "Defer"


async def test_a_login_that_is_judged_again_is_judged_by_what_stands_now(process: Process) -> None:
    look_up, done = process.passdb.lookup, []

    async def revoked_behind(*asked: Any) -> Account | None:
        found = await look_up(*asked)
        if not done:
            done.append(True)
            process.app_password(ALICE, PHONE, revoked=True)
            await process.apply(process.change())
        return found

    process.passdb.lookup = revoked_behind  # type: ignore[method-assign]
    _, outcome = await process.judge(PHONE)
    assert isinstance(outcome, Reject)
