"""nginx's mail proxy, and Dovecot by grant, Lua and auth-policy: private instances, as the docs have them.

What their clients must never hear is AUTHENTICATIONFAILED, [AUTH] or 535 for anything but a judged password.
"""

from __future__ import annotations

import contextlib
import imaplib
import json
import poplib
import re
import signal
import smtplib
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import pytest
from http_daemons import Daemon, Dovecot, Nginx, need_dovecot, need_nginx
from mail_daemons import documented, public_folder
from served import ALICE, CHINESE, LONG, PATIENCE_S, WEB, Served, secrets_of

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from mailauth.guessing import SOURCE
from site_of_tests import DEFERRED, REFUSED, WAYS, WRONG_PASSWORD_WORDS, Client, Site, free_ports, said
from stores_in_trouble import store_away, store_locked

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mail-daemons")]

IMAP, POP3, SMTP = Service
EXPIRED = "expired@example.test"
OTHER_WEB = '\u6b63\u786e\u7684\u5bc6\u7801 p\u00e4ss%w+rd&="\\'
LONG_WEB = "x" * 1000  # octets
TOKEN = "a-token-that-every-bridge-here-has"
CASES = [("nginx", service) for service in Service] + [(h, s) for h in ("grant", "lua") for s in (IMAP, POP3)]
ENTERED = {IMAP: b"OK ", POP3: b"+OK", SMTP: b"235 2."}  # nginx has words of its own for SMTP

each_case = pytest.mark.parametrize(("host", "service"), CASES, ids=str)
each_host = pytest.mark.parametrize("host", ["nginx", "grant", "lua"])


@dataclass
class World(Served):
    """A site with its bridges, and the hosts that ask it."""

    hosts: dict[str, Daemon] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def client(self, host: str, service: Service) -> Iterator[Client]:
        """One, connected; at the end it leaves without a goodbye. nginx's have TLS."""
        port, tls = self.hosts[host].ports[service], self.site.client_tls
        secure = host.startswith("nginx")
        client: Client
        if service is IMAP:
            client = (
                imaplib.IMAP4_SSL("localhost", port, ssl_context=tls, timeout=PATIENCE_S)
                if secure
                else imaplib.IMAP4("localhost", port, timeout=PATIENCE_S)
            )
        elif service is POP3:
            client = (
                poplib.POP3_SSL("localhost", port, context=tls, timeout=PATIENCE_S)
                if secure
                else poplib.POP3("localhost", port, timeout=PATIENCE_S)
            )
        else:
            client = smtplib.SMTP_SSL("localhost", port, context=tls, timeout=PATIENCE_S)
        try:
            yield client
        finally:
            (client.shutdown if isinstance(client, imaplib.IMAP4) else client.close)()

    def ask(self, host: str, service: Service, login: str, password: str, way: str = "sasl") -> bytes:
        """What is answered to one login on a connection of its own; "gone": it ended instead."""
        try:
            with self.client(host, service) as client:
                return WAYS[way](client, login, password)
        except (OSError, EOFError, smtplib.SMTPServerDisconnected, imaplib.IMAP4.abort) as gone:
            return b"gone: " + repr(gone).encode()


def bridge(kind: str, address: str, keys: str = "") -> str:
    return f'[[bridge]]\nkind = "{kind}"\naddress = "{address}"\ntoken_file = "token"\n{keys}'


def backends(site: Site) -> str:
    return ", ".join(f'"{service} 127.0.0.1:{site.ports[service, "off"]}"' for service in Service)


def served(folder: Path, lua: int, grant: int) -> Site:
    """A site with the bridges; its back ends are its own listeners."""
    site = Site(folder, tls_off=True, timeout_s=20.0)
    (folder / "token").write_text(f"the token that was good before\n{TOKEN}\n")
    tables = bridge(
        "nginx",
        f"unix:{folder.parent}/nginx.sock",
        f'socket_group = "www-data"\nwait_s = 1\nbackends = [{backends(site)}]\n',
    )
    master = f'wait_s = 1\nbackends = [{backends(site)}]\npassword_file = "master"\nmaster_for = ["{CHINESE}"]\n'
    tables += bridge("nginx", f"unix:{folder.parent}/master.sock", f'socket_group = "www-data"\n{master}')
    tables += bridge("dovecot-grant", f"127.0.0.1:{grant}", "allow_tcp = true\n")
    tables += bridge("dovecot-lua", f"127.0.0.1:{lua}", "allow_tcp = true\n")
    site.config.write_text(site.config.read_text() + tables)
    return site


