"""Who gets in through the bridges: the same table as at our own doors, and whom a guess through them counts for."""

from __future__ import annotations

import itertools
import threading
import time

import pytest
from test_truth_table import CLOSED, LETTERS, MODES, SECRETS, WEB, everybody, expected

from bridge_clients import (
    ASKING,
    FAIL,
    KEYS,
    LATER,
    OK,
    TOKEN,
    DovecotHost,
    ask_as_a_program,
    ask_dovecot,
    ask_policy,
    ask_saslauthd,
)
from mailauth.accounts import apppasswords, mailboxes
from mailauth.attempt import Service
from mailauth.guessing import SOURCE
from site_of_tests import ACTOR, Site

KINDS = tuple(ASKING)
TABLES = "".join(f'[[bridge]]\nkind = "{kind}"\naddress = "unix:{kind}"\n{KEYS.get(kind, "")}' for kind in KINDS)
PROGRAM = "a program"
POLICY = '[[bridge]]\nkind = "postfix-policy"\naddress = "unix:policy"\n'
QUIET = "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n"
HERE = "127.0.0.1"

each_kind = pytest.mark.parametrize("kind", KINDS)
each_door = pytest.mark.parametrize("kind", (*KINDS, PROGRAM))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("b"), sections=QUIET + TABLES + POLICY)
    (site.folder / "token").write_text(TOKEN + "\n")
    people = everybody(site)
    site.add("letters@example.test", LETTERS)
    with site.serving():
        yield site, people


def ask(site: Site, kind: str, service: Service, login: str, password: str, client: str = HERE) -> str:
    if kind == PROGRAM:
        return ask_as_a_program(site.folder / "dovecot-auth", login, password, service=str(service), client=client)
    return ASKING[kind](site.folder / kind, login, password, service=str(service), client=client)


@pytest.mark.parametrize(
    ("mode", "secret", "service", "kind"), list(itertools.product(MODES, SECRETS, Service, (*KINDS, PROGRAM))), ids=str
)
def test_a_secret_opens_what_it_should_and_nothing_else(served, mode, secret, service, kind):
    site, people = served
    heard = ask(site, kind, service, people[mode].login, people[mode].secrets[secret])
    gets_in = expected((service, ""), secret, MODES[mode][1])
    if kind == "saslauthd" and secret == "app-here":
        gets_in = False  # it does not say where the client is, so no network holds it
    assert heard == (OK if gets_in else FAIL)


@each_door
@pytest.mark.parametrize("secret", ["app", "web"])
@pytest.mark.parametrize("service", Service)
@pytest.mark.parametrize("state", [*CLOSED, "domain-disabled"])
def test_what_is_switched_off_beats_every_secret(served, state, service, secret, kind):
    site, people = served
    heard = ask(site, kind, service, people[state].login, people[state].secrets[secret])
    closes_one = state.removesuffix("-off")
    assert heard == (OK if closes_one in set(Service) and closes_one != service.value else FAIL)


@each_door
@pytest.mark.parametrize("login", ["nobody@example.test", "nobody@nowhere.test", "\uff41pp@example.test", "no-address"])
def test_an_unknown_login_hears_what_a_wrong_password_hears(served, kind, login):
    assert ask(served[0], kind, Service.IMAP, login, WEB) == FAIL


GETS_IN = [
    (mode, secret)
    for mode, secret in itertools.product(MODES, SECRETS)
    if expected((Service.SMTP, ""), secret, MODES[mode][1])
]


@pytest.mark.parametrize(("mode", "secret"), GETS_IN)
def test_who_got_in_may_send(served, mode, secret):
    site, people = served
    login = people[mode].login
    assert ask(site, "dovecot-auth", Service.SMTP, login, people[mode].secrets[secret]) == OK
    assert ask_policy(site.folder / "policy", login, client=HERE) == OK


@pytest.mark.parametrize("state", [*CLOSED, "domain-disabled"])
def test_who_is_switched_off_may_not_send(served, state):
    site, people = served
    closes_smtp = state not in {"imap-off", "pop3-off"}
    assert ask_policy(site.folder / "policy", people[state].login) == (FAIL if closes_smtp else OK)


@each_kind
def test_a_change_counts_at_the_next_login(served, kind):
    site, _ = served
    login = site.add(f"changing-{kind}@example.test", WEB)
    app = site.mint(login)
    assert ask(site, kind, Service.SMTP, login, WEB) == OK
    site.change(login, mode=True)
    assert ask(site, kind, Service.SMTP, login, WEB) == FAIL
    assert ask(site, kind, Service.SMTP, login, app.password) == OK
    apppasswords.revoke(site.store, login, every=True, actor=ACTOR)
    assert ask(site, kind, Service.SMTP, login, app.password) == FAIL
    mailboxes.remove_account(site.store, login, actor=ACTOR)
    assert ask(site, kind, Service.SMTP, login, WEB) == FAIL


