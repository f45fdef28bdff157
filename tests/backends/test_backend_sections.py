"""[backends.NAME]: what may stand there, whose accounts are whose, and which names are not said."""

from __future__ import annotations

import pytest

from keepers import MASTER_PASSWORD, backend
from mailauth.attempt import Service
from mailauth.backends.backend import Backend, NotServed, is_address, routes
from mailauth.backends.exchange import Login
from mailauth.factors.section import BadSection

HERE = "127.0.0.1:143"


def test_a_master_logs_in_for_the_account() -> None:
    one = backend(imap=HERE)
    assert one.login_as("alice@example.test", MASTER_PASSWORD) == Login("proxy", MASTER_PASSWORD, "alice@example.test")
    starred = backend(imap=HERE, separator="*", tls="starttls")
    assert starred.login_as("alice@example.test", "x") == Login("alice@example.test*proxy", "x", starttls=True)
    fixed = backend(imap=HERE, login="fixed", accounts=["alice@example.test"], user="al")
    assert fixed.login_as("alice@example.test", "x") == Login("al", "x")
    relay = backend(smtp=HERE, login="xclient")
    assert relay.login_as("alice@example.test", "") == Login("alice@example.test")


HOSTILE = [
    *("*@example.test", "alice*proxy@example.test", "%u@example.test", "a\r\nb@example.test", "a\0b@example.test", ""),
    *("a\x7f@example.test", "a\u2028b@example.test", "a\ud800@example.test", "a\x85b@example.test"),
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
@pytest.mark.parametrize("login", ["master", "xclient"])
def test_a_name_that_could_mean_more_is_not_said(name: str, login: str) -> None:
    found = routes([backend(smtp=HERE, login=login)])
    with pytest.raises(NotServed, match="must not be said") as caught:
        found.of(Service.SMTP, name)
    assert str(caught.value).isprintable()
    with pytest.raises(NotServed):
        found.all(Service.SMTP)[0].login_as(name, "x")


def test_the_separator_is_not_said_either() -> None:
    found = routes([backend(imap=HERE, separator="+"), backend("other", smtp=HERE)])
    with pytest.raises(NotServed, match=r"\* % \+"):
        found.of(Service.IMAP, "alice+tag@example.test")
    assert found.of(Service.SMTP, "alice+tag@example.test").name == "other"


def test_the_most_exact_claim_wins_for_each_service() -> None:
    everybody = backend("everybody", imap=HERE, pop3=HERE)
    domain = backend("domain", imap=HERE, domains=["Example.test"])
    alice = backend("alice", pop3=HERE, accounts=["Alice@Example.Test"])
    relay = backend("relay", smtp=HERE, login="xclient", domains=["example.test", "example.net"])
    found = routes([everybody, domain, alice, relay])
    told = {
        (service, account): found.of(service, account).name
        for service, account in [
            (Service.IMAP, "alice@example.test"),
            (Service.POP3, "alice@example.test"),
            (Service.POP3, "bob@example.test"),
            (Service.IMAP, "bob@example.org"),
            (Service.IMAP, "bob@sub.example.test"),
            (Service.SMTP, "alice@example.test"),
            (Service.SMTP, "bob@example.net"),
        ]
    }
    assert list(told.values()) == ["domain", "alice", "everybody", "everybody", "everybody", "relay", "relay"]
    with pytest.raises(NotServed, match="has smtp for this account"):
        found.of(Service.SMTP, "bob@example.org")
    assert {one.name for one in found.all(Service.POP3)} == {"everybody", "alice"}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, "here] domains: everybody else is claimed by [backends.first] for imap already"),
        ({"domains": ["a.test"]}, "here] domains: a.test is claimed"),
        ({"accounts": ["b@a.test"]}, "here] accounts: b@a.test is claimed"),
    ],
)
def test_two_equal_claims_are_refused(more: dict[str, object], told: str) -> None:
    with pytest.raises(BadSection) as caught:
        routes([backend("first", imap=HERE, **more), backend(imap=HERE, **more)])
    assert f"{caught.value.key}: {caught.value}".startswith(told)
    routes([backend("first", imap=HERE, **more), backend(pop3=HERE, **more)])


def refused(**keys: object) -> BadSection:
    with pytest.raises(BadSection) as caught:
        backend(**keys)
    return caught.value


REFUSED = {
    "imap: is missing": {},
    'imap: must be "HOST:PORT"': {"imap": "143"},
    'pop3: must be "HOST:PORT"': {"pop3": "::1:110"},
    'smtp: must be "HOST:PORT"': {"smtp": "[127.0.0.1]:25"},
    "imap: has no port": {"imap": "localhost:0"},
    "imap: has no port from": {"imap": "localhost:65536"},
    "user: is missing": {"imap": HERE, "user": ""},
    "password_file: is missing": {"imap": HERE, "password": None},
    "login: is xclient, which SMTP alone has": {"imap": HERE, "login": "xclient"},
    "user: is of no use": {"smtp": HERE, "login": "xclient", "user": "me"},
    "origin: must be id or none": {"smtp": HERE, "login": "xclient", "origin": "proxy1"},
    "login: must be one of: master, fixed, xclient": {"imap": HERE, "login": "guest"},
    "accounts: must name who": {"imap": HERE, "login": "fixed"},
    "accounts: must name who gets": {"imap": HERE, "login": "fixed", "accounts": ["a@b.test"], "domains": ["b.test"]},
    "separator: is of no use": {"imap": HERE, "login": "fixed", "accounts": ["a@b.test"], "separator": "*"},
    "separator: must be one line": {"imap": HERE, "separator": "\n"},
    "domains: ": {"imap": HERE, "domains": ["a b"]},
    "accounts: ": {"imap": HERE, "accounts": ["alice"]},
    "tls: must be one of": {"imap": HERE, "tls": "yes"},
    "tls_verify: must be true or false": {"imap": HERE, "tls_verify": "no"},
    "tsl: is unknown here": {"imap": HERE, "tsl": "off"},
    "origin: must be one of": {"imap": HERE, "origin": "x-forwarded-for"},
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_cannot_be_is_refused_by_key_and_reason(told: str) -> None:
    bad = refused(**REFUSED[told])
    assert f"{bad.key}: {bad}".startswith(told)


@pytest.mark.parametrize(
    ("written", "address"),
    [("[::1]:993", ("::1", 993)), ("mail.example.test:993", ("mail.example.test", 993)), ("", None)],
)
def test_an_address_is_host_and_port(written: str, address: tuple[str, int] | None) -> None:
    one: Backend = backend(imap=written, pop3=HERE)
    assert one.address(Service.IMAP) == address


def test_an_address_that_can_be_told_is_one() -> None:
    assert is_address("192.0.2.7")
    assert is_address("2001:db8::7")
    for peer in ("", "bridge:http", "fe80::1%eth0", "mail.example.test"):
        assert not is_address(peer)
