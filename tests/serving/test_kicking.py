"""Ending what a Dovecot holds: whose sessions for which change, what is told, and trying until it is reached."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import mailauth.accounts
import virtual_time
from doubles import MemoryPassdb
from mailauth.attempt import Attempt, Credential, Service
from mailauth.gateways.doveadm import NotReached
from mailauth.interfaces import Answer, BadRecord, Change, StoreUnavailable
from mailauth.serving import kicking
from mailauth.serving import whence as whence_module
from mailauth.serving.kicking import TAKES_NOTHING, Kicker
from mailauth.serving.sessions import LiveSessions
from mailauth.serving.whence import MOST_ADDRESSES, Whence
from mailauth.verdict import Accept, Principal
from wire import eventually

ALICE = "alice@example.test"
HERE, THERE, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to wait until it is tried again."""
    monkeypatch.setattr(kicking, "PAUSES_S", (0.01,))
    monkeypatch.setattr(kicking, "UNKNOWN_S", 0.01)


@dataclass
class Doveadm:
    """Has done what it was told, unless it is away. empty: there is nothing to end."""

    url: str = "http://127.0.0.1:8414"
    away: bool = False
    empty: bool = False
    kicked: list[tuple[str, str]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    nothing_from: str = ""
    forgotten: list[str] = field(default_factory=list)
    tried: asyncio.Event = field(default_factory=asyncio.Event)

    async def kick(self, mask: str, timeout_s: float, *, passdb_field: str = "", address: str = "") -> bool:
        self.tried.set()
        if self.away:
            raise NotReached("no connection")
        self.kicked.append((mask, passdb_field))
        self.addresses.append(address)
        return not self.empty and (not address or address != self.nothing_from)

    async def forget(self, user: str, timeout_s: float) -> None:
        if not self.away:
            self.forgotten.append(user)


@dataclass
class Record:
    """The audit log: by app password, from where it was let in. None: it cannot be said."""

    rows: dict[int, frozenset[str] | None] = field(default_factory=dict)
    fault: Exception | None = None
    is_slow: bool = False
    asked: list[str] = field(default_factory=list)

    async def let_in_from(self, login: str, credential_id: int, most: int) -> frozenset[str] | None:
        self.asked.append(login)
        if self.is_slow:
            await asyncio.Event().wait()
        if self.fault is not None:
            raise self.fault
        found = self.rows.get(credential_id, frozenset())
        return None if found is None else frozenset(sorted(found)[:most])


def change(
    kind: str, account_id: int | None = 1, domain_id: int | None = None, number: int = 1, **takes: object
) -> Change:
    return Change(number, kind, account_id, domain_id, json.dumps(takes) if takes else "")


REVOKED = change("app-password-revoked", login=ALICE, app_passwords=[7, 8])
TARGETS = [
    (REVOKED, ALICE),
    (change("account-changed", login=ALICE, set={"enabled": 0}), ALICE),
    (change("web-password-changed", login=ALICE, web_password=True), ALICE),
    (change("account-removed", login=ALICE, removed=True), ALICE),
    (change("sessions-closed", login=ALICE), ALICE),
    (change("domain-changed", None, 1, domain="example.test"), "*@example.test"),
    (change("domain-removed", None, 1, domain="example.test"), "*@example.test"),
    (change("site-changed", None), "*"),
    (change("key-lost", None), "*"),  # and all app passwords with it
    (change("missed", None), "*"),
    (change("store-restored", None, suspended=True), "*"),
    (change("account-changed", login="*@example.test"), "*"),  # it would mean others, so that all is as well
    (change("account-changed"), "*"),
    (Change(1, "account-changed", 1, None, "{"), "*"),
]


@pytest.mark.parametrize(("made", "mask"), TARGETS, ids=lambda one: getattr(one, "kind", one))
async def test_each_change_ends_what_it_may_have_taken_away(made: Change, mask: str) -> None:
    doveadm = Doveadm()
    told = await Kicker(doveadm).changed([made])  # type: ignore[arg-type]
    assert doveadm.kicked == [(mask, "")]
    assert doveadm.forgotten == ([mask] if mask == ALICE else [])
    assert told == {
        1: Answer(0, f"elsewhere: Dovecot at {doveadm.url}: ended what was open of {mask}, by whatever password\n")
    }


def kinds() -> set[str]:
    """Of all changes that people make, as far as they stand in the text."""
    sources = "".join(path.read_text() for path in Path(mailauth.accounts.__path__[0]).glob("*.py"))
    return set(re.findall(r'\.touch\(\s*"([a-z-]+)"', sources))


TAKING = {
    *("account-changed", "account-removed", "web-password-changed", "domain-changed", "domain-removed", "site-changed"),
    *("app-password-revoked", "key-lost"),
}


def test_of_every_kind_of_change_it_is_known_whether_it_takes_something_away() -> None:
    harmless = {kind for kind in kinds() if kind in TAKES_NOTHING or kind.startswith(("factor", "recovery-"))}
    assert kinds() - harmless == TAKING


@pytest.mark.parametrize("kind", [*sorted(TAKES_NOTHING), "factor-added", "recovery-codes-made"])
async def test_what_takes_nothing_away_ends_nothing(kind: str) -> None:
    doveadm = Doveadm()
    assert await Kicker(doveadm).changed([change(kind, login=ALICE)]) == {}  # type: ignore[arg-type]
    assert not doveadm.kicked


async def test_one_device_ends_where_it_can_be_told_from_others() -> None:
    doveadm = Doveadm()
    told = await Kicker(doveadm, by_app_password=True).changed([REVOKED])  # type: ignore[arg-type]
    assert doveadm.kicked == [("7", "user_app"), ("8", "user_app")]
    assert told[1].report.endswith(f"ended what was open of {ALICE}, by these app passwords\n")
    await Kicker(doveadm, by_app_password=True).changed([TARGETS[1][0]])  # type: ignore[arg-type]
    assert doveadm.kicked[2:] == [(ALICE, "")]
    assert not doveadm.forgotten  # Dovecot 2.4 dies of it


def let_in(whence: Whence, credential_id: int | None, peer: str, service: Service = Service.IMAP) -> None:
    accept = Accept(Principal(1, ALICE, credential_id))
    whence.note(Attempt(Credential(ALICE), service, peer, tls=True), accept)


async def test_what_is_open_from_where_it_was_let_in_ends_and_no_more() -> None:
    doveadm, record = Doveadm(), Record({7: frozenset({HERE}), 8: frozenset({SIX})})
    whence = Whence(record)
    let_in(whence, 8, THERE, Service.POP3)
    let_in(whence, 9, "192.0.2.9")
    let_in(whence, None, "192.0.2.9")
    let_in(whence, 7, "192.0.2.9", Service.SMTP)  # that is no session of Dovecot's
    told = await Kicker(doveadm, whence=whence).changed([REVOKED])  # type: ignore[arg-type]
    assert doveadm.kicked == [(ALICE, "")] * 3
    assert doveadm.addresses == [HERE, THERE, SIX]
    assert doveadm.forgotten == [ALICE]
    assert record.asked == [ALICE, ALICE]
    whose = f"{ALICE} from {HERE}, {THERE}, {SIX}"
    assert told == {
        1: Answer(0, f"elsewhere: Dovecot at {doveadm.url}: ended what was open of {whose}, by whatever password\n")
    }


@pytest.mark.parametrize("nothing_from", [HERE, THERE])
async def test_each_address_is_asked_for_whatever_the_others_said(nothing_from: str) -> None:
    doveadm = Doveadm(nothing_from=nothing_from)
    kicker = Kicker(doveadm, whence=Whence(Record({7: frozenset({HERE, THERE})})))  # type: ignore[arg-type]
    assert (await kicker.changed([REVOKED]))[1].report
    assert doveadm.addresses == [HERE, THERE]


async def test_what_was_let_in_nowhere_ends_nothing() -> None:
    doveadm = Doveadm()
    assert await Kicker(doveadm, whence=Whence(Record())).changed([REVOKED]) == {}  # type: ignore[arg-type]
    assert not doveadm.kicked


UNCERTAIN = {
    "not all rows are kept": Record({7: frozenset({HERE}), 8: None}),
    "coarse": Record({7: frozenset({HERE, "192.0.2.0/24"})}),
    "no address": Record({7: frozenset({HERE, ""})}),
    "the bridge itself": Record({7: frozenset({HERE}), 8: frozenset({"bridge:dovecot-lua"})}),
    "of one machine's interface": Record({7: frozenset({"fe80::1%eth0"})}),
    "too many": Record({7: frozenset(f"192.0.2.{n}" for n in range(MOST_ADDRESSES + 1))}),
    "too many together": Record(
        {
            7: frozenset(f"192.0.2.{n}" for n in range(MOST_ADDRESSES)),
            8: frozenset({"198.51.100.1"}),
        }
    ),
    "the store is away": Record(fault=StoreUnavailable("away")),
    "a row that is not understood": Record(fault=BadRecord("unreadable")),
    "the store is slow": Record(is_slow=True),
}


@pytest.mark.parametrize("record", UNCERTAIN.values(), ids=UNCERTAIN)
async def test_where_it_is_not_certain_all_of_the_user_s_ends(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    if record.is_slow:
        monkeypatch.setattr(kicking, "FIRST_S", 0.1)
    doveadm = Doveadm()
    told = await Kicker(doveadm, whence=Whence(record)).changed([REVOKED])  # type: ignore[arg-type]
    assert (doveadm.kicked, doveadm.addresses) == ([(ALICE, "")], [""])
    assert told[1].report.endswith(f"ended what was open of {ALICE}, by whatever password\n")


@pytest.mark.parametrize("peer", ["bridge:dovecot-lua", "192.0.2.0/24", ""])
async def test_what_this_process_let_in_counts_as_what_is_on_record(peer: str) -> None:
    doveadm, whence = Doveadm(), Whence(Record({7: frozenset({HERE})}))
    let_in(whence, 7, peer)
    await Kicker(doveadm, whence=whence).changed([REVOKED])  # type: ignore[arg-type]
    assert doveadm.addresses == [""]


@pytest.mark.parametrize(("most", "ended"), [(MOST_ADDRESSES, MOST_ADDRESSES), (MOST_ADDRESSES + 1, 1)])
async def test_of_too_many_addresses_all_of_the_user_s_ends(most: int, ended: int) -> None:
    doveadm, whence = Doveadm(), Whence(Record())
    for number in [*range(most), *range(most)]:
        let_in(whence, 7, f"192.0.2.{number}")
    await Kicker(doveadm, whence=whence).changed([REVOKED])  # type: ignore[arg-type]
    assert len(doveadm.kicked) == ended


async def test_the_app_password_that_was_not_used_for_longest_is_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(whence_module, "MOST_KEPT", 2)
    whence = Whence(Record())
    for credential_id in (1, 2, 1, 3):
        let_in(whence, credential_id, HERE)
    assert [await whence.addresses(ALICE, [n]) for n in (1, 2, 3)] == [(HERE,), (), (HERE,)]


@pytest.mark.parametrize(
    ("made", "masks"),
    [(made, mask) for made, mask in TARGETS if made is not REVOKED]
    + [(change("app-password-revoked", login="*@example.test", app_passwords=[7]), "*")]
    + [(change("app-password-revoked", login=ALICE), ALICE)],
    ids=lambda one: getattr(one, "kind", one),
)
async def test_no_other_change_asks_from_where(made: Change, masks: str) -> None:
    doveadm, record = Doveadm(), Record({7: frozenset({HERE})})
    await Kicker(doveadm, whence=Whence(record)).changed([made])  # type: ignore[arg-type]
    assert (doveadm.kicked, doveadm.addresses, record.asked) == ([(masks, "")], [""], [])


async def test_a_dovecot_that_knows_the_device_is_told_no_address() -> None:
    doveadm, record = Doveadm(), Record({7: frozenset({HERE})})
    await Kicker(doveadm, by_app_password=True, whence=Whence(record)).changed([REVOKED])  # type: ignore[arg-type]
    assert doveadm.kicked == [("7", "user_app"), ("8", "user_app")]
    assert (doveadm.addresses, record.asked) == (["", ""], [])


async def test_who_was_not_reached_is_told_the_same_addresses_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kicking, "PAUSES_S", (0.01,))
    doveadm, record = Doveadm(away=True), Record({7: frozenset({HERE}), 8: frozenset({THERE})})
    kicker = Kicker(doveadm, whence=Whence(record))  # type: ignore[arg-type]
    told = await kicker.changed([REVOKED])
    assert f"sessions of {ALICE} may still be open, it is tried until they end: no connection" in told[1].report
    doveadm.away = False
    await eventually(lambda: len(doveadm.kicked) == 2)
    await kicker.close()
    assert doveadm.addresses == [HERE, THERE]


async def test_what_was_not_open_is_not_spoken_of_and_nobody_is_ended_twice() -> None:
    doveadm = Doveadm(empty=True)
    several = [change("account-changed", number=number, login=ALICE) for number in (1, 2, 3)]
    assert await Kicker(doveadm).changed(several) == {}  # type: ignore[arg-type]
    assert doveadm.kicked == [(ALICE, "")]


async def test_who_cannot_be_told_to_forget_is_told_to_end_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    class Forgetless(Doveadm):
        async def forget(self, user: str, timeout_s: float) -> None:
            raise NotReached("it ended the connection")

    doveadm = Forgetless()
    told = await Kicker(doveadm).changed([REVOKED])  # type: ignore[arg-type]
    assert doveadm.kicked == [(ALICE, "")]
    assert told[1].report.startswith("elsewhere: ")
    assert "was not told to forget passwords (it ended the connection)" in caplog.text


async def test_everybody_who_waits_for_it_is_told() -> None:
    several = [change("account-changed", number=number, login=ALICE) for number in (1, 2)]
    kicker = Kicker(Doveadm(away=True))  # type: ignore[arg-type]
    told = await kicker.changed(several)
    assert told.keys() == {1, 2}
    assert all("may still be open" in answer.report for answer in told.values())
    await kicker.close()


async def test_what_is_wanted_again_while_it_is_tried_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The try under way may have been carried out before the second change was made."""
    monkeypatch.setattr(kicking, "PAUSES_S", (0.01,))
    go_on = asyncio.Event()

    class Slow(Doveadm):
        async def kick(self, mask: str, timeout_s: float, *, passdb_field: str = "") -> bool:
            await super().kick(mask, timeout_s)
            await go_on.wait()
            return True

    doveadm = Slow(away=True)
    kicker = Kicker(doveadm)  # type: ignore[arg-type]
    await kicker.changed([REVOKED])
    doveadm.away = False
    await eventually(lambda: doveadm.kicked)
    doveadm.away = True
    await kicker.changed([REVOKED])
    doveadm.away = False
    go_on.set()
    await eventually(lambda: len(doveadm.kicked) == 2)
    await kicker.close()


async def test_who_is_not_reached_is_told_of_and_tried_until_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kicking, "PAUSES_S", (0.01,))
    doveadm = Doveadm(away=True)
    kicker = Kicker(doveadm)  # type: ignore[arg-type]
    told = await kicker.changed([REVOKED])
    assert "may still be open, it is tried until they end: no connection" in told[1].report
    for _ in range(3):
        doveadm.tried.clear()
        await asyncio.wait_for(doveadm.tried.wait(), 30)
    doveadm.away = False
    await eventually(lambda: doveadm.kicked)
    with caplog.at_level(logging.ERROR):
        caplog.clear()
        await kicker.close()
    assert doveadm.kicked == [(ALICE, "")]
    assert not caplog.records


async def test_who_was_let_in_a_moment_ago_is_looked_for_once_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Dovecot has answered before it knows of a session that it is opening."""
    monkeypatch.setattr(kicking, "PAUSES_S", (0.01,))
    doveadm = Doveadm(empty=True)
    kicker = Kicker(doveadm, by_app_password=True)  # type: ignore[arg-type]
    assert await kicker.changed([REVOKED]) == {}
    doveadm.empty = False
    await eventually(lambda: f"what was open of {ALICE} has been ended" in caplog.text)
    assert doveadm.kicked == [("7", "user_app"), ("8", "user_app")] * 2
    caplog.clear()
    await kicker.changed([REVOKED])
    await kicker.close()
    assert not caplog.records  # it was reached


LOOKED_AT_AGAIN = {
    "by user": (change("account-changed", login=ALICE), False, None),
    "by user, when sessions are closed and devices can be told": (change("sessions-closed", login=ALICE), True, None),
    "by address": (REVOKED, False, {7: frozenset({HERE}), 8: frozenset({THERE})}),
    "by device": (REVOKED, True, None),
}


@pytest.mark.parametrize(("made", "by_app_password", "record"), LOOKED_AT_AGAIN.values(), ids=LOOKED_AT_AGAIN)
async def test_it_is_looked_once_more_also_where_something_was_ended(
    made: Change, by_app_password: bool, record: dict[int, frozenset[str] | None] | None, quick: None
) -> None:
    """What was ended was another session than that which Dovecot was opening."""
    doveadm, whence = Doveadm(), None if record is None else Whence(Record(record))
    kicker = Kicker(doveadm, by_app_password, whence)  # type: ignore[arg-type]
    assert (await kicker.changed([made]))[1].report
    at_once = list(zip(doveadm.kicked, doveadm.addresses, strict=True))
    await eventually(lambda: not kicker._waiting)
    await kicker.close()
    assert list(zip(doveadm.kicked, doveadm.addresses, strict=True)) == at_once * 2


@pytest.mark.parametrize(
    "made", [change("domain-changed", None, 1, domain="example.test"), change("site-changed", None)]
)
async def test_a_whole_domain_is_not_ended_twice(made: Change, quick: None) -> None:
    doveadm = Doveadm()
    kicker = Kicker(doveadm)  # type: ignore[arg-type]
    await kicker.changed([made])
    assert kicker._task is None
    assert len(doveadm.kicked) == 1


def test_a_second_look_is_late_enough_whenever_others_are_looked_for() -> None:
    looks: dict[str, list[float]] = {}

    class Timed(Doveadm):
        async def kick(self, mask: str, timeout_s: float, *, passdb_field: str = "", address: str = "") -> bool:
            looks.setdefault(mask, []).append(virtual_time.now())
            return True

    async def main() -> None:
        kicker = Kicker(Timed())  # type: ignore[arg-type]
        for number in range(10):
            await kicker.changed([change("account-changed", login=f"{number}@example.test")])
            await asyncio.sleep(0.09)
        await asyncio.sleep(2)
        await kicker.close()

    virtual_time.run(main())
    assert len(looks) == 10
    assert all(0.4 <= second - first <= 1 for first, second in looks.values())


async def test_at_the_end_it_is_said_what_stays_open(caplog: pytest.LogCaptureFixture) -> None:
    kicker = Kicker(Doveadm(away=True))  # type: ignore[arg-type]
    await kicker.changed([REVOKED])
    caplog.clear()
    await kicker.close()
    assert f"was not reached: what is open of {ALICE} stays open until mailauth starts again" in caplog.text


async def test_what_was_taken_away_while_nobody_was_there_ends_at_the_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kicking, "PAUSES_S", (0.01,))
    doveadm = Doveadm(away=True)
    kicker = Kicker(doveadm)  # type: ignore[arg-type]
    bob = change("account-changed", 2, login="bob@example.test")
    kicker.catch_up([REVOKED, change("app-password-added", login="eve@example.test"), bob, REVOKED])
    for _ in range(3):
        doveadm.tried.clear()
        await asyncio.wait_for(doveadm.tried.wait(), 30)
    assert caplog.text.count("not reached, tried until it is: no connection") == 1
    doveadm.away = False
    await eventually(lambda: len(doveadm.kicked) == 2)
    assert set(doveadm.kicked) == {(ALICE, ""), ("bob@example.test", "")}
    await kicker.close()


