"""Whom hosts were told to let in: which login a question is about, and whether it would be let in again."""

from __future__ import annotations

import pytest

from doubles import MemoryPassdb
from mailauth.attempt import Attempt, Credential, Service
from mailauth.dialogue import Recheck
from mailauth.interfaces import BadRecord, StoreUnavailable, UnknownKey
from mailauth.serving import admitted
from mailauth.serving.admitted import ON_RECORD_S, Admitted
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject, Stay

ALICE, CHINESE = "alice@example.test", "\u738b\u5c0f\u660e@example.test"
HERE, THERE = "192.0.2.1", "192.0.2.2"
NOW = 1_000_000.0


@pytest.fixture
def passdb() -> MemoryPassdb:
    passdb = MemoryPassdb()
    passdb.add(ALICE, "web", web_changed_at=NOW - 100)
    passdb.add(CHINESE, "web")
    passdb.mint(ALICE, "phone")
    passdb.mint(ALICE, "laptop")
    return passdb


@pytest.fixture
def kept(passdb: MemoryPassdb) -> Admitted:
    return Admitted(passdb, clock=lambda: NOW)


def let_in(
    kept: Admitted,
    app_password: str | None,
    *,
    login: str = ALICE,
    peer: str = HERE,
    session: str = "",
    service: Service = Service.SMTP,
) -> None:
    passdb = kept.passdb
    assert isinstance(passdb, MemoryPassdb)
    account = passdb.accounts[login]
    ids = [stored.id for _, stored in passdb.app_passwords.get(login, []) if stored.record == f"plain:{app_password}"]
    principal = Principal(account.id, login, ids[0] if ids else None)
    accept = Accept(principal, Stay(1, account.domain_id, account.web_changed_at, None))
    kept.note(Attempt(Credential(login), service, peer, tls=True), accept, session)


async def outcome(kept: Admitted, *, login: str = ALICE, peer: str = HERE, session: str = "") -> object:
    said = await kept.judge(Recheck(1, login, Service.SMTP, peer, session))
    return said.reason if isinstance(said, Reject) else said.cause if isinstance(said, Defer) else type(said)


def change(passdb: MemoryPassdb, login: str = ALICE, **changes: object) -> None:
    passdb.accounts[login] = passdb.accounts[login]._replace(**changes)  # type: ignore[arg-type]


async def test_a_login_stays_until_its_password_is_revoked(passdb, kept) -> None:
    let_in(kept, "phone", session="7")
    assert await outcome(kept, session="7") is Accept
    passdb.revoke(ALICE, "laptop")
    assert await outcome(kept, session="7") is Accept
    passdb.revoke(ALICE, "phone")
    assert await outcome(kept, session="7") is Reason.REVOKED


OFF = [
    ({"enabled": False}, Reason.DISABLED),
    ({"domain_enabled": False}, Reason.DOMAIN_DISABLED),
    ({"client_logon": False}, Reason.CLIENT_LOGON_OFF),
    ({"services": frozenset({Service.IMAP})}, Reason.SERVICE_OFF),
]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(("changes", "reason"), OFF)
async def test_what_is_switched_off_ends_every_session(passdb, kept, changes, reason, known: bool) -> None:
    if known:
        let_in(kept, "phone", session="7")
    assert await outcome(kept, session="7") is Accept
    change(passdb, **changes)
    assert await outcome(kept, session="7") is reason


@pytest.mark.parametrize("changes", [{"mode_on": True}, {"web_changed_at": NOW}])
async def test_a_web_password_that_is_none_for_clients_any_more(passdb, kept, changes) -> None:
    let_in(kept, None, session="7")
    let_in(kept, "phone", session="8")
    change(passdb, **changes)
    assert await outcome(kept, session="7") is Reason.REVOKED
    assert await outcome(kept, session="8") is Accept


async def test_two_devices_behind_one_address_are_told_apart_by_their_sessions(passdb, kept) -> None:
    let_in(kept, "phone", session="7")
    let_in(kept, "laptop", session="8")
    passdb.revoke(ALICE, "phone")
    assert await outcome(kept, session="7") is Reason.REVOKED
    assert await outcome(kept, session="8") is Accept
    assert await outcome(kept, session="9") is Accept  # of which nobody has heard: by the last login from there
    let_in(kept, "laptop", session="7")
    assert await outcome(kept, session="7") is Accept


async def test_without_a_session_the_last_login_from_there_counts(passdb, kept) -> None:
    let_in(kept, "laptop")
    let_in(kept, "phone")
    let_in(kept, "laptop", peer=THERE)
    passdb.revoke(ALICE, "phone")
    assert await outcome(kept) is Reason.REVOKED
    assert await outcome(kept, peer=THERE) is Accept