def nginx(folder: Path, name: str, services: tuple[Service, ...] = tuple(Service)) -> Nginx:
    changes = {
        "unix:/run/mailauth/nginx:": f"unix:{folder}/{name}.sock:",
        "TOKEN": TOKEN,
        "/etc/ssl/mail.pem": f"{folder}/site/server.pem",
        "/etc/ssl/mail.key": f"{folder}/site/server.key",
    }
    return Nginx(folder / f"nginx-{name}", services, changes)


def by_grant(folder: Path, port: int) -> Dovecot:
    file = folder / "grant.conf.ext"
    page = "hosts/dovecot.md"
    file.write_text(documented("grant_url", page).replace(":8411/", f":{port}/").replace("= TOKEN", f"= {TOKEN}"))
    passdb = documented("passdb {\n  driver = oauth2", page).replace("/etc/dovecot/mailauth-grant.conf.ext", str(file))
    return Dovecot(folder / "grant", (IMAP, POP3), passdb)


def by_lua(folder: Path, port: int, more: str = "") -> Dovecot:
    script = folder / "mailauth.lua"
    script.write_text((resources.files("mailauth.bridges") / "dovecot.lua").read_text())
    (folder / "lua.token").write_text(TOKEN + "\n")
    text = documented("mailauth = {").replace(":8412/", f":{port}/").replace("/etc/dovecot/mailauth.lua", str(script))
    (folder / "settings.lua").write_text(text.replace("/etc/mailauth/dovecot-lua.token", f"{folder}/lua.token"))
    passdb = documented("passdb {\n  driver = lua").replace(
        "/etc/dovecot/mailauth-settings.lua", f"{folder}/settings.lua"
    )
    return Dovecot(folder / "lua", (IMAP, POP3), passdb + more)


@pytest.fixture(scope="module")
def running() -> Iterator[World]:
    need_nginx()
    need_dovecot()
    with public_folder() as folder, contextlib.ExitStack() as stack:
        (folder / "site").mkdir(mode=0o755)
        grant, lua = free_ports(2)
        site = served(folder / "site", lua, grant)
        world = World(site)
        world.secrets = secrets_of(site, OTHER_WEB, LONG_WEB)
        site.add("off@example.test", WEB, client_logon=False)
        (site.folder / "master").write_text(site.mint(CHINESE, label="master").password + "\n")
        world.start()
        stack.callback(world.end)
        world.hosts = {
            "nginx": nginx(folder, "nginx"),
            "nginx-master": nginx(folder, "master", (IMAP,)),
            "grant": by_grant(folder, grant),
            "lua": by_lua(folder, lua),
        }
        for daemon in world.hosts.values():
            stack.enter_context(daemon.running())
        yield world
        logs = world.log + "".join(daemon.log.read_text(errors="replace") for daemon in world.hosts.values())
        for secret in (*world.secrets.values(), TOKEN):
            assert secret not in logs


@pytest.fixture
def world(running: World) -> World:
    """The same, up and well, whatever the last test has done to it."""
    if not running.is_up:
        running.start()
    return running


