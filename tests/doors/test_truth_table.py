"""Who gets in: every kind of secret in every state of an account, through all six ports, against a served site.

The expected answer is worked out here from the rules as they are written for users, not from the code that judges.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import pytest

from mailauth.accounts import apppasswords, domains, mailboxes
from mailauth.accounts.changes import DomainChange
from mailauth.attempt import Service
from mailauth.interfaces import PolicyLevel
from site_of_tests import ACCEPTED, ACTOR, DOORS, REFUSED, Site, said

WEB = "correct horse battery"
LETTERS = "abcdefghjkmnpqrs"  # a web password that looks like an app password
HOUR = 3600.0

# name: (what is set on the account, whether app passwords alone get in)
MODES = {
    "off": ({}, False),
    "on": ({"mode": True}, True),
    "observe": ({"policy": PolicyLevel.OBSERVE}, False),
    "enforced": ({"policy": PolicyLevel.ENFORCED}, True),
    "enforced-later": ({"policy": PolicyLevel.ENFORCED, "enforce_from": time.time() + HOUR}, False),
    "enforced-before": ({"policy": PolicyLevel.ENFORCED, "enforce_from": time.time() - HOUR}, True),
    "two-factor": ({"two_factor": True}, True),
    "domain-enforced": ({}, True),
}
# name: (the password shown, the service it is for or None, whether it is an app password that may open something)
OPENS_ALL = ("app", "app-grouped", "app-with-line-end", "app-full-width", "app-here")
OPENS_NONE = (
    "app-revoked",
    "app-expired",
    "app-elsewhere",
    "app-of-another",
    "app-upper-case",
    "wrong",
    "wrong-letters",
)
SECRETS = (*OPENS_ALL, *OPENS_NONE, "app-imap-only", "web")
CLOSED = {
    "disabled": {"enabled": False},
    "client-logon-off": {"client_logon": False},
    "imap-off": {"imap": False},
    "pop3-off": {"pop3": False},
    "smtp-off": {"smtp": False},
}


@dataclass
class Person:
    login: str
    secrets: dict[str, str]


def person(site: Site, name: str, domain: str = "example.test", **changes: object) -> Person:
    login = site.add(f"{name}@{domain}", WEB)
    app = site.mint(login, label="app").password
    revoked = site.mint(login, label="revoked")
    apppasswords.revoke(site.store, login, ids=[revoked.id], actor=ACTOR)
    expired = site.mint(login, label="expired", expires_at=time.time() + HOUR)
    with site.store.transaction() as tx:
        tx._connection.execute("UPDATE app_passwords SET expires_at = ? WHERE id = ?", (time.time() - 1, expired.id))
    other = site.add(f"other-{name}@{domain}", WEB)
    secrets = {
        "app": app,
        "app-grouped": " ".join(app[i : i + 4] for i in range(0, 16, 4)),
        "app-with-line-end": f" {app}\r\n",
        "app-full-width": "".join(chr(ord(c) + 0xFEE0) for c in app),
        "app-upper-case": app.swapcase(),
        "app-here": site.mint(login, label="here", networks=["127.0.0.0/8"]).password,
        "app-elsewhere": site.mint(login, label="elsewhere", networks=["192.0.2.0/24", "2001:db8::/32"]).password,
        "app-imap-only": site.mint(login, label="imap", services=[Service.IMAP]).password,
        "app-revoked": revoked.password,
        "app-expired": expired.password,
        "app-of-another": site.mint(other, label="other").password,
        "web": WEB,
        "wrong": "wrong horse battery",
        "wrong-letters": LETTERS,
    }
    if changes:
        site.change(login, **changes)
    return Person(login, secrets)


def everybody(site: Site) -> dict[str, Person]:
    """Somebody in each mode, and with each of what closes an account."""
    people = {
        mode: person(site, f"mode-{mode}", **changes)
        for mode, (changes, _) in MODES.items()
        if mode != "domain-enforced"
    }
    people["domain-enforced"] = person(site, "someone", "strict.test")
    domains.set_domain(site.store, "strict.test", DomainChange(policy=PolicyLevel.ENFORCED), actor=ACTOR)
    people |= {name: person(site, name, **changes) for name, changes in CLOSED.items()}
    people["domain-disabled"] = person(site, "someone", "closed.test")
    domains.set_domain(site.store, "closed.test", DomainChange(enabled=False), actor=ACTOR)
    return people


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("truth"))
    people = everybody(site)
    people["domain-pop3-off"] = person(site, "someone", "nopop.test")
    domains.set_domain(site.store, "nopop.test", DomainChange(pop3=False), actor=ACTOR)
    people["letters"] = Person(site.add("letters@example.test", LETTERS), {"web": LETTERS})
    with site.serving():
        yield site, people


def ask(site: Site, door: tuple[Service, str], login: str, password: str) -> bytes:
    service, tls = door
    client = getattr(site, service.value)(tls)
    try:
        return said(client, login, password)
    finally:
        (client.logout if service is Service.IMAP else client.quit)()


def expected(door: tuple[Service, str], secret: str, app_passwords_only: bool) -> bool:
    if secret == "web":
        return not app_passwords_only
    return secret in OPENS_ALL or (secret == "app-imap-only" and door[0] is Service.IMAP)


@pytest.mark.parametrize(
    ("mode", "secret", "door"),
    list(itertools.product(MODES, SECRETS, DOORS)),
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_secret_opens_what_it_should_and_nothing_else(served, mode, secret, door):
    site, people = served
    reply = ask(site, door, people[mode].login, people[mode].secrets[secret])
    gets_in = expected(door, secret, MODES[mode][1])
    assert reply.startswith(ACCEPTED[door[0]]) if gets_in else reply == REFUSED[door[0]]


@pytest.mark.parametrize("secret", ["app", "web"])
@pytest.mark.parametrize("door", DOORS, ids="-".join)
@pytest.mark.parametrize("state", [*CLOSED, "domain-disabled", "domain-pop3-off"])
def test_what_is_switched_off_beats_every_secret(served, state, door, secret):
    site, people = served
    reply = ask(site, door, people[state].login, people[state].secrets[secret])
    closes_one = state.removeprefix("domain-").removesuffix("-off")
    open_here = closes_one in set(Service) and closes_one != door[0].value
    assert reply.startswith(ACCEPTED[door[0]]) if open_here else reply == REFUSED[door[0]]


@pytest.mark.parametrize("door", DOORS, ids="-".join)
@pytest.mark.parametrize("login", ["nobody@example.test", "nobody@nowhere.test", "\uff41pp@example.test", "no-address"])
def test_an_unknown_login_hears_what_a_wrong_password_hears(served, door, login):
    assert ask(served[0], door, login, WEB) == REFUSED[door[0]]


@pytest.mark.parametrize("door", DOORS, ids="-".join)
def test_a_web_password_of_sixteen_letters_gets_in_while_the_mode_is_off(served, door):
    site, people = served
    assert ask(site, door, people["letters"].login, LETTERS).startswith(ACCEPTED[door[0]])


@pytest.mark.parametrize("door", DOORS, ids="-".join)
def test_a_change_counts_at_the_next_login_without_a_restart(served, door):
    site, _ = served
    login = site.add(f"changing-{'-'.join(door)}@example.test", WEB)
    app = site.mint(login)
    assert ask(site, door, login, WEB).startswith(ACCEPTED[door[0]])
    site.change(login, mode=True)
    assert ask(site, door, login, WEB) == REFUSED[door[0]]
    assert ask(site, door, login, app.password).startswith(ACCEPTED[door[0]])
    site.change(login, client_logon=False)
    assert ask(site, door, login, app.password) == REFUSED[door[0]]
    site.change(login, client_logon=True, mode=False)
    assert ask(site, door, login, WEB).startswith(ACCEPTED[door[0]])
    apppasswords.revoke(site.store, login, every=True, actor=ACTOR)
    assert ask(site, door, login, app.password) == REFUSED[door[0]]
    mailboxes.remove_account(site.store, login, actor=ACTOR)
    assert ask(site, door, login, WEB) == REFUSED[door[0]]