async def test_a_host_that_does_not_say_where_its_clients_are(passdb, kept) -> None:
    let_in(kept, "phone", peer="bridge:saslauthd")
    assert await outcome(kept, login="Alice@Example.TEST") is Accept  # as libsasl has it: as it was typed
    passdb.revoke(ALICE, "phone")
    assert await outcome(kept, login="Alice@Example.TEST") is Reason.REVOKED
    assert await outcome(kept, peer="bridge:postfix-policy") is Reason.REVOKED


@pytest.mark.parametrize("shown", [CHINESE, "?????????@example.test"])
async def test_a_name_that_postfix_masks_is_still_known(passdb, kept, shown: str) -> None:
    let_in(kept, None, login=CHINESE, session="7")
    assert await outcome(kept, login=shown, session="7") is Accept
    change(passdb, CHINESE, enabled=False)
    assert await outcome(kept, login=shown, session="7") is Reason.DISABLED


async def test_names_that_look_alike_when_they_are_masked_are_told_apart(passdb, kept) -> None:
    other = "\u674e\u5c0f\u660e@example.test"
    passdb.add(other, "web")
    let_in(kept, None, login=CHINESE, session="7")
    let_in(kept, None, login=other, session="8")
    change(passdb, other, enabled=False)
    assert await outcome(kept, login=CHINESE) is Accept
    assert await outcome(kept, login="?????????@example.test", session="7") is Accept
    assert await outcome(kept, login="?????????@example.test", session="8") is Reason.DISABLED
    assert await outcome(kept, login="?????????@example.test") is Reason.UNKNOWN_LOGIN


async def test_an_account_that_is_gone(passdb, kept) -> None:
    let_in(kept, "phone", session="7")
    del passdb.accounts[ALICE]
    assert await outcome(kept, session="7") is Reason.REVOKED
    assert await outcome(kept, login="nobody@example.test") is Reason.UNKNOWN_LOGIN
    assert await outcome(kept, login="no address") is Reason.UNKNOWN_LOGIN


async def test_an_alias_is_its_account(passdb, kept) -> None:
    passdb.aliases["a@example.test"] = ALICE
    assert await outcome(kept, login="a@example.test") is Accept
    let_in(kept, "phone", peer="bridge:saslauthd")  # libsasl names who was typed
    passdb.revoke(ALICE, "phone")
    assert await outcome(kept, login="a@example.test") is Reason.REVOKED
    change(passdb, enabled=False)
    assert await outcome(kept, login="a@example.test") is Reason.DISABLED


async def test_who_came_in_at_another_process_is_on_record(passdb, kept) -> None:
    (_, phone), (_, laptop) = passdb.app_passwords[ALICE]
    passdb.on_record[ALICE, Service.SMTP, HERE] = (NOW - 10, phone.id)
    passdb.on_record[ALICE, Service.SMTP, THERE] = (NOW - 10, laptop.id)
    assert await outcome(kept) is Accept
    passdb.revoke(ALICE, "phone")
    assert await outcome(kept) is Reason.REVOKED
    assert await outcome(kept, peer=THERE) is Accept
    let_in(kept, "laptop")
    assert await outcome(kept) is Accept  # what is remembered comes first


async def test_a_web_password_on_record_is_another_one_when_it_was_changed_since(passdb, kept) -> None:
    passdb.on_record[ALICE, Service.SMTP, HERE] = (NOW - 50, None)
    assert await outcome(kept) is Accept
    change(passdb, web_changed_at=NOW - 20)
    assert await outcome(kept) is Reason.REVOKED
    change(passdb, web_changed_at=None)
    assert await outcome(kept) is Accept
    change(passdb, mode_on=True)
    assert await outcome(kept) is Reason.REVOKED


async def test_what_is_long_ago_is_no_session(passdb, kept) -> None:
    (_, phone), _ = passdb.app_passwords[ALICE]
    passdb.on_record[ALICE, Service.SMTP, HERE] = (NOW - ON_RECORD_S - 1, phone.id)
    passdb.revoke(ALICE, "phone")
    assert await outcome(kept) is Accept


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize(
    ("fault", "cause"),
    [(StoreUnavailable("x"), Cause.STORE), (BadRecord("x"), Cause.RECORD), (UnknownKey("x"), Cause.KEY)],
)
async def test_a_fault_says_nothing(passdb, kept, known: bool, fault: Exception, cause: Cause) -> None:
    if known:
        let_in(kept, "phone")
    passdb.fault = fault
    assert await outcome(kept) is cause


async def test_what_is_remembered_is_bounded(passdb, kept, monkeypatch) -> None:
    monkeypatch.setattr(admitted, "MOST_KEPT", 10)
    let_in(kept, "phone", session="0")
    for number in range(1, 100):
        let_in(kept, "laptop", peer=f"198.51.100.{number}", session=str(number))
        let_in(kept, "phone", session="0")  # in use: it stays
    assert len(kept._kept) == 10
    passdb.revoke(ALICE, "phone")
    assert await outcome(kept, session="0") is Reason.REVOKED


async def test_other_services_take_no_place(passdb, kept) -> None:
    let_in(kept, "phone", service=Service.IMAP)
    assert not kept._kept
