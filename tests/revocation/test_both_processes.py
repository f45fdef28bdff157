"""Whatever is taken away is gone in both processes when the command returns, and what was opened by it has ended."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from served_pair import BYE, STATES, WEB, Client, Pair, served_pair, url_of

from mailauth.attempt import Service

pytestmark = pytest.mark.xdist_group("revocation")  # both processes serve all of this file

LATER_S = (2, 4, 8, 16, 32, 64)
ALL_SERVICES = set(Service)
DOMAINS = itertools.count(1)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with (
        url_of(request.param, request) as url,
        served_pair(tmp_path_factory.mktemp(request.param), url) as pair,
    ):
        yield pair


class Household:
    """An account with two app passwords and a web password, a session of each kind in both processes by all three."""

    def __init__(self, pair: Pair, login: str) -> None:
        self._pair, self.login = pair, pair.account(login)
        self.neighbour = pair.account(f"neighbour@elsewhere-{login.partition('@')[2]}")
        minted = {label: pair.site.mint(login, label=label) for label in ("phone", "laptop")}
        self.ids = {label: one.id for label, one in minted.items()}
        self.passwords = {label: one.password for label, one in minted.items()} | {"web": WEB}
        self.clients: dict[tuple[int, str, str], Client] = {}

    def move_in(self, *states: str) -> Household:
        """Open the sessions, all at the same time."""
        wanted = [
            (number, state, of) for number in self._pair.numbers for state in states or STATES for of in self.passwords
        ]
        with ThreadPoolExecutor(12) as threads:
            opened = threads.map(
                lambda one: self._pair.opened(one[0], one[1], self.login, self.passwords[one[2]]), wanted
            )
            self.clients = dict(zip(wanted, opened, strict=True))
        self.bystander = self._pair.opened(0, "imap in IDLE", self.neighbour, WEB)
        return self

    def assert_ended(self, credentials: set[str], services: set[Service]) -> int:
        """Those of these credentials on these services were told goodbye, and no others. How many those were."""
        gone = {key for key in self.clients if key[2] in credentials and STATES[key[1]] in services}
        for key in sorted(gone, key=lambda key: key[1] == "smtp within DATA"):  # those when all others have ended
            client = self.clients[key]
            if key[1] == "smtp within DATA":
                try_to_finish(client)
            assert client.goodbye() == BYE[client.service], key[1:]
            assert not self._pair.delivered(client.marker)
        for key in self.clients.keys() - gone:
            assert self.clients[key].goes_on(), key[1:]
            self.clients[key].leave()
        assert self.bystander.goes_on()
        self.bystander.leave()
        return len(gone)

    def assert_refused(self, credentials: set[str], services: set[Service]) -> None:
        """New logins by these are refused in both processes; any other is let in."""
        for number in self._pair.numbers:
            for service in Service:
                for of, password in self.passwords.items():
                    is_taken = of in credentials and service in services
                    assert self._pair.lets_in(number, service, self.login, password) is not is_taken, (service, of)
        assert self._pair.lets_in(0, Service.IMAP, self.neighbour, WEB)


def try_to_finish(client: Client) -> None:
    """Send the rest of the message, whatever has been said."""
    with suppress(OSError):
        client.say(b"The other half.\r\n.\r\nQUIT\r\n")


OFF = "off"
ALL_OF_IT = {"phone", "laptop", "web"}
CAUSES: dict[str, tuple[tuple[str, ...], set[str], set[Service]]] = {
    "revoke --id": (("app-password", "revoke", "LOGIN", "--id", "PHONE"), {"phone"}, ALL_SERVICES),
    "revoke --label": (("app-password", "revoke", "LOGIN", "--label", "phone"), {"phone"}, ALL_SERVICES),
    "revoke --all": (("app-password", "revoke", "LOGIN", "--all"), {"phone", "laptop"}, ALL_SERVICES),
    "account disabled": (("account", "set", "LOGIN", "--enabled", OFF), ALL_OF_IT, ALL_SERVICES),
    "domain disabled": (("domain", "set", "DOMAIN", "--enabled", OFF), ALL_OF_IT, ALL_SERVICES),
    "service off": (("account", "set", "LOGIN", "--pop3", OFF), ALL_OF_IT, {Service.POP3}),
    "service off for the domain": (("domain", "set", "DOMAIN", "--imap", OFF), ALL_OF_IT, {Service.IMAP}),
    "client logon off": (("account", "set", "LOGIN", "--client-logon", OFF), ALL_OF_IT, ALL_SERVICES),
    "mode on": (("account", "set", "LOGIN", "--mode", "on"), {"web"}, ALL_SERVICES),
    "policy enforced": (("account", "set", "LOGIN", "--policy", "enforced"), {"web"}, ALL_SERVICES),
    "policy enforced for the domain": (("domain", "set", "DOMAIN", "--policy", "enforced"), {"web"}, ALL_SERVICES),
    "second factor required": (("account", "set", "LOGIN", "--two-factor", "required"), {"web"}, ALL_SERVICES),
    "web password changed": (("account", "passwd", "LOGIN", "--keep-app-passwords"), {"web"}, ALL_SERVICES),
    "all passwords changed": (("account", "passwd", "LOGIN"), ALL_OF_IT, ALL_SERVICES),
    "account removed": (("account", "remove", "LOGIN"), ALL_OF_IT, ALL_SERVICES),
    "domain removed": (("domain", "remove", "DOMAIN", "--with-accounts"), ALL_OF_IT, ALL_SERVICES),
}


@pytest.mark.parametrize(("command", "credentials", "services"), CAUSES.values(), ids=CAUSES)
def test_what_a_command_takes_away_is_gone_when_it_returns(
    pair: Pair,
    command: tuple[str, ...],
    credentials: set[str],
    services: set[Service],
) -> None:
    domain = f"cause-{next(DOMAINS)}.test"
    house = Household(pair, f"alice@{domain}").move_in()
    words = {"LOGIN": house.login, "DOMAIN": domain, "PHONE": str(house.ids["phone"])}
    began = time.monotonic()
    said = pair.run(*[words.get(word, word) for word in command], stdin="another horse battery\n")
    assert said.code == 0, said.err
    house.assert_refused(credentials, services)
    assert time.monotonic() - began < 30.0
    ended = house.assert_ended(credentials, services)
    assert f"ended {ended} open sessions" in said.out
    assert said.err == ""


def test_the_sites_policy_ends_sessions_of_web_passwords_everywhere(pair: Pair) -> None:
    house = Household(pair, "alice@site-policy.test").move_in("imap in IDLE", "smtp")
    try:
        said = pair.run("site", "set", "--policy", "enforced")
        assert said.code == 0, said.err
        assert not pair.lets_in(0, Service.IMAP, house.login, WEB)
        assert house.bystander.goodbye() == BYE[Service.IMAP]
        house.bystander = pair.opened(0, "imap", house.login, house.passwords["phone"])
        assert f"ended {house.assert_ended({'web'}, ALL_SERVICES) + 1} open sessions" in said.out
    finally:
        assert pair.run("site", "set", "--policy", "optional").code == 0


def test_a_session_ends_with_its_app_password(pair: Pair) -> None:
    """To the second: a quarter of one is between two looks."""
    house = Household(pair, "alice@expiry.test")
    for later_s in LATER_S:
        at = time.time() + later_s
        phone = pair.site.mint(house.login, label="for a while", expires_at=at)
        house.passwords["phone"] = phone.password
        try:
            house.move_in("imap in IDLE", "pop3", "smtp within DATA")
        except AssertionError:  # this machine took longer
            continue
        break
    assert time.time() < at or later_s == LATER_S[-1]
    house.assert_ended({"phone"}, ALL_SERVICES)
    assert time.time() >= at
    house.assert_refused({"phone"}, ALL_SERVICES)


def test_a_policy_ends_sessions_when_it_starts(pair: Pair) -> None:
    house = Household(pair, "alice@start.test").move_in("imap", "pop3 in its maildrop", "smtp")
    start = datetime.fromtimestamp(int(time.time()) + 2, UTC)
    said = pair.run("account", "set", house.login, "--policy", "enforced", "--enforce-from", start.isoformat())
    assert said.code == 0, said.err
    assert "ended" not in said.out
    house.assert_ended({"web"}, ALL_SERVICES)
    assert time.time() >= start.timestamp()
    house.assert_refused({"web"}, ALL_SERVICES)


def test_what_takes_nothing_away_ends_nobody(pair: Pair) -> None:
    house = Household(pair, "alice@nothing.test").move_in("imap in IDLE", "smtp within DATA")
    for command in (
        ("account", "set", house.login, "--max-app-passwords", "7"),
        ("account", "set", house.login, "--policy", "observe"),
        ("account", "alias-add", house.login, "alias@nothing.test"),
        ("account", "alias-remove", "alias@nothing.test"),
        ("app-password", "rename", house.login, "--id", str(house.ids["phone"]), "--label", "another name"),
        ("app-password", "add", house.login, "--label", "new"),
    ):
        said = pair.run(*command)
        assert said.code == 0, said.err
        assert "ended" not in said.out
    assert house.assert_ended(set(), ALL_SERVICES) == 0


def test_a_new_app_password_works_at_once_in_both_processes(pair: Pair) -> None:
    """It was tried before it was there: nobody remembers that."""
    login = pair.account("alice@new.test")
    for number in pair.numbers:
        assert not pair.lets_in(number, Service.IMAP, login, "abcdefghjkmnpqrs")
    said = pair.run("app-password", "add", login, "--label", "new")
    password = said.out.splitlines()[-1]
    for number in pair.numbers:
        for service in Service:
            assert pair.lets_in(number, service, login, password)


def test_nothing_is_said_to_end_where_nobody_is_in(pair: Pair) -> None:
    login = pair.account("alice@empty.test")
    pair.site.mint(login, label="unused")
    said = pair.run("app-password", "revoke", login, "--label", "unused")
    assert (said.code, said.err) == (0, "")
    assert "no session was open with it" in said.out
    as_json = pair.run("app-password", "revoke", login, "--all", "--json")
    assert as_json.json == {"revoked": [], "sessions_ended": 0, "no_answer_from": []}


# ---- who is in


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["service"], row["client"]))


def test_who_is_in_is_told_over_both_processes(pair: Pair) -> None:
    """With what each client calls itself, before login or after, wherever its connection is then."""
    login = pair.account("alice@who.test")
    phone = pair.site.mint(login, label="Phone")
    before = datetime.now(UTC).replace(microsecond=0)
    clients = [pair.connected(0, Service.IMAP) for _ in range(3)]
    clients[0].ask(b'x ID ("name" "Early Mail" "version" "1")\r\n', lambda said: said.startswith(b"x OK"))
    for client in clients:
        assert client.log_in(login, phone.password)
    clients[1].ask(b'x ID ("NAME" "Later Mail" "os" "none")\r\n', lambda said: said.startswith(b"x OK"))
    clients[2].ask(b"s SELECT INBOX\r\n", lambda said: said.startswith(b"s OK"))
    clients[2].ask(b'x ID ("Name" "Latest Mail" "Version" "3")\r\n', lambda said: said.startswith(b"x OK"))
    clients += [pair.opened(1, "smtp", login, WEB), pair.opened(1, "pop3 in its maildrop", login, phone.password)]
    said = pair.run("sessions", login, "--json")
    assert (said.code, said.err) == (0, "")
    rows = in_order(said.json)
    for row in rows:
        assert before <= datetime.fromisoformat(row.pop("since")) <= datetime.now(UTC)
    common = {"login": login, "peer": "127.0.0.1", "app_password": phone.id, "label": "Phone"}
    assert rows == [
        {**common, "service": "imap", "client": "Early Mail 1"},
        {**common, "service": "imap", "client": "Later Mail"},
        {**common, "service": "imap", "client": "Latest Mail 3"},
        {**common, "service": "pop3", "client": ""},
        {**common, "service": "smtp", "client": "program.example.test", "app_password": None, "label": None},
    ]
    table = pair.run("sessions").out
    assert "Latest Mail 3" in table
    assert "program.example.test" in table
    clients[4].ask(b"QUIT\r\n", lambda said: said.startswith(b"+OK"))
    assert clients[4].goodbye() == b""
    assert {row["service"] for row in pair.run("sessions", login, "--json").json} == {"imap", "smtp"}
    for client in clients:
        client.leave()


def test_sessions_can_be_closed_and_opened_again(pair: Pair) -> None:
    house = Household(pair, "alice@close.test").move_in("imap in IDLE", "pop3", "smtp within DATA")
    said = pair.run("sessions", "close", house.login)
    assert said.out == f"ended 18 sessions of {house.login}\n"
    assert house.assert_ended(ALL_OF_IT, ALL_SERVICES) == 18
    house.assert_refused(set(), ALL_SERVICES)
    assert pair.run("sessions", "close", house.login, "--json").json == {"sessions_ended": 0, "no_answer_from": []}
    assert json.loads(pair.run("sessions", house.login, "--json").out) == []
