"""Web passwords of sources through every served door: right, wrong, made, removed, forbidden, and the source away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mailauth.accounts import domains, mailboxes
from mailauth.accounts.changes import DomainChange
from mailauth.attempt import Service
from mailauth.interfaces import PolicyLevel
from site_of_tests import ACCEPTED, ACTOR, DEFERRED, DOORS, REFUSED, WRONG_PASSWORD_WORDS, Site

SECTIONS = """
[replies]
refusal_delay_s = 0
[throttle]
enabled = false
[sources.people]
kind = "file"
path = "people"
domains = ["example.test", "enforced.test"]
create = true
[sources.directory]
kind = "ldap"
url = "ldap://127.0.0.1:1"
base = "dc=example,dc=test"
domains = ["directory.test"]
"""
WEB = "correct horse"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"), SECTIONS)
    people = [f"{name}@example.test" for name in ("alice", "new", "removed", "mode", "off", "spare", *Service)]
    (site.folder / "people").write_text(
        "".join(f"{login}:{{PLAIN}}{WEB}\n" for login in [*people, "new@enforced.test", "abcd@example.test"])
    )
    site.add("alice@example.test")
    site.add("mode@example.test", mode=True)
    site.add("off@example.test", enabled=False)
    site.add("removed@example.test")
    site.add("own@example.test", "her own")
    site.add("dora@directory.test")
    mailboxes.remove_account(site.store, "removed@example.test", actor=ACTOR)
    domains.add_domain(site.store, "enforced.test", actor=ACTOR)
    domains.set_domain(site.store, "enforced.test", DomainChange(policy=PolicyLevel.ENFORCED), actor=ACTOR)
    with site.serving():
        yield site


@pytest.mark.parametrize(("service", "tls"), DOORS)
def test_every_door_says_the_same(site, service, tls):
    def ask(login: str, password: str = WEB) -> bytes:
        return site.ask(service, login, password, tls=tls)

    for login in ("alice@example.test", f"{service}@example.test"):
        assert ask(login).startswith(ACCEPTED[service])
        assert ask(login, "wrong").startswith(REFUSED[service])
    for login in ("nobody@example.test", "removed@example.test", "mode@example.test", "off@example.test"):
        assert ask(login).startswith(REFUSED[service])
    assert ask("new@enforced.test").startswith(REFUSED[service])
    assert ask("own@example.test", "her own").startswith(ACCEPTED[service])
    assert ask("own@example.test").startswith(REFUSED[service])
    away = ask("dora@directory.test")
    assert away.startswith(DEFERRED[service])
    assert not any(word in away for word in WRONG_PASSWORD_WORDS)
    assert ask("dora@directory.test", "abcdefghjkmnpqrs").startswith(REFUSED[service]), "it is never sent"


def test_an_account_that_is_made_is_written_down_and_takes_app_passwords(site):
    assert site.ask(Service.IMAP, "new@example.test", WEB).startswith(b"OK")
    minted = site.mint("new@example.test")
    assert site.ask(Service.POP3, "new@example.test", minted.password).startswith(b"+OK")
    rows = site.run("audit", "new@example.test", "--json").stdout
    assert "source:people" in rows
    site.change("new@example.test", mode=True)
    assert site.ask(Service.IMAP, "new@example.test", WEB).startswith(REFUSED[Service.IMAP])
    mailboxes.remove_account(site.store, "new@example.test", actor=ACTOR)
    assert site.ask(Service.IMAP, "new@example.test", WEB).startswith(REFUSED[Service.IMAP])


def test_verify_asks_the_sources_and_makes_nothing(site):
    def verify(login: str, password: str) -> int:
        return site.run("verify", login, "--service", "imap", "--password-stdin", password=password).returncode

    assert verify("alice@example.test", WEB) == 0
    assert verify("alice@example.test", "wrong") == 77
    assert verify("dora@directory.test", WEB) == 75
    assert verify("spare@example.test", WEB) == 77
    assert site.run("account", "show", "spare@example.test").returncode == 66


def test_an_account_is_left_to_the_sources(site):
    login = "abcd@example.test"
    site.add(login, "her own")
    assert site.ask(Service.IMAP, login, "her own").startswith(b"OK")
    said = site.run("account", "passwd", login, "--to-sources")
    assert said.returncode == 0, said.stderr
    assert site.ask(Service.IMAP, login, "her own").startswith(REFUSED[Service.IMAP])
    assert site.ask(Service.IMAP, login, WEB).startswith(b"OK")


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ('[sources.ldap]\nurl = "ldap://x"', "[sources.ldap] base: "),
        ('[sources.nonsense]\nurl = "x"', "no sources plug-in named 'nonsense'"),
        ('[sources.people]\nkind = "file"\npath = "x"\ndomains = ["-"]', "[sources.people] domains: "),
        ('[sources.people]\nkind = "file"\npath = "x"\ntimeout_s = 0', "[sources.people] timeout_s: must be 0.1 to 60"),
        ('[sources.sql]\nurl = "x"\nquery = ":login"\npassword = "y"', "a secret does not stand in this file"),
        ("[sources.parts]\nx = 1", "no sources plug-in named 'parts'"),
    ],
)
def test_a_source_that_cannot_be_is_told_before_anything_is_served(tmp_path: Path, section, told):
    site = Site(tmp_path, section + "\n")
    for command in ("config check", "serve"):
        said = site.run(*command.split())
        assert said.returncode == 78
        assert told in said.stderr
