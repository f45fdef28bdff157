"""A real Postfix that asks before it takes a message: sessions that stay open, and what ends them."""

from __future__ import annotations

import contextlib
import re
import signal
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from mail_daemons import Postfix, documented, need_cyrus_sasl, need_postfix, public_folder
from served import CHINESE, WEB, Served

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from site_of_tests import ACTOR, Site, said
from stores_in_trouble import store_away, store_locked

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mail-daemons")]

POLICY = "unix:private/mailauth-policy"
HOSTS = ("postfix", "postfix-cyrus")
each_host = pytest.mark.parametrize("host", HOSTS)


@dataclass
class World(Served):
    """A site, and a Postfix that asks it for logins and before each message."""

    postfix: Postfix

    def session(self, host: str, login: str, password: str, peer: str = "203.0.113.9") -> smtplib.SMTP:
        """A client that has logged in."""
        client = self.postfix.client(host, peer=peer)
        assert said(client, login, password).startswith(b"235 ")
        return client

    def revoke(self, login: str, app: apppasswords.Minted) -> None:
        apppasswords.revoke(self.site.store, login, ids=[app.id], actor=ACTOR)


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    need_postfix()
    need_cyrus_sasl()
    with public_folder() as folder, contextlib.ExitStack() as stack:
        (option,) = re.findall(r"-o (.*)$", documented("  -o smtpd_end_of_data"), re.MULTILINE)
        assert option.endswith(POLICY)
        option += " smtpd_hard_error_limit=1000"  # what is put off counts as an error
        services = {
            "postfix": f"smtpd_sasl_path=private/mailauth {option}",
            "postfix-cyrus": f"smtpd_sasl_type=cyrus smtpd_sasl_path=smtpd {option}",
        }
        postfix = Postfix(folder / "postfix", services, frozenset({"postfix"}))
        postfix.cyrus(folder / "mux")
        private = postfix.queue / "private"
        (folder / "site").mkdir(mode=0o700)
        tables = "".join(
            f'[[bridge]]\nkind = "{kind}"\naddress = "unix:{path}"\nusers = ["postfix"]\nsocket_group = "postfix"\n'
            for kind, path in (
                ("dovecot-auth", private / "mailauth"),
                ("saslauthd", folder / "mux"),
                ("postfix-policy", private / "mailauth-policy"),
            )
        )
        site = Site(folder / "site", sections=f"[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n{tables}")
        world = World(site, postfix)
        world.start()
        stack.callback(world.end)
        stack.enter_context(postfix.running())
        yield world


@pytest.fixture
def world(running: World) -> World:
    if not running.is_up:
        running.start()
    return running


def send(client: smtplib.SMTP) -> int:
    """One message; the code that it was answered with."""
    assert client.rset()[0] == 250  # what was put off before is dropped
    assert client.docmd("MAIL FROM:<alice@example.test>")[0] == 250
    assert client.docmd("RCPT TO:<somebody@elsewhere.test>")[0] == 250
    return client.data(b"Subject: x\r\n\r\nx\r\n")[0]


def assert_ended(client: smtplib.SMTP) -> None:
    """421, and the connection is gone."""
    try:
        assert send(client) == 421
        assert client.sock is not None
        assert client.sock.recv(1) == b""
    finally:
        client.close()


@each_host
def test_revoked_while_the_session_is_open(world: World, host: str) -> None:
    login = world.site.add(f"revoked-{host}@example.test")
    app = world.site.mint(login)
    with world.session(host, login, app.password) as client:
        assert send(client) == 250
        world.revoke(login, app)
        assert_ended(client)
    with world.postfix.client(host) as client:
        assert said(client, login, app.password).startswith(b"535 ")


SWITCHES = [{"enabled": False}, {"client_logon": False}, {"smtp": False}, {"mode": True}]


@each_host
@pytest.mark.parametrize("change", SWITCHES, ids=str)
def test_switched_off_while_the_session_is_open(world: World, host: str, change: dict[str, bool]) -> None:
    login = world.site.add(f"off-{'-'.join(change)}-{host}@example.test", WEB)
    with world.session(host, login, WEB) as client:
        assert send(client) == 250
        world.site.change(login, **change)
        assert_ended(client)


def test_another_device_behind_the_same_address_goes_on(world: World) -> None:
    login = world.site.add("two@example.test")
    phone, laptop = world.site.mint(login, label="phone"), world.site.mint(login, label="laptop")
    with (
        world.session("postfix", login, phone.password) as lost,
        world.session("postfix", login, laptop.password) as own,
    ):
        assert (send(lost), send(own)) == (250, 250)
        world.revoke(login, phone)
        assert send(own) == 250
        assert_ended(lost)
        assert send(own) == 250
    with world.session("postfix", login, laptop.password) as client:
        assert send(client) == 250


@each_host
def test_a_name_that_is_not_ascii(world: World, host: str) -> None:
    login = world.site.add(CHINESE.replace("@", f"{host.count('-')}@"), WEB)
    with world.session(host, login, WEB) as client:
        assert send(client) == 250
        world.site.change(login, enabled=False)
        assert_ended(client)


def test_a_session_from_before_a_new_start(world: World) -> None:
    login = world.site.add("before@example.test")
    app, other = world.site.mint(login, label="lost"), world.site.mint(login, label="kept")
    lost = world.session("postfix", login, app.password, "203.0.113.20")
    kept = world.session("postfix", login, other.password, "203.0.113.21")
    assert world.end() == 0
    with kept, lost:
        world.start()
        assert (send(lost), send(kept)) == (250, 250)
        world.revoke(login, app)
        assert_ended(lost)
        assert send(kept) == 250


def test_what_cannot_be_said_puts_the_message_off_and_the_session_goes_on(world: World) -> None:
    login = world.site.add("later@example.test", WEB)
    with world.session("postfix", login, WEB) as client:
        assert send(client) == 250
        for trouble in (store_away, store_locked):
            with trouble(world.site):
                assert send(client) == 450
        give_up_at = time.monotonic() + 30
        while (code := send(client)) != 250:
            assert code == 450
            assert time.monotonic() < give_up_at
            time.sleep(0.05)
        assert world.process is not None
        world.process.send_signal(signal.SIGSTOP)
        world.end(signal.SIGKILL)
        assert send(client) == 451  # Postfix's own
        world.start()
        assert send(client) == 250


def test_forty_sessions_half_of_them_revoked(world: World) -> None:
    login = world.site.add("many@example.test", max_app_passwords=50)
    apps = [world.site.mint(login, label=str(number)) for number in range(2)]
    with contextlib.ExitStack() as stack:
        sessions = [world.session("postfix", login, apps[number % 2].password) for number in range(40)]
        for client in sessions:
            stack.callback(client.close)
        world.revoke(login, apps[0])
        assert [send(client) for client in sessions] == [421, 250] * 20


def test_nothing_secret_is_in_the_logs(world: World) -> None:
    assert WEB not in world.site.log + world.postfix.log.read_text()
    assert Service.SMTP in world.site.log
