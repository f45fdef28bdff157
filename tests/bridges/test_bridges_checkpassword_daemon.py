"""A real Dovecot 2.3 that starts `mailauth checkpassword` for each login, set up as docs/bridges.md says."""

from __future__ import annotations

import contextlib
import imaplib
import poplib
import pwd
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from http_daemons import Daemon, Dovecot, need_dovecot
from mail_daemons import documented, public_folder
from served import ALICE, CHINESE, LONG, WEB, Served, secrets_of

from mailauth.attempt import Service
from site_of_tests import DEFERRED, REFUSED, Site, said
from stores_in_trouble import store_away, store_locked

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mail-daemons")]

IMAP, POP3 = Service.IMAP, Service.POP3
ENTERED = {IMAP: b"OK ", POP3: b"+OK"}
OTHER_WEB = "\u6b63\u786e\u7684\u5bc6\u7801 p\u00e4ss"
LONG_WEB = "x" * (509 - len(LONG))  # as much as Dovecot hands over
each_service = pytest.mark.parametrize("service", [IMAP, POP3], ids=str)


@dataclass
class World(Served):
    dovecot: Daemon
    app: str
    revoked: str

    def ask(self, service: Service, login: str, password: str) -> bytes:
        """What is answered to one login on a connection of its own."""
        port = self.dovecot.ports[service]
        client: imaplib.IMAP4 | poplib.POP3
        client = imaplib.IMAP4("localhost", port) if service is IMAP else poplib.POP3("localhost", port)
        try:
            return said(client, login, password)
        finally:
            (client.shutdown if isinstance(client, imaplib.IMAP4) else client.close)()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    need_dovecot()
    with public_folder() as folder, contextlib.ExitStack() as stack:
        (folder / "site").mkdir(mode=0o755)
        table = f'[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{folder}/auth"\n'
        site = Site(folder / "site", sections=f"[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n{table}")
        secrets = secrets_of(site, OTHER_WEB, LONG_WEB)
        passdb = documented("passdb {\n  driver = checkpassword").partition("userdb {")[0]
        passdb = passdb.replace("/usr/bin/mailauth", f"{sys.executable} -m mailauth")
        passdb = passdb.replace("/run/mailauth/auth", f"{folder}/auth")
        as_root = "service auth {\n  user = root\n}\n"  # who may enter this project's folder
        dovecot = Dovecot(folder / "dovecot", (IMAP, POP3), passdb + as_root)
        whose = f"uid={pwd.getpwnam('nobody').pw_uid} gid={pwd.getpwnam('nobody').pw_gid} home="
        dovecot.config.write_text(dovecot.config.read_text().replace("args = home=", f"args = {whose}"))
        world = World(site, dovecot, secrets["app"], secrets["revoked"])
        world.start()
        stack.callback(world.end)
        stack.enter_context(dovecot.running())
        yield world
        logs = site.log + dovecot.log.read_text(errors="replace")
        for secret in (world.app, world.revoked, WEB, OTHER_WEB):
            assert secret not in logs


@each_service
def test_right_wrong_revoked_and_the_web_password_while_the_mode_is_on(world: World, service: Service) -> None:
    assert world.ask(service, ALICE, world.app).startswith(ENTERED[service])
    tries = [(ALICE, "wrong"), (ALICE, world.revoked), (ALICE, WEB), ("nobody@example.test", WEB), ("*", world.app)]
    for login, password in tries:
        assert world.ask(service, login, password) == REFUSED[service]
    world.site.logged(f"login service={service} login={ALICE} peer=127.0.0.1 tls=no verdict=accept")


@each_service
def test_what_is_not_ascii_and_what_is_long(world: World, service: Service) -> None:
    for login, password in ((CHINESE, OTHER_WEB), (LONG, LONG_WEB)):
        assert world.ask(service, login, password).startswith(ENTERED[service])
        assert world.ask(service, login, password[:-1] + "y") == REFUSED[service]
    assert world.ask(service, LONG, LONG_WEB + "x") == REFUSED[service]  # which Dovecot says by itself


@each_service
def test_forty_at_once_half_of_them_wrong(world: World, service: Service) -> None:
    def one(number: int) -> bytes:
        return world.ask(service, ALICE, world.app if number % 2 else f"wrong {number}")

    with ThreadPoolExecutor(40) as threads:
        heard = list(threads.map(one, range(40)))
    assert heard[::2] == [REFUSED[service]] * 20
    assert all(reply.startswith(ENTERED[service]) for reply in heard[1::2]), heard[1::2]


@pytest.mark.parametrize("trouble", [store_away, store_locked])
def test_a_store_in_trouble_is_no_wrong_password(world: World, trouble) -> None:
    with trouble(world.site), ThreadPoolExecutor(4) as threads:
        tries = [(service, password) for service in (IMAP, POP3) for password in (world.app, "wrong")]
        heard = list(threads.map(lambda one: world.ask(one[0], ALICE, one[1]), tries))
    for (service, _), reply in zip(tries, heard, strict=True):
        assert reply.startswith(DEFERRED[service])
    give_up_at = time.monotonic() + 30
    while not (reply := world.ask(IMAP, ALICE, world.app)).startswith(ENTERED[IMAP]):
        assert reply.startswith(DEFERRED[IMAP])
        assert time.monotonic() < give_up_at


@each_service
def test_a_server_that_is_killed_is_no_wrong_password(world: World, service: Service) -> None:
    """And then missing, and then back."""
    assert world.process is not None
    world.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as threads:
        answer = threads.submit(world.ask, service, ALICE, "wrong")
        time.sleep(0.5)  # so that it has asked; were it later, it would meet the second case
        assert not answer.done()
        world.end(signal.SIGKILL)
        assert answer.result(60).startswith(DEFERRED[service])
    assert world.ask(service, ALICE, "wrong").startswith(DEFERRED[service])
    world.start()
    assert world.ask(service, ALICE, "wrong") == REFUSED[service]
