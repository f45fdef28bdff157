"""What programs do at the doors, and what their owners are told of it."""

from __future__ import annotations

import json

import pytest

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from mailauth.interfaces import PolicyLevel
from site_of_tests import ACCEPTED, ACTOR, REFUSED, Site

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@example.test"
WEB = "her own password"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The observations of a site on which each account has one program, which tries each door twice."""
    site = Site(tmp_path_factory.mktemp("observed"))
    site.add(ALICE, WEB, policy=PolicyLevel.OBSERVE)
    site.add(BOB, WEB, mode=True)
    site.add(CAROL, WEB)
    app = {login: site.mint(login, label="old iPhone").password for login in (ALICE, BOB, CAROL)}
    apppasswords.revoke(site.store, CAROL, every=True, actor=ACTOR)
    with site.serving():
        for service in Service:
            for _ in range(2):
                assert site.ask(service, ALICE, WEB).startswith(ACCEPTED[service])
                assert site.ask(service, BOB, WEB) == REFUSED[service]
                assert site.ask(service, CAROL, app[CAROL]) == REFUSED[service]
            for login in (ALICE, BOB):
                assert site.ask(service, login, app[login]).startswith(ACCEPTED[service])
            assert site.ask(service, CAROL, "a wrong one") == REFUSED[service]
    done = site.run("account", "observations", "--all", "--json-lines")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("login", "kind", "credential_id", "label"),
    [
        (ALICE, "would-break", None, None),
        (BOB, "web-password-refused", None, None),
        (CAROL, "deleted-app-password", 3, "old iPhone"),
    ],
)
def test_a_program_that_does_not_log_in_as_it_should_is_told_of(told, login, kind, credential_id, label):
    rows = [row for row in told if row["login"] == login]
    assert {row["service"] for row in rows} == {"imap", "pop3", "smtp"}
    assert [row["count"] for row in rows] == [2, 2, 2]
    for row in rows:
        assert (row["kind"], row["credential_id"], row["label"]) == (kind, credential_id, label)
        assert row["network"] == "127.0.0.0/24"


def test_nobody_else_is(told):
    assert len(told) == 9