def wait_until(holds: Callable[[], object]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up_at, "it did not come"
        time.sleep(0.05)


def assert_not_judged(reply: bytes, service: Service) -> None:
    assert not reply.startswith(ENTERED[service]), reply
    assert not any(words in reply for words in WRONG_PASSWORD_WORDS), reply


# ---- who gets in


@each_case
@pytest.mark.parametrize("way", WAYS)
def test_who_has_the_right_password_gets_in(world: World, host: str, service: Service, way: str) -> None:
    grouped = "-".join(re.findall("....", world.secrets["app"]))
    for password in (world.secrets["app"], grouped):
        assert world.ask(host, service, ALICE, password, way).startswith(ENTERED[service])


@each_case
@pytest.mark.parametrize("way", WAYS)
def test_wrong_revoked_and_the_web_password_while_the_mode_is_on(
    world: World, host: str, service: Service, way: str
) -> None:
    tries = [(ALICE, "wrong"), (ALICE, world.secrets["revoked"]), (ALICE, WEB), ("off@example.test", WEB)]
    tries.append(("nobody@example.test", world.secrets["app"]))
    with ThreadPoolExecutor(len(tries)) as threads:
        heard = threads.map(lambda shown: world.ask(host, service, *shown, way), tries)
    assert list(heard) == [REFUSED[service]] * len(tries)


@each_case
def test_a_wrong_password_may_be_mended_on_the_same_connection(world: World, host: str, service: Service) -> None:
    with world.client(host, service) as client:
        assert said(client, ALICE, "wrong") == REFUSED[service]
        assert said(client, ALICE, world.secrets["app"]).startswith(ENTERED[service])


@each_case
def test_what_is_not_ascii_gets_in(world: World, host: str, service: Service) -> None:
    assert world.ask(host, service, CHINESE, OTHER_WEB).startswith(ENTERED[service])
    assert world.ask(host, service, CHINESE, OTHER_WEB + "\u00e4") == REFUSED[service]


@each_case
def test_a_password_of_a_thousand_octets(world: World, host: str, service: Service) -> None:
    heard = [world.ask(host, service, LONG, password) for password in (LONG_WEB, LONG_WEB[:-1] + "y")]
    if (host, service) == ("nginx", POP3):
        assert heard == [b"-ERR invalid command"] * 2  # its buffer for a line of POP3 is smaller
        return
    assert heard[0].startswith(ENTERED[service])
    assert heard[1] == REFUSED[service]


NAMES = [
    "a*b",
    "%s%n@example.test",
    f"{ALICE}*proxy",
    f"{ALICE}\tuser=x",
    f"{ALICE}\r\nAuth-Status: OK",
    "\x01t@e.test",
]


@each_case
@pytest.mark.parametrize("name", NAMES)
def test_no_name_means_more_than_a_name(world: World, host: str, service: Service, name: str) -> None:
    reply = world.ask(host, service, name, world.secrets["app"])
    assert not reply.startswith(ENTERED[service])
    assert world.ask(host, service, ALICE, world.secrets["app"]).startswith(ENTERED[service])


@each_case
def test_who_takes_it_back_is_no_failure_and_may_try_again(world: World, host: str, service: Service) -> None:
    words = {IMAP: b"x AUTHENTICATE PLAIN\r\n", POP3: b"AUTH PLAIN\r\n", SMTP: b"AUTH PLAIN\r\n"}
    with world.client(host, service) as client:
        sock = client.sock
        assert sock is not None
        if isinstance(client, smtplib.SMTP):
            client.ehlo()
        file = sock.makefile("rb")
        sock.sendall(words[service])
        assert file.readline().startswith((b"+ ", b"334 "))
        sock.sendall(b"*\r\n")
        assert_not_judged(file.readline(), service)
        assert said(client, ALICE, world.secrets["app"]).startswith(ENTERED[service])


@each_case
def test_forty_at_once_half_of_them_wrong(world: World, host: str, service: Service) -> None:
    def one(number: int) -> bytes:
        return world.ask(host, service, ALICE, world.secrets["app"] if number % 2 else f"wrong {number}")

    with ThreadPoolExecutor(40) as threads:
        heard = list(threads.map(one, range(40)))
    assert heard[::2] == [REFUSED[service]] * 20
    assert all(reply.startswith(ENTERED[service]) for reply in heard[1::2]), heard[1::2]


@each_host
def test_the_client_itself_is_named_and_its_service(world: World, host: str) -> None:
    """From another address of this machine, so that it cannot be taken for the host's own."""
    port = world.hosts[host].ports[IMAP]
    with contextlib.ExitStack() as stack:
        sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20, ("127.0.0.7", 0)))
        if host == "nginx":
            sock = stack.enter_context(world.site.client_tls.wrap_socket(sock, server_hostname="localhost"))
        sock.sendall(f"a LOGIN {ALICE} {world.secrets['app']}\r\n".encode())
        file = sock.makefile("rb")
        while not (line := file.readline()).startswith(b"a "):
            assert line
    assert line.startswith(b"a OK")
    tls = "yes" if host == "nginx" else "no"
    wait_until(lambda: f"service=imap login={ALICE} peer=127.0.0.7 tls={tls} verdict=accept" in world.log)


