"""What the processes of a store are told of each thing that people do, and what is said to have come of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mailauth.accounts import aliases, apppasswords, domains, mailboxes, site
from mailauth.accounts.changes import AccountChange, DomainChange, PolicyChange
from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.unit import changing
from mailauth.interfaces import PolicyLevel, StoreUnavailable
from mailauth.store import changes
from mailauth.store.changes import Effect
from mailauth.store.engine import Store

ALICE, DOMAIN = "alice@example.test", "example.test"
ACTOR, NOW = "cli:root", 1.8e9

Does = Callable[[Store, dict[str, int], Effect], object]


class Plain:
    """A hash scheme that is quick."""

    def hash(self, secret: bytes) -> str:
        return "plain"


@pytest.fixture
def ids(store: Store, ring: Any) -> dict[str, int]:
    """Alice's, her domain's, her app passwords'."""
    mailboxes.add_account(store, ALICE, "plain", actor=ACTOR)
    aliases.add_alias(store, ALICE, "alias@example.test", actor=ACTOR)
    phone, laptop = [
        apppasswords.mint(store, ring, Plain(), ALICE, label=label, actor=ACTOR).id for label in ("phone", "laptop")
    ]
    with store.reading() as tx:
        row = tx.row(store.sql.ACCOUNT, login=ALICE)
    assert row is not None
    return {"account": row["id"], "domain": row["domain_id"], "phone": phone, "laptop": laptop}


def set_account(**changed: Any) -> Does:
    return lambda store, ids, effect: mailboxes.set_account(
        store, ALICE, AccountChange(**changed), actor=ACTOR, effect=effect, now=NOW
    )


def set_domain(**changed: Any) -> Does:
    return lambda store, ids, effect: domains.set_domain(
        store, DOMAIN, DomainChange(**changed), actor=ACTOR, effect=effect
    )


def set_site(**changed: Any) -> Does:
    return lambda store, ids, effect: site.set_site(store, PolicyChange(**changed), actor=ACTOR, effect=effect)


def set_web_password(keep: bool) -> Does:
    return lambda store, ids, effect: mailboxes.set_web_password(
        store, ALICE, "other", keep, actor=ACTOR, effect=effect
    )


def revoke(**which: Any) -> Does:
    def does(store: Store, ids: dict[str, int], effect: Effect) -> None:
        chosen = which | ({"ids": [ids[one] for one in which["ids"]]} if "ids" in which else {})
        apppasswords.revoke(store, ALICE, **chosen, actor=ACTOR, effect=effect)

    return does