async def test_a_start_with_a_change_of_the_whole_site_is_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kicking, "PAUSES_S", (0.01,))
    doveadm = Doveadm(empty=True)
    kicker = Kicker(doveadm)  # type: ignore[arg-type]
    kicker.catch_up([REVOKED, change("site-changed", None)])
    await eventually(lambda: doveadm.kicked)
    await kicker.close()
    assert doveadm.kicked == [("*", "")]


def test_a_start_with_nothing_to_do_does_nothing() -> None:
    Kicker(Doveadm()).catch_up([change("app-password-added", login=ALICE)])  # type: ignore[arg-type]


async def test_too_many_that_wait_are_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kicking, "MOST_WAITING", 3)
    monkeypatch.setattr(kicking, "PAUSES_S", (0.01,))
    doveadm = Doveadm(away=True)
    kicker = Kicker(doveadm)  # type: ignore[arg-type]
    await kicker.changed([change("account-changed", number=n, login=f"{n}@example.test") for n in range(4)])
    doveadm.away = False
    await eventually(lambda: doveadm.kicked)
    assert doveadm.kicked == [("*", "")]
    await kicker.close()


async def test_one_that_can_never_be_ended_holds_up_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kicking, "PAUSES_S", (0.01,))
    bob, carol = "bob@example.test", "carol@example.test"

    class Refusing(Doveadm):
        async def kick(self, mask: str, timeout_s: float, *, passdb_field: str = "", address: str = "") -> bool:
            if mask == ALICE:
                raise NotReached("it could not do it")
            return await super().kick(mask, timeout_s)

    doveadm = Refusing(away=True)
    kicker = Kicker(doveadm)  # type: ignore[arg-type]
    for login in (ALICE, bob, carol):
        await kicker.changed([change("account-changed", login=login)])
    doveadm.away = False
    await eventually(lambda: len(doveadm.kicked) == 2)
    await kicker.close()
    assert doveadm.kicked == [(bob, ""), (carol, "")]