def test_the_back_end_is_told_another_password(world: World) -> None:
    """CHINESE shows its web password, and our listener behind nginx sees an app password of the account's."""
    with world.client("nginx-master", IMAP) as client:
        assert said(client, CHINESE, OTHER_WEB).startswith(b"OK ")
        assert isinstance(client, imaplib.IMAP4)
        assert client.select()[0] == "OK"
    assert world.ask("nginx-master", IMAP, CHINESE, "wrong") == REFUSED[IMAP]
    assert world.ask("nginx-master", IMAP, ALICE, world.secrets["app"]).startswith(b"OK ")
    (minted,) = apppasswords.listed(world.site.store, CHINESE)
    login = re.escape(f'"{CHINESE.encode("ascii", "backslashreplace").decode()}"')
    wait_until(lambda: re.search(rf"login={login} .*credential=web", world.log))
    wait_until(lambda: re.search(rf"login={login} .*credential={minted.id} ", world.log))


def test_lua_tells_expired_and_switched_off_apart(world: World) -> None:
    world.site.add(EXPIRED)
    yesterday = time.time() - 86_400.0
    expired = world.site.mint(EXPIRED, now=yesterday, expires_at=yesterday + 60.0).password
    reply = world.ask("lua", IMAP, EXPIRED, expired)
    assert reply.startswith(b"NO [EXPIRED]")
    assert world.ask("grant", IMAP, EXPIRED, expired) == REFUSED[IMAP]
    log = world.hosts["lua"].log
    world.ask("lua", IMAP, "off@example.test", WEB)
    wait_until(lambda: "user_disabled" in log.read_text())


@pytest.mark.parametrize("host", ["grant", "lua"])
def test_dovecot_knows_which_app_password_it_was(world: World, host: str) -> None:
    assert world.ask(host, IMAP, ALICE, world.secrets["app"]).startswith(b"OK ")
    app_id = next(one.id for one in apppasswords.listed(world.site.store, ALICE) if one.label == "test")
    wait_until(lambda: re.search(rf"\buser_app={app_id}\b", world.hosts[host].log.read_text(errors="replace")))


def test_another_token_is_no_wrong_password(world: World) -> None:
    """And the old one, which stands in the file too, is good until it is taken away."""
    file = world.site.folder / "token"
    before = file.read_text()
    file.write_text("something else altogether\n")
    try:
        for host, service in CASES:
            assert world.ask(host, service, ALICE, world.secrets["app"]).startswith(DEFERRED[service]), host
    finally:
        file.write_text(before)
    for host, service in CASES:
        assert world.ask(host, service, ALICE, world.secrets["app"]).startswith(ENTERED[service]), host
    assert "shows another token" in world.log


# ---- when we cannot say


def everybody(world: World) -> list[tuple[str, Service, str, bytes]]:
    """What every host says to a right password and to a wrong one, all asked at once."""
    asked = [(host, service, name) for host, service in CASES for name in ("app", "wrong")]
    with ThreadPoolExecutor(len(asked)) as threads:
        heard = threads.map(lambda one: world.ask(one[0], one[1], ALICE, world.secrets.get(one[2], "wrong")), asked)
        return [(*one, reply) for one, reply in zip(asked, heard, strict=True)]


