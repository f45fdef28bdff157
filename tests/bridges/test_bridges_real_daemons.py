"""Postfix by UNIX socket and TCP, in its chroot and not, and by Cyrus SASL; and Exim: private instances that ask us.

What their clients must never hear is 535 for anything but a judged password: programs drop a password for it.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import smtplib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from mail_daemons import EXIM_USER, Exim, Postfix, documented, need_cyrus_sasl, need_postfix, public_folder
from served import ALICE, CHINESE, LONG, PATIENCE_S, Served, secrets_of

from site_of_tests import Site, free_ports
from stores_in_trouble import store_away, store_locked

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mail-daemons")]

OTHER_WEB = "\u6b63\u786e\u7684\u5bc6\u7801 p\u00e4ssw\u00f6rd"
LONG_WEB = "x" * 1000  # octets
DEFERRALS = {454, 435}  # Postfix; Exim
HOSTS = ("postfix", "postfix-chroot", "postfix-inet", "postfix-inet-chroot", "postfix-cyrus", "exim")
POSTFIX_HOSTS = HOSTS[:-1]


@dataclass
class World(Served):
    """A site with its bridges, and the mail servers that ask it."""

    folder: Path
    postfix: Postfix
    exim: Exim
    secrets: dict[str, str] = field(default_factory=dict)

    def client(self, host: str, peer: str = "") -> smtplib.SMTP:
        return self.exim.client() if host == "exim" else self.postfix.client(host, peer=peer)


def bridges(folder: Path, queue: Path, port: int) -> str:
    return (
        f'[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{queue}/private/mailauth"\nsocket_group = "postfix"\n'
        f'[[bridge]]\nkind = "dovecot-auth"\naddress = "127.0.0.1:{port}"\nallow_tcp = true\n'
        f'[[bridge]]\nkind = "saslauthd"\naddress = "unix:{folder}/mux"\nusers = ["postfix"]\n'
        'socket_group = "postfix"\n'
        f'[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{folder}/exim.sock"\nusers = ["{EXIM_USER}"]\n'
        f'socket_group = "{EXIM_USER}"\n'
    )


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    need_postfix()
    need_cyrus_sasl()
    with public_folder() as folder, contextlib.ExitStack() as stack:
        (port,) = free_ports(1)
        services = {
            "postfix": "smtpd_sasl_path=private/mailauth",
            "postfix-chroot": "smtpd_sasl_path=private/mailauth",
            "postfix-inet": f"smtpd_sasl_path=inet:127.0.0.1:{port}",
            "postfix-inet-chroot": f"smtpd_sasl_path=inet:127.0.0.1:{port}",
            "postfix-cyrus": "smtpd_sasl_type=cyrus smtpd_sasl_path=smtpd",
        }
        services["postfix-tls"] = " ".join(re.findall(r"^  -o (.*)$", documented("submission inet"), re.MULTILINE))
        certificate = (folder / "site" / "server.pem", folder / "site" / "server.key")
        postfix = Postfix(
            folder / "postfix",
            services,
            frozenset({"postfix-chroot", "postfix-inet-chroot", "postfix-tls"}),
            certificate,
        )
        postfix.cyrus(folder / "mux")
        exim = Exim(folder / "exim", f"{folder}/exim.sock", certificate)
        (folder / "site").mkdir(mode=0o700)
        sections = "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n"
        bridging = bridges(folder, postfix.queue, port)
        site = Site(folder / "site", sections=sections + bridging, timeout_s=20.0)
        world = World(site, folder, postfix, exim)
        world.secrets = secrets_of(site, OTHER_WEB, LONG_WEB)
        world.start()
        stack.callback(world.end)
        stack.enter_context(postfix.running())
        stack.enter_context(exim.running())
        yield world
        for secret in world.secrets.values():
            assert secret not in world.log


@pytest.fixture
def world(running: World) -> Iterator[World]:
    """The same, up and well, whatever the last test has done to it."""
    if not running.is_up:
        running.start()
    yield running


def plain(login: str, password: str) -> str:
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode()


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def ask(client: smtplib.SMTP, login: str, password: str) -> int:
    """One login by SASL PLAIN; the code."""
    return client.docmd("AUTH", f"PLAIN {plain(login, password)}")[0]


def asked(world: World, host: str, login: str, password: str) -> int:
    """The same on a connection of its own."""
    client = world.client(host)
    try:
        return ask(client, login, password)
    finally:
        client.close()


def wait_until(holds: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.05)


each_host = pytest.mark.parametrize("host", HOSTS)


# ---- who gets in


@each_host
def test_both_mechanisms_are_offered(world: World, host: str) -> None:
    with world.client(host) as client:
        assert set(client.esmtp_features["auth"].split()) == {"PLAIN", "LOGIN"}


@each_host
def test_right_wrong_revoked_and_the_web_password_while_the_mode_is_on(world: World, host: str) -> None:
    secrets = world.secrets
    assert asked(world, host, ALICE, secrets["app"]) == 235
    for password in ("wrong", secrets["revoked"], secrets["web"]):
        assert asked(world, host, ALICE, password) == 535
    assert asked(world, host, "nobody@example.test", secrets["app"]) == 535


@each_host
def test_a_wrong_password_may_be_mended_on_the_same_connection(world: World, host: str) -> None:
    with world.client(host) as client:
        assert ask(client, ALICE, "wrong") == 535
        assert ask(client, ALICE, world.secrets["app"]) == 235


@each_host
def test_what_is_not_ascii_gets_in(world: World, host: str) -> None:
    assert asked(world, host, CHINESE, OTHER_WEB) == 235
    assert asked(world, host, CHINESE, OTHER_WEB + "\u00e4") == 535


@each_host
def test_a_password_of_a_thousand_octets(world: World, host: str) -> None:
    assert asked(world, host, LONG, LONG_WEB) == 235
    assert asked(world, host, LONG, LONG_WEB[:-1] + "y") == 535


@each_host
@pytest.mark.parametrize("way", ["python", "plain-bare", "login-bare", "login-with-user"])
def test_every_way_of_asking(world: World, host: str, way: str) -> None:
    password = world.secrets["app"]
    lines = {
        "plain-bare": ["AUTH PLAIN", plain(ALICE, password)],
        "login-bare": ["AUTH LOGIN", b64(ALICE), b64(password)],
        "login-with-user": [f"AUTH LOGIN {b64(ALICE)}", b64(password)],
    }
    with world.client(host) as client:
        if way == "python":
            assert client.login(ALICE, password)[0] == 235
            return
        *before, last = lines[way]
        for line in before:
            assert client.docmd(line)[0] == 334
        assert client.docmd(last)[0] == 235


@each_host
def test_who_takes_it_back_is_no_failure_and_may_try_again(world: World, host: str) -> None:
    with world.client(host) as client:
        for _ in range(2 if host == "exim" else 18):  # 18 are more than are remembered, and than Exim bears
            assert client.docmd("AUTH PLAIN")[0] == 334
            assert client.docmd("*")[0] == 501
        assert ask(client, ALICE, world.secrets["app"]) == 235


@each_host
@pytest.mark.parametrize(
    "line", ["AUTH PLAIN =", "AUTH PLAIN YWxpY2U", "AUTH PLAIN YWxpY2U=", "AUTH PLAIN ####", "AUTH CRAM-MD5"]
)
def test_what_is_malformed_is_refused_and_the_connection_goes_on(world: World, host: str, line: str) -> None:
    with world.client(host) as client:
        code = client.docmd(line)[0]
        assert code in {501, 504, 535} or (code == 454 and host == "postfix-cyrus") or (host, code) == ("exim", 435), (
            code
        )
        assert ask(client, ALICE, world.secrets["app"]) == 235


@each_host
@pytest.mark.parametrize(
    "name",
    [
        *(
            "a\tuser=alice@example.test",
            "a\nOK\t1\tuser=alice@example.test",
            "%s%n@example.test",
            "${if",
            "\x01t@e.test",
        ),
        *("*", "*@example.test", "*proxy"),
    ],
)
def test_no_name_means_more_than_a_name(world: World, host: str, name: str) -> None:
    for login in (name, f"{ALICE}{name}"):
        with world.client(host) as client:
            assert ask(client, login, world.secrets["app"]) in {535, 501}
            assert ask(client, ALICE, world.secrets["app"]) == 235


@pytest.mark.parametrize("host", POSTFIX_HOSTS)
def test_the_sender_is_the_account_itself_and_the_client_is_named(world: World, host: str) -> None:
    with world.client(host, peer="203.0.113.9") as client:
        assert ask(client, "Alice@EXAMPLE.test", world.secrets["app"]) == 235
        client.sendmail(ALICE, "somebody@elsewhere.test", "Subject: x\r\n\r\nx\r\n")
    typed = "Alice@EXAMPLE.test" if host == "postfix-cyrus" else ALICE  # libsasl keeps what was typed
    wait_until(lambda: f"sasl_username={typed}" in world.postfix.log.read_text())
    named = "peer=bridge:saslauthd" if host == "postfix-cyrus" else "peer=203.0.113.9"
    wait_until(lambda: re.search(r"login=alice@example.test " + named + r" tls=\w+ verdict=accept", world.log))


def test_where_tls_comes_first_we_are_told_that_it_is_there(world: World) -> None:
    with world.postfix.client("postfix-tls") as client:
        assert "auth" not in client.esmtp_features
        assert client.starttls(context=world.site.client_tls)[0] == 220
        client.ehlo()
        assert ask(client, ALICE, world.secrets["app"]) == 235
    wait_until(lambda: re.search(r"login=alice@example.test peer=127.0.0.1 tls=yes verdict=accept", world.log))


@each_host
def test_forty_at_once_half_of_them_wrong(world: World, host: str) -> None:
    def one(number: int) -> int:
        return asked(world, host, ALICE, world.secrets["app"] if number % 2 else f"wrong {number}")

    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(one, range(40))) == [535, 235] * 20


# ---- when we cannot say


def everybody(world: World, hosts: tuple[str, ...] = HOSTS) -> Mapping[tuple[str, str], int]:
    """What every host says to a right password and to a wrong one, all asked at once."""
    cases = [(host, name) for host in hosts for name in ("app", "wrong")]
    with ThreadPoolExecutor(len(cases)) as threads:
        codes = threads.map(lambda case: asked(world, case[0], ALICE, world.secrets.get(case[1], "wrong")), cases)
        return dict(zip(cases, codes, strict=True))


def assert_judged_soon(world: World) -> None:
    """Nobody is called wrong until it is over."""
    right = {(host, name): 235 if name == "app" else 535 for host in HOSTS for name in ("app", "wrong")}
    give_up_at = time.monotonic() + PATIENCE_S
    while (codes := everybody(world)) != right:
        for case, code in codes.items():
            assert code == right[case] or code in DEFERRALS, (case, code)
        assert time.monotonic() < give_up_at


def test_while_the_store_is_away_everybody_is_told_to_come_later(world: World) -> None:
    with store_away(world.site):
        codes = everybody(world)
        assert set(codes.values()) <= DEFERRALS, codes
    assert_judged_soon(world)


@each_host
def test_killed_while_a_password_is_judged(world: World, host: str) -> None:
    """And then missing, and then back: on one connection of the client's."""
    with contextlib.closing(world.client(host)) as client, ThreadPoolExecutor(1) as threads:
        wait_until(lambda: judged_or_later(client, "wrong", 535))
        assert world.process is not None
        world.process.send_signal(signal.SIGSTOP)
        answer = threads.submit(ask, client, ALICE, world.secrets["app"])
        time.sleep(0.5)  # so that it has asked; were it later, it would meet the second case
        assert not answer.done()
        world.end(signal.SIGKILL)
        assert answer.result(PATIENCE_S) in DEFERRALS
        assert ask(client, ALICE, world.secrets["app"]) in DEFERRALS
        world.restart()
        wait_until(lambda: judged_or_later(client, "wrong", 535))
        assert ask(client, ALICE, world.secrets["app"]) == 235