def test_who_is_looked_for_once_more_waits_no_longer_because_many_are() -> None:
    class Slow(Doveadm):
        async def kick(self, mask: str, timeout_s: float, *, passdb_field: str = "", address: str = "") -> bool:
            await asyncio.sleep(0.1)
            return await super().kick(mask, timeout_s)

    async def main() -> None:
        doveadm = Slow(empty=True)
        kicker = Kicker(doveadm)  # type: ignore[arg-type]
        for number in range(150):
            await kicker.changed([change("account-changed", number=number, login=f"{number}@example.test")])
            await asyncio.sleep(0.1)
        doveadm.kicked.clear()
        await kicker.changed([REVOKED])
        await asyncio.sleep(3)
        assert doveadm.kicked.count((ALICE, "")) == 2
        await kicker.close()

    virtual_time.run(main())


@pytest.mark.parametrize("first", ["away", "there"])
async def test_too_many_that_wait_are_told_of_at_the_end_if_any_was_not_reached(
    first: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kicking, "MOST_WAITING", 2)
    doveadm = Doveadm(empty=True, away=first == "away")
    kicker = Kicker(doveadm)  # type: ignore[arg-type]
    for number in range(3):
        await kicker.changed([change("account-changed", login=f"{number}@example.test")])
        doveadm.away = False
    caplog.clear()
    await kicker.close()
    assert ("was not reached: what is open of * stays open" in caplog.text) == (first == "away")


async def test_it_is_asked_when_the_mark_has_moved_and_its_words_are_handed_on() -> None:
    """Whoever is ended there and comes again at once is judged by what is now."""
    sessions = LiveSessions(MemoryPassdb())
    marks = []

    async def elsewhere(changes):
        marks.append(sessions.mark())
        return {changes[0].number: Answer(0, "elsewhere: x\n")}

    sessions.elsewhere += [elsewhere, elsewhere]
    assert await sessions.apply([REVOKED]) == {1: Answer(0, "elsewhere: x\nelsewhere: x\n")}
    assert marks == [1, 1]