def assert_judged_soon(world: World) -> None:
    """Nobody is called wrong until it is over."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        later = False
        for _, service, name, reply in everybody(world):
            right = reply == REFUSED[service] if name == "wrong" else reply.startswith(ENTERED[service])
            if not right:
                assert_not_judged(reply, service)
                later = True
        if not later:
            return
        assert time.monotonic() < give_up_at


def test_while_the_store_is_away_everybody_is_told_to_come_later(world: World) -> None:
    with store_away(world.site):
        for host, service, name, reply in everybody(world):
            assert reply.startswith(DEFERRED[service]), (host, service, name, reply)
    assert_judged_soon(world)


def test_while_the_store_does_not_answer_we_do(world: World) -> None:
    """A store that is locked is waited for 20 seconds; hosts wait for us eight."""
    with store_locked(world.site):
        heard = everybody(world)
    for host, service, name, reply in heard:
        assert reply.startswith(DEFERRED[service]), (host, service, name, reply)
    assert_judged_soon(world)


@each_case
def test_killed_while_a_password_is_judged(world: World, host: str, service: Service) -> None:
    """And then missing, and then back."""
    with ThreadPoolExecutor(1) as threads:
        assert world.process is not None
        assert world.ask(host, service, ALICE, world.secrets["app"]).startswith(ENTERED[service])
        world.process.send_signal(signal.SIGSTOP)
        answer = threads.submit(world.ask, host, service, ALICE, world.secrets["app"])
        time.sleep(0.5)  # so that it has asked; were it later, it would meet the second case
        assert not answer.done()
        world.end(signal.SIGKILL)
        assert_not_judged(answer.result(PATIENCE_S), service)
    assert_not_judged(world.ask(host, service, ALICE, world.secrets["app"]), service)
    world.start()
    wait_until(lambda: world.ask(host, service, ALICE, world.secrets["app"]).startswith(ENTERED[service]))


def test_a_daemon_that_hangs_costs_time_and_no_password(world: World) -> None:
    assert world.process is not None
    world.process.send_signal(signal.SIGSTOP)
    try:
        for _, service, _, reply in everybody(world):
            assert_not_judged(reply, service)
    finally:
        world.process.send_signal(signal.SIGCONT)
    assert_judged_soon(world)


def test_a_new_start_costs_no_login(world: World) -> None:
    """Dovecot's connections that stay open are ended, and it makes new ones."""
    for _ in range(2):
        world.restart()
        for host, service in CASES:
            assert world.ask(host, service, ALICE, world.secrets["app"]).startswith(ENTERED[service]), (host, service)


# ---- what is open at Dovecot when a password is revoked


@dataclass
class Kicked:
    """A site whose Dovecot can be told to end sessions, and one that is not there."""

    site: Site
    world: World


@pytest.fixture
def away() -> Iterator[Kicked]:
    """The same, not served yet."""
    need_dovecot()
    with public_folder() as folder:
        (folder / "site").mkdir(mode=0o755)
        port, doveadm = free_ports(2)
        keys = f'allow_tcp = true\ndoveadm_url = "http://127.0.0.1:{doveadm}"\ndoveadm_key_file = "doveadm.key"\n'
        site = Site(
            folder / "site", sections=f"[throttle]\nenabled = false\n{bridge('dovecot-lua', f'127.0.0.1:{port}', keys)}"
        )
        (site.folder / "token").write_text(TOKEN + "\n")
        (site.folder / "doveadm.key").write_text("a key of doveadm's\n")
        site.add(ALICE, WEB)
        site.add("bob@example.test", WEB)
        api = documented("doveadm_api_key").replace("KEY", "a key of doveadm's").replace("8414", str(doveadm))
        yield Kicked(site, World(site, {"lua": by_lua(folder, port, api)}))


@pytest.fixture
def kicked(away: Kicked) -> Iterator[Kicked]:
    with away.site.serving():
        yield away


def said_next(client: imaplib.IMAP4) -> bytes:
    """The next line, but for the sign of life that Dovecot gives to IDLE, at a time that hangs on the login."""
    line = client.readline()
    while line == b"* OK Still here\r\n":
        line = client.readline()
    return line