ACCOUNT, OF_DOMAIN, EVERYBODY = "account", "domain", None
WEB = {"login": ALICE, "web_password": True}
# What is done, and the changes that come of it: their kind, whom they touch, and what they take.
DONE: dict[str, tuple[Does, list[tuple[str, str | None, dict[str, Any]]]]] = {
    "revoke one": (
        revoke(ids=["phone"]),
        [("app-password-revoked", ACCOUNT, {"login": ALICE, "app_passwords": ["phone"]})],
    ),
    "revoke all": (
        revoke(every=True),
        [("app-password-revoked", ACCOUNT, {"login": ALICE, "app_passwords": ["phone", "laptop"]})],
    ),
    "disable": (
        set_account(enabled=False),
        [("account-changed", ACCOUNT, {"login": ALICE, "set": {"enabled": 0}})],
    ),
    "service off": (set_account(pop3=False), [("account-changed", ACCOUNT, {"login": ALICE, "set": {"services": 5}})]),
    "client logon off": (
        set_account(client_logon=False),
        [("account-changed", ACCOUNT, {"login": ALICE, "set": {"client_logon": 0}})],
    ),
    "mode on": (set_account(mode=True), [("account-changed", ACCOUNT, {"login": ALICE, "set": {"mode_on": 1}})]),
    "second factor": (
        set_account(two_factor=True),
        [
            (
                "account-changed",
                ACCOUNT,
                {"login": ALICE, "set": {"two_factor": 1, "two_factor_from": NOW, "two_factor_reached": 1}},
            )
        ],
    ),
    "no change": (set_account(enabled=True, pop3=True), []),
    "web password": (set_web_password(keep=True), [("web-password-changed", ACCOUNT, WEB)]),
    "web password and all": (
        set_web_password(keep=False),
        [
            ("web-password-changed", ACCOUNT, WEB),
            ("app-password-revoked", ACCOUNT, {"login": ALICE, "app_passwords": ["phone", "laptop"]}),
        ],
    ),
    "remove": (
        lambda store, ids, effect: mailboxes.remove_account(store, ALICE, actor=ACTOR, effect=effect),
        [("account-removed", ACCOUNT, {"login": ALICE, "removed": True})],
    ),
    "domain off": (
        set_domain(enabled=False),
        [("domain-changed", OF_DOMAIN, {"domain": DOMAIN, "set": {"enabled": 0}})],
    ),
    "no change of the domain": (set_domain(enabled=True), []),
    "domain removed": (
        lambda store, ids, effect: domains.remove_domain(store, DOMAIN, with_accounts=True, actor=ACTOR, effect=effect),
        [("domain-removed", OF_DOMAIN, {"domain": DOMAIN, "removed": True})],
    ),
    "policy of the site": (
        set_site(policy=PolicyLevel.OBSERVE),
        [("site-changed", EVERYBODY, {"set": {"policy": "observe"}})],
    ),
    "no change of the site": (set_site(policy=PolicyLevel.OPTIONAL), []),
    "alias removed": (
        lambda store, ids, effect: aliases.remove_alias(store, "alias@example.test", actor=ACTOR),
        [("alias-removed", ACCOUNT, {"login": ALICE, "alias": "alias@example.test"})],
    ),
}


@pytest.mark.parametrize(("does", "expected"), DONE.values(), ids=DONE)
def test_every_change_is_told_to_those_it_touches(
    store: Store, ids: dict[str, int], does: Does, expected: list[tuple[str, str | None, dict[str, Any]]]
) -> None:
    began, effect = changes.newest(store), Effect()
    does(store, ids, effect)
    head = changes.newest(store)
    with store.reading() as tx:
        told = changes.after(store, tx, began, head)
    assert [(one.kind, one.account_id, one.domain_id, json.loads(one.takes)) for one in told] == [
        (
            kind,
            ids["account"] if whom == ACCOUNT else None,
            ids["domain"] if whom == OF_DOMAIN else None,
            {key: [ids[one] for one in value] if key == "app_passwords" else value for key, value in takes.items()},
        )
        for kind, whom, takes in expected
    ]
    if "alias" not in (expected or [("",)])[0][0]:
        assert effect.number == (head if expected else None)
        assert effect.count == max(1, len(expected))


def test_what_is_refused_touches_nobody(store: Store, ids: dict[str, int]) -> None:
    began, effect = changes.newest(store), Effect()
    with pytest.raises(NoSuch):
        apppasswords.revoke(store, ALICE, ids=[ids["phone"], 4711], actor=ACTOR, effect=effect)
    with pytest.raises(NoSuch):
        mailboxes.set_account(store, "nobody@example.test", AccountChange(enabled=False), actor=ACTOR, effect=effect)
    assert changes.newest(store) == began
    assert effect == Effect()


def test_a_change_that_fails_half_way_touches_nobody(store: Store, ids: dict[str, int]) -> None:
    began, effect = changes.newest(store), Effect()
    with pytest.raises(StoreUnavailable), changing(store, ACTOR, NOW, effect) as unit:
        unit.touch("any")
        unit.tx.write("INSERT INTO no_such_table VALUES (1)")
    assert changes.newest(store) == began
    assert effect.number is None


def test_nobody_is_waited_for_unless_somebody_wants_to_know(store: Store, ids: dict[str, int]) -> None:
    """A process that never answers."""
    with store.transaction() as tx:
        tx.write(store.sql.ADD_PROCESS, id="mute", host="elsewhere/boot/1", pid=1, started_at=NOW, applied=0)
    apppasswords.revoke(store, ALICE, every=True, actor=ACTOR)
    with store.reading() as tx:
        assert [row["id"] for row in tx.rows(store.sql.PROCESSES)] == ["mute"]