def judged_or_later(client: smtplib.SMTP, password: str, code: int) -> bool:
    """By TCP, Postfix finds out at its next login only that the connection was cut off by force."""
    said = ask(client, ALICE, password)
    assert said in {code, *DEFERRALS}
    return said == code


def test_a_new_start_costs_no_login_at_hosts_that_are_connected(world: World) -> None:
    """At a clean end we cut connections so that Postfix hears of it by TCP, too."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(world.client(host))) for host in HOSTS]
        for client in clients:
            wait_until(lambda client=client: judged_or_later(client, "wrong", 535))
        world.restart()
        for host, client in zip(HOSTS, clients, strict=True):
            assert ask(client, ALICE, world.secrets["app"]) == 235, host


@pytest.mark.parametrize("host", ["postfix", "postfix-chroot", "postfix-inet"])
def test_a_daemon_that_hangs_costs_ten_seconds_and_no_password(world: World, host: str) -> None:
    with contextlib.closing(world.client(host)) as client:
        wait_until(lambda: judged_or_later(client, "wrong", 535))
        assert world.process is not None
        world.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert ask(client, ALICE, world.secrets["app"]) in DEFERRALS
        assert time.monotonic() - began > 5
        world.process.send_signal(signal.SIGCONT)
        wait_until(lambda: judged_or_later(client, world.secrets["app"], 235))


def test_while_the_store_does_not_answer_we_do_before_the_host_gives_up(world: World) -> None:
    """A store that is locked is waited for 20 seconds; Postfix waits for us no longer than ten."""
    with store_locked(world.site):
        began = time.monotonic()
        codes = everybody(world)
        took_s = time.monotonic() - began
    assert set(codes.values()) <= DEFERRALS, codes
    assert took_s < 9.9
    assert_judged_soon(world)


def test_the_end_of_the_service_takes_its_sockets_away(world: World) -> None:
    sockets = [world.postfix.queue / "private" / "mailauth", world.folder / "mux", world.folder / "exim.sock"]
    assert all(path.is_socket() and path.stat().st_mode & 0o777 == 0o660 for path in sockets)
    assert world.end() == 0
    assert not any(path.exists() for path in sockets)
    assert set(everybody(world, ("postfix-cyrus", "exim")).values()) <= DEFERRALS
    assert os.listdir(world.folder) != []  # noqa: PTH208


def test_the_password_is_nowhere_in_the_hosts_logs(world: World) -> None:
    said = world.postfix.log.read_text() + world.exim.log.read_text()
    for secret in world.secrets.values():
        assert secret not in said
        assert b64(secret) not in said


def test_testsaslauthd_of_cyrus_sasl_understands_us(world: World) -> None:
    """By its command line, which takes the password as an argument: for tests only."""
    words = ["testsaslauthd", "-f", world.folder / "mux", "-s", "imap", "-u", "alice", "-r", "example.test", "-p"]
    for password, code, said in ((world.secrets["app"], 0, b"OK"), ("wrong", 255, b"NO")):
        done = subprocess.run([*words, password], capture_output=True, check=False)
        assert (done.returncode, said in done.stdout) == (code, True), done