def idling(client: Client, login: str, password: str) -> None:
    assert isinstance(client, imaplib.IMAP4)
    assert said(client, login, password).startswith(b"OK ")
    client.select()
    client.send(b"x IDLE\r\n")
    assert said_next(client).startswith(b"+ ")


def test_a_revoked_password_ends_what_is_open_at_dovecot(kicked: Kicked) -> None:
    site, world = kicked.site, kicked.world
    app, other = site.mint(ALICE, label="phone"), site.mint("bob@example.test")
    with world.hosts["lua"].running(), contextlib.ExitStack() as stack:
        imap, pop3, bobs = (stack.enter_context(world.client("lua", service)) for service in (IMAP, POP3, IMAP))
        idling(imap, ALICE, app.password)
        idling(bobs, "bob@example.test", other.password)
        assert said(pop3, ALICE, app.password).startswith(b"+OK")
        revoked = site.run("app-password", "revoke", ALICE, "--label", "phone")
        assert revoked.returncode == 0, revoked.stderr
        assert re.search(f"ended what was open of {ALICE} from (127.0.0.1|::1), by whatever password", revoked.stderr)
        assert isinstance(imap, imaplib.IMAP4)
        assert said_next(imap).startswith(b"* BYE ")
        assert isinstance(pop3, poplib.POP3)
        assert pop3.file.readline().startswith(b"-ERR [SYS/TEMP]")
        assert world.ask("lua", IMAP, ALICE, app.password) == REFUSED[IMAP]
        assert isinstance(bobs, imaplib.IMAP4)
        bobs.send(b"DONE\r\n")
        assert said_next(bobs).startswith(b"x OK")
        nobody = site.run("account", "set", ALICE, "--mode", "on")
        assert nobody.returncode == 0
        assert "Dovecot" not in nobody.stderr  # there was nothing to end