@each_kind
def test_it_is_on_record_like_any_login_and_no_session_of_ours(served, kind):
    site, _ = served
    login = site.add(f"recorded-{kind}@example.test")
    assert ask(site, kind, Service.IMAP, login, site.mint(login).password, "203.0.113.77") == OK
    peer = "bridge:saslauthd" if kind == "saslauthd" else "203.0.113.77"
    site.logged(f"login service=imap login={login} peer={peer}")
    give_up_at = time.monotonic() + 30
    while peer not in site.run("audit", login).stdout:
        assert time.monotonic() < give_up_at
    assert login not in site.run("sessions").stdout
    while peer not in site.run("app-password", "list", login, "--json").stdout:
        assert time.monotonic() < give_up_at


# ---- guesses


@pytest.fixture
def throttled(tmp_path):
    site = Site(
        tmp_path,
        sections='[replies]\nrefusal_delay_s = 0\n[throttle]\ntrusted_networks = ["127.0.0.0/8", "10.9.0.0/16"]\n'
        + TABLES
        + '[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:narrow"\nclients = ["192.0.2.0/24"]\n',
    )
    (site.folder / "token").write_text(TOKEN + "\n")
    site.add("alice@example.test", WEB)
    site.add("bob@example.test", WEB)
    with site.serving():
        yield site


def guess_until_told_to_wait(host: DovecotHost, client: str) -> int:
    """How many guesses were judged."""
    for number in range(200):
        if host.ask("alice@example.test", f"guess {number} from {client}", client=client) == LATER:
            return number
    return 200


def test_a_guess_counts_for_the_client_that_the_host_names(throttled):
    host = DovecotHost(throttled.folder / "dovecot-auth")
    assert guess_until_told_to_wait(host, "192.0.2.1") == SOURCE.guesses
    assert host.ask("bob@example.test", WEB, client="192.0.2.1") == LATER
    assert host.ask("bob@example.test", WEB, client="192.0.2.2") == OK
    host.close()


def test_a_client_that_it_may_not_name_is_the_bridge_itself_and_nobody_trusted(throttled):
    host = DovecotHost(throttled.folder / "narrow")
    assert guess_until_told_to_wait(host, "10.9.0.1") == SOURCE.guesses
    assert host.ask("bob@example.test", WEB, client="127.0.0.1") == LATER
    assert host.ask("bob@example.test", WEB, client="192.0.2.2") == OK
    host.close()
    other = DovecotHost(throttled.folder / "dovecot-auth")  # this one may name a trusted network
    assert guess_until_told_to_wait(other, "10.9.0.1") > SOURCE.guesses
    other.close()


def test_who_cannot_name_a_client_is_one_source_and_an_app_password_gets_in_all_the_same(throttled):
    mux = throttled.folder / "saslauthd"
    app = throttled.mint("bob@example.test").password
    heard = [ask_saslauthd(mux, "alice@example.test", f"guess {number}") for number in range(SOURCE.guesses + 2)]
    assert heard == [FAIL] * SOURCE.guesses + [LATER] * 2
    assert ask_saslauthd(mux, "bob@example.test", app) == OK
    give_up_at = time.monotonic() + 30  # processes tell each other once a second
    while "bridge:saslauthd" not in (said := throttled.run("throttle", "list", "bridge:saslauthd")).stdout:
        assert time.monotonic() < give_up_at, said
    assert ask_dovecot(throttled.folder / "dovecot-auth", "alice@example.test", WEB) == OK
    assert throttled.run("throttle", "clear", "bridge:saslauthd").returncode == 0
    assert ask_saslauthd(mux, "alice@example.test", "another guess") == FAIL


# ---- a crowd of refusals


@each_kind
def test_a_hundred_refusals_a_second_leave_a_good_login_under_a_second(tmp_path, kind):
    """Each takes a process of the host's, of which it has a hundred; a good login waits for a free one."""
    site = Site(tmp_path, sections="[throttle]\nenabled = false\n" + TABLES)
    (site.folder / "token").write_text(TOKEN + "\n")
    login = site.add("alice@example.test", WEB)
    app = site.mint(login).password
    slots = threading.Semaphore(100)
    over = time.monotonic() + 6.0
    waits: list[float] = []
    answers: list[str] = []

    def refused(number: int) -> None:
        with slots:
            answers.append(ASKING[kind](site.folder / kind, login, f"wrong {number}"))

    with site.serving():
        threads = []
        for number in itertools.count():
            if time.monotonic() > over:
                break
            threads.append(threading.Thread(target=refused, args=(number,)))
            threads[-1].start()
            if number % 20 == 19:
                began = time.monotonic()
                with slots:
                    assert ASKING[kind](site.folder / kind, login, app) == OK
                waits.append(time.monotonic() - began)
            time.sleep(0.01)
        for thread in threads:
            thread.join()
    assert len(answers) > 200
    assert set(answers) <= {FAIL, LATER}
    assert answers.count(FAIL) > 0.9 * len(answers)
    assert sorted(waits)[len(waits) // 2] < 1.0
    assert max(waits) < 3.0  # of which most is this machine's, when it is busy with other tests