class FromThere(imaplib.IMAP4):
    """A client whose address is this one."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        super().__init__("127.0.0.1", port, timeout=PATIENCE_S)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout, source_address=(self.address, 0))


@contextlib.contextmanager
def devices(world: World, *addresses: str) -> Iterator[list[FromThere]]:
    """One client from each of these; at the end they leave without a goodbye."""
    with contextlib.ExitStack() as stack:
        clients = []
        for address in addresses:
            clients.append(FromThere(address, world.hosts["lua"].ports[IMAP]))
            stack.callback(clients[-1].shutdown)
        yield clients


PHONE_AT, LAPTOP_AT = "127.0.0.2", "127.0.0.3"


def assert_stays(client: imaplib.IMAP4) -> None:
    client.send(b"DONE\r\n")
    assert said_next(client).startswith(b"x OK")


def comes_in(world: World, address: str, login: str, password: str) -> bool:
    """Whether one from there gets in and stays: within a second of the change he may be ended once more."""
    with devices(world, address) as (client,):
        try:
            idling(client, login, password)
            assert_stays(client)
        except (OSError, imaplib.IMAP4.abort, AssertionError):
            return False
    return True


@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "when the audit log alone knows"])
def test_at_dovecot_2_3_devices_are_told_apart_by_their_addresses(away: Kicked, restarted: bool) -> None:
    site, world = away.site, away.world
    phone, laptop = site.mint(ALICE, label="phone"), site.mint(ALICE, label="laptop")
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as served:
        stack.enter_context(world.hosts["lua"].running())
        there, elsewhere, bobs = stack.enter_context(devices(world, PHONE_AT, LAPTOP_AT, PHONE_AT))
        served.enter_context(site.serving())
        idling(there, ALICE, phone.password)
        idling(elsewhere, ALICE, laptop.password)
        idling(bobs, "bob@example.test", WEB)
        if restarted:
            served.close()
            served.enter_context(site.serving())
        revoked = site.run("app-password", "revoke", ALICE, "--label", "phone")
        assert revoked.returncode == 0, revoked.stderr
        assert f"ended what was open of {ALICE} from {PHONE_AT}, by whatever password" in revoked.stderr
        assert said_next(there).startswith(b"* BYE ")
        assert_stays(elsewhere)
        assert_stays(bobs)


def test_devices_at_one_address_end_together_at_dovecot_2_3(kicked: Kicked) -> None:
    site, world = kicked.site, kicked.world
    phone, laptop = site.mint(ALICE, label="phone"), site.mint(ALICE, label="laptop")
    with world.hosts["lua"].running(), devices(world, PHONE_AT, PHONE_AT) as (there, beside):
        idling(there, ALICE, phone.password)
        idling(beside, ALICE, laptop.password)
        revoked = site.run("app-password", "revoke", ALICE, "--label", "phone")
        assert f"ended what was open of {ALICE} from {PHONE_AT}, by whatever password" in revoked.stderr
        assert said_next(there).startswith(b"* BYE ")
        assert said_next(beside).startswith(b"* BYE ")
        wait_until(lambda: comes_in(world, PHONE_AT, ALICE, laptop.password))


def test_what_cannot_be_told_from_where_ends_wherever_it_is(kicked: Kicked) -> None:
    site, world = kicked.site, kicked.world
    phone, laptop = site.mint(ALICE, label="phone"), site.mint(ALICE, label="laptop")
    with world.hosts["lua"].running(), devices(world, PHONE_AT, LAPTOP_AT) as (there, elsewhere):
        idling(there, ALICE, phone.password)
        idling(elsewhere, ALICE, laptop.password)
        with site.store.transaction() as tx:
            tx.write("DELETE FROM audit")  # as if all of it were too old
        revoked = site.run("app-password", "revoke", ALICE, "--label", "phone")
        assert f"ended what was open of {ALICE}, by whatever password" in revoked.stderr
        assert said_next(there).startswith(b"* BYE ")
        assert said_next(elsewhere).startswith(b"* BYE ")


def test_what_was_revoked_while_we_were_away_ends_when_we_are_back(away: Kicked) -> None:
    site, world = away.site, away.world
    app = site.mint(ALICE, label="phone")
    with world.hosts["lua"].running(), world.client("lua", IMAP) as client, world.client("lua", IMAP) as bobs:
        with site.serving():
            idling(client, ALICE, app.password)
            idling(bobs, "bob@example.test", WEB)
        assert site.run("app-password", "revoke", ALICE, "--label", "phone").returncode == 0
        began = len(site.log)
        with site.serving():
            assert isinstance(client, imaplib.IMAP4)
            assert said_next(client).startswith(b"* BYE ")
            site.logged(f"what was open of {ALICE} has been ended", since=began)
            assert world.ask("lua", IMAP, ALICE, app.password) == REFUSED[IMAP]
            assert isinstance(bobs, imaplib.IMAP4)
            bobs.send(b"DONE\r\n")
            assert said_next(bobs).startswith(b"x OK")


def test_a_dovecot_that_is_not_reached_is_told_of_and_tried_again(kicked: Kicked) -> None:
    site, world = kicked.site, kicked.world
    app = site.mint(ALICE, label="phone")
    key = site.folder / "doveadm.key"
    with world.hosts["lua"].running():
        assert world.ask("lua", IMAP, ALICE, app.password).startswith(b"OK ")
    revoked = site.run("app-password", "revoke", ALICE, "--id", str(app.id), "--json")
    assert revoked.returncode == 0
    (line,) = json.loads(revoked.stdout)["elsewhere"]
    assert f"sessions of {ALICE} may still be open, it is tried until they end" in line
    assert key.read_text().strip() not in site.log + line
    with world.hosts["lua"].running(), world.client("lua", IMAP) as client:
        idling(client, ALICE, WEB)  # it cannot be told by which password it was opened
        assert isinstance(client, imaplib.IMAP4)
        assert said_next(client).startswith(b"* BYE ")
        site.logged(f"what was open of {ALICE} has been ended")


# ---- a Dovecot with passwords of its own


@pytest.fixture
def policed() -> Iterator[tuple[Site, World]]:
    with policing("[replies]\nrefusal_delay_s = 0\n") as (site, world):
        yield site, world


@contextlib.contextmanager
def policing(sections: str) -> Iterator[tuple[Site, World]]:
    need_dovecot()
    with public_folder() as folder, contextlib.ExitStack() as stack:
        (folder / "site").mkdir()
        (port,) = free_ports(1)
        table = bridge("dovecot-policy", f"127.0.0.1:{port}", "allow_tcp = true\nlongest_wait_s = 2\n")
        site = Site(folder / "site", sections=sections + table, timeout_s=20.0)
        (site.folder / "token").write_text(TOKEN + "\n")
        site.add(ALICE)
        known = {ALICE: "sesame", "bob@example.org": "sesame", CHINESE: OTHER_WEB, LONG: LONG_WEB}
        lines = [f"{login}:{{PLAIN}}{password}\n" for login, password in known.items()]
        (folder / "passwd").write_text("".join(lines))
        policy = documented("auth_policy_server_url").replace(":8413/", f":{port}/").replace("TOKEN", TOKEN)
        passdb = f"passdb {{\n  driver = passwd-file\n  args = {folder}/passwd\n}}\n"
        world = World(site, {"policy": Dovecot(folder / "policy", (IMAP, POP3), passdb + policy)})
        world.start()
        stack.callback(world.end)
        stack.enter_context(world.hosts["policy"].running())
        yield site, world


def test_guesses_at_dovecot_s_own_passwords_are_held_back_and_on_record(policed: tuple[Site, World]) -> None:
    site, world = policed
    for service in (IMAP, POP3):
        assert world.ask("policy", service, ALICE, "sesame").startswith(ENTERED[service])
        assert world.ask("policy", service, ALICE, "wrong") == REFUSED[service]
        site.logged(f"login service={service} login={ALICE} peer=127.0.0.1 tls=no verdict=accept credential=web")
        site.logged(f"login service={service} login={ALICE} peer=127.0.0.1 tls=no verdict=reject reason=wrong-password")
    with ThreadPoolExecutor(10) as threads:
        guesses = [f"guess {number}" for number in range(SOURCE.guesses)]
        heard = list(threads.map(lambda guess: world.ask("policy", IMAP, "bob@example.org", guess), guesses))
    assert heard == [REFUSED[IMAP]] * SOURCE.guesses
    wait_until(lambda: "127.0.0.1" in site.run("throttle", "list").stdout)
    began = time.monotonic()
    assert world.ask("policy", POP3, "bob@example.org", "sesame").startswith(b"+OK")  # late, and not wrong
    assert time.monotonic() - began >= 2
    wait_until(lambda: "wrong-password" in site.run("audit", ALICE).stdout)


def test_dovecot_s_own_passwords_are_judged_whatever_becomes_of_us() -> None:
    """Never a wrong password for a fault of ours, nor anything but that for a wrong one."""
    with policing("[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n") as (site, world):
        shown = [(ALICE, "sesame"), (CHINESE, OTHER_WEB), (LONG, LONG_WEB), ("*", "sesame"), (f"{ALICE}*x", "sesame")]

        def assert_judged(service: Service, count: int = 1) -> None:
            tries = [(login, password + end) for login, password in shown for end in ("", "x")] * count
            with ThreadPoolExecutor(len(tries)) as threads:
                heard = list(threads.map(lambda one: world.ask("policy", service, *one), tries))
            for (login, password), reply in zip(tries, heard, strict=True):
                is_right = "*" not in login and (login, password) in shown
                assert reply.startswith(ENTERED[service]) if is_right else reply == REFUSED[service], (login, reply)

        for service in (IMAP, POP3):
            assert_judged(service, 4)  # forty at once
        with store_away(site):
            assert_judged(IMAP)
        with store_locked(site):
            assert_judged(IMAP)
        assert world.process is not None
        world.process.send_signal(signal.SIGSTOP)
        assert_judged(IMAP)
        world.end(signal.SIGKILL)
        assert_judged(POP3)
        world.start()
        assert_judged(IMAP)


def test_dovecot_goes_on_without_us(policed: tuple[Site, World]) -> None:
    site, world = policed
    (site.folder / "token").write_text("something else altogether\n")
    assert world.ask("policy", IMAP, ALICE, "sesame").startswith(b"OK ")
    site.logged("shows another token")
