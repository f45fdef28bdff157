"""Each host as `mailauth setup` leaves it, and as its page says: the real daemon, a right login, a wrong one, no other.

A private instance of Debian's, which judged by itself before. What is set up is set up by the command, and accepted by
the daemon's own checker; what the page says is put where it says, with nothing changed but places and ports.
"""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import smtplib
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from http_daemons import need_dovecot, need_nginx
from mail_daemons import EXIM_USER, PATIENCE_S, need_cyrus_sasl, need_postfix, public_folder
from mail_hosts import (
    Cyrus,
    Exim,
    PlainDovecot,
    PlainDovecot24,
    PlainNginx,
    PlainPostfix,
    debians_exim,
    put_together,
    told,
)
from served import nothing_to_catch_up_with

from mailauth import config
from mailauth.attempt import Service
from mailauth.config.bridge import UnixPath
from site_of_tests import Site, free_ports

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mail-daemons")]

ALICE, WEB = "alice@example.test", "correct horse battery"
TOKEN = "a-token-that-every-bridge-here-has"
TOML = "/etc/mailauth/mailauth.toml"
WAYS = pytest.mark.parametrize("way", ["setup", "page"])
LATER = (b"UNAVAILABLE", b"454", b"435", b"451", b"generic failure", b"internal server error", b"EOF")
REFUSED = (b"AUTHENTICATIONFAILED", b"535", b"authentication failure")


@dataclass
class Place:
    """A folder that daemons may enter, with a site whose mode is on: the web password opens nothing."""

    folder: Path
    site: Site
    app: str

    def add(self, toml: str) -> None:
        with self.site.config.open("a") as file:
            file.write("\n" + toml)

    def alter(self, written: str, here: str) -> None:
        text = self.site.config.read_text()
        assert written in text
        self.site.config.write_text(text.replace(written, here))

    def setup(self, *words: str, path: str = "") -> str:
        """`mailauth setup ... --write`, once and once more: what it says the first time."""
        command = [sys.executable, "-m", "mailauth", "setup", *words, "--write", "--config", str(self.site.config)]
        environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"]}
        said = []
        for _ in range(2):
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            assert done.returncode == 0, done.stderr
            said.append(done.stdout)
        assert "wrote " in said[0]
        assert "Nothing was changed" in said[1]
        assert "mailauth doctor" in said[0].splitlines()[-1]
        for file in (*self.site.folder.glob("*.token"), *self.site.folder.glob("dovecot-*.key")):
            assert file.read_text().strip() not in said[0]
            assert file.stat().st_mode & 0o777 == 0o600
        return said[0]

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """mailauth, with what is in its configuration by now."""
        for bridge in config.load(self.site.config).bridge:
            if isinstance(bridge.address, UnixPath):
                bridge.address.path.parent.mkdir(exist_ok=True)
        with self.site.serving():
            self.site.logged("listening bridge")
            yield

    def tells_apart(self, ask: Callable[[str], bytes], right: bytes) -> None:
        """The app password opens; a wrong one and the web password are refused, as judged."""
        assert right in judged(ask, self.app)
        for password in ("wrong", WEB):
            said = judged(ask, password)
            assert any(word in said for word in REFUSED), said


def judged(ask: Callable[[str], bytes], password: str) -> bytes:
    """What is said to it; "later" is no verdict, and a machine that stands still for seconds has nothing better."""
    give_up_at = time.monotonic() + PATIENCE_S
    said = ask(password)
    while any(word in said for word in LATER):
        assert time.monotonic() < give_up_at, said
        time.sleep(0.05)
        said = ask(password)
    return said


@pytest.fixture
def place() -> Iterator[Place]:
    with public_folder() as folder:
        (folder / "site").mkdir(mode=0o755)
        site = Site(folder / "site", tls_off=True)
        site.add(ALICE, WEB, mode=True)
        yield Place(folder, site, site.mint(ALICE).password)


def certificate(place: Place) -> tuple[Path, Path]:
    return place.site.folder / "server.pem", place.site.folder / "server.key"


# ---- SMTP


def starttls(client: smtplib.SMTP, place: Place) -> smtplib.SMTP:
    client.ehlo()
    assert "auth" not in client.esmtp_features
    assert client.starttls(context=place.site.client_tls)[0] == 220
    client.ehlo()
    return client


def asked(port: int, place: Place) -> Callable[[str], bytes]:
    def ask(password: str) -> bytes:
        client = starttls(smtplib.SMTP("localhost", port, timeout=PATIENCE_S), place)
        try:
            assert set(client.esmtp_features["auth"].split()) == {"PLAIN", "LOGIN"}
            client.user, client.password = ALICE, password
            code, said = client.auth("PLAIN", client.auth_plain)
            return b"%d %b" % (code, said)
        except smtplib.SMTPAuthenticationError as refused:
            return b"%d %b" % (refused.smtp_code, refused.smtp_error)
        finally:
            client.close()

    return ask


@WAYS
@pytest.mark.parametrize("jail", ["chroot", "no chroot"])
def test_postfix_lets_in_at_submission_and_never_at_port_25(place: Place, way: str, jail: str) -> None:
    need_postfix()
    chrooted = frozenset({"submission"} if jail == "chroot" else ())
    postfix = PlainPostfix(place.folder / "postfix", {"submission": "", "smtp": ""}, chrooted, certificate(place))
    port = postfix.ports["submission"]
    if way == "setup":
        place.setup("postfix", "--config-dir", str(postfix.config), "--submission", f"127.0.0.1:{port}")
    else:
        place.add(told("postfix", TOML, **{"/var/spool/postfix": str(postfix.queue)}))
        main, master = postfix.config / "main.cf", postfix.config / "master.cf"
        main.write_text(main.read_text() + told("postfix", "/etc/postfix/main.cf"))
        service = told("postfix", "/etc/postfix/master.cf").partition("submissions inet")[0]
        lines = [
            line for line in master.read_text().splitlines(keepends=True) if not line.startswith(f"127.0.0.1:{port} ")
        ]
        column = "y" if jail == "chroot" else "n"
        ours = service.replace("submission inet  n       -       y", f"127.0.0.1:{port} inet n - {column}")
        master.write_text("".join(lines) + ours)
    with place.serving(), postfix.running():
        place.tells_apart(asked(port, place), b"235")
        shown_out_before_its_message(place, port)
        client = starttls(smtplib.SMTP("localhost", postfix.ports["smtp"], timeout=PATIENCE_S), place)
        assert "auth" not in client.esmtp_features
        client.close()


def shown_out_before_its_message(place: Place, port: int) -> None:
    """Whose app password is revoked while it is connected."""
    client = handing_in(place, port)
    done = place.site.run("app-password", "revoke", ALICE, "--label", "test")
    assert done.returncode == 0, done.stderr
    give_up_at, code = time.monotonic() + PATIENCE_S, 450
    while code in {450, 451}:  # it could not be said
        assert time.monotonic() < give_up_at
        with pytest.raises(smtplib.SMTPDataError) as shown_out:
            client.sendmail(ALICE, ["somebody@elsewhere.test"], "Subject: x\r\n\r\nx\r\n")
        code = shown_out.value.smtp_code
    assert code == 421
    client.close()


def handing_in(place: Place, port: int) -> smtplib.SMTP:
    """A client that is in."""
    give_up_at = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_at:
        client = starttls(smtplib.SMTP("localhost", port, timeout=PATIENCE_S), place)
        try:
            client.login(ALICE, place.app)
        except smtplib.SMTPAuthenticationError as refused:
            client.close()
            assert refused.smtp_code == 454
        else:
            return client
    raise AssertionError("it is later and later")


@WAYS
def test_exim_lets_in_after_starttls(place: Place, way: str) -> None:
    socket = f"{place.folder}/run/exim"
    own = "begin authenticators\n\nown:\n  driver = plaintext\n  public_name = PLAIN\n  client_send = : x : y\n"
    if way == "page":
        file = "/etc/exim4/conf.d/auth/10_mailauth"
        own = "begin authenticators\n" + told("exim", file, **{"/run/mailauth/exim": socket})
        toml = told("exim", TOML, **{"/run/mailauth/exim": socket, '"Debian-exim"': f'"{EXIM_USER}"'})
        place.add(toml + f'users = ["{EXIM_USER}"]\n')
    exim = Exim(place.folder / "exim", socket, certificate(place), own)
    if way == "setup":
        path = wrapped(exim, place.folder / "bin")
        words = ["--config-dir", str(exim.folder), "--address", f"unix:{socket}", "--group", str(EXIM_USER)]
        place.setup("exim", *words, path=path)
        assert exim.config.with_name("exim.conf.before-mailauth").read_text().endswith(own)
    with place.serving(), exim.running():
        place.tells_apart(asked(exim.port, place), b"235")


def wrapped(exim: Exim, folder: Path) -> str:
    """The folder of a program `exim4` that finds its libraries."""
    folder.mkdir()
    program = folder / "exim4"
    words = " ".join(f"{name}={value}" for name, value in exim.environment.items() if name != "PATH")
    program.write_text(f'#!/bin/sh\nexec env {words} {exim.program} "$@"\n')
    program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("split", [True, False])
def test_debians_own_configuration_of_exim_split_or_not(place: Place, split: bool) -> None:
    exim = Exim(place.folder / "exim", "/run/mailauth/exim", certificate(place))
    folder = debians_exim(exim, split=split)
    path = wrapped(exim, place.folder / "bin")
    said = place.setup("exim", "--config-dir", str(folder), path=path)
    assert "update-exim4.conf" in said
    words = [f"{path}/exim4", "-C", str(put_together(exim, folder)), "-bP", "authenticator_list"]
    listed = subprocess.run(words, capture_output=True, text=True, check=True)
    assert listed.stdout.split()[:2] == ["mailauth_plain", "mailauth_login"]  # then those for sending on


# ---- IMAP


def imap_asked(port: int, tls: ssl.SSLContext | None, *, wrapped: bool = False) -> Callable[[str], bytes]:
    """tls: from the first byte (wrapped) or by STARTTLS; None: without."""

    def ask(password: str) -> bytes:
        if wrapped:
            client: imaplib.IMAP4 = imaplib.IMAP4_SSL("localhost", port, ssl_context=tls, timeout=PATIENCE_S)
        else:
            client = imaplib.IMAP4("localhost", port, timeout=PATIENCE_S)
            if tls is not None:
                client.starttls(tls)
        try:
            return b"in: " + client.login(ALICE, password)[1][0]
        except imaplib.IMAP4.error as refused:
            said = refused.args[0]
            return said if isinstance(said, bytes) else str(said).encode()
        finally:
            client.shutdown()

    return ask


@WAYS
@pytest.mark.parametrize("kind", ["dovecot-lua", "dovecot-grant"])
def test_dovecot_lets_in_and_ends_what_is_open_when_it_is_revoked(place: Place, way: str, kind: str) -> None:
    need_dovecot()
    dovecot = PlainDovecot(place.folder / "dovecot")
    port, doveadm = free_ports(2)
    if way == "setup":
        words = ["--config-dir", str(dovecot.config), "--kind", kind, "--address", f"127.0.0.1:{port}"]
        place.setup("dovecot", *words, "--doveadm", f"127.0.0.1:{doveadm}")
        kept = dovecot.config / "conf.d" / "10-auth.conf.before-mailauth"
        assert kept.read_text() == Path("/etc/dovecot/conf.d/10-auth.conf").read_text()
    else:
        as_the_page_says(place, dovecot, kind, port, doveadm)
    lets_in_until_it_is_revoked(place, dovecot)


def logged_in(port: int, password: str) -> imaplib.IMAP4:
    """A client that is in, for as long as it likes."""
    clients = []

    def ask(password: str) -> bytes:
        clients.append(imaplib.IMAP4("localhost", port, timeout=PATIENCE_S))
        try:
            return clients[-1].login(ALICE, password)[1][0]
        except imaplib.IMAP4.error as refused:
            clients[-1].shutdown()
            return str(refused.args[0]).encode()

    assert b"Logged in" in judged(ask, password)
    return clients[-1]


def lets_in_until_it_is_revoked(place: Place, dovecot: PlainDovecot, *, others_stay: bool = False) -> None:
    other = place.site.mint(ALICE, label="other").password
    nothing_to_catch_up_with(place.site)
    with place.serving(), dovecot.running():
        ask = imap_asked(dovecot.imap, None)
        place.tells_apart(ask, b"in: ")
        open_one, another = logged_in(dovecot.imap, place.app), logged_in(dovecot.imap, other)
        done = place.site.run("app-password", "revoke", ALICE, "--label", "test")
        assert done.returncode == 0, done.stderr
        assert b"BYE" in open_one.readline(), done.stdout
        if others_stay:
            assert another.noop()[0] == "OK"
        open_one.shutdown()
        another.shutdown()
        assert b"AUTHENTICATIONFAILED" in judged(ask, place.app)


@WAYS
@pytest.mark.xdist_group("dovecot-2.4")
def test_dovecot_2_4_lets_in_and_shows_one_device_out(place: Place, way: str) -> None:
    dovecot = PlainDovecot24(place.folder)
    port, doveadm = free_ports(2)
    if way == "page":
        as_the_page_says(place, dovecot, "dovecot-lua", port, doveadm)
        place.alter('doveadm_key_file = "dovecot', 'kick_by = "app-password"\ndoveadm_key_file = "dovecot')
        file = "/etc/dovecot/conf.d/auth-mailauth.conf.ext"
        here = {"/etc/dovecot": str(dovecot.config), "8414": str(doveadm), "8412": str(port)}
        auth = told("dovecot", file, last=True, **here, **{"/var/vmail": f"{dovecot.folder}/mail"})
        (dovecot.config / "conf.d" / "auth-mailauth.conf.ext").write_text(auth)
        lets_in_until_it_is_revoked(place, dovecot, others_stay=True)
        return
    words = ["--config-dir", str(dovecot.config), "--kind", "dovecot-lua", "--address", f"127.0.0.1:{port}"]
    said = place.setup(
        "dovecot", *words, "--doveadm", f"127.0.0.1:{doveadm}", path=dovecot.programs(place.folder / "bin")
    )
    assert "Dovecot 2.4" in said
    lets_in_until_it_is_revoked(place, dovecot, others_stay=True)


def as_the_page_says(place: Place, dovecot: PlainDovecot, kind: str, port: int, doveadm: int) -> None:
    here = {"/etc/dovecot": str(dovecot.config), "127.0.0.1:8412": f"127.0.0.1:{port}"}
    toml = told("dovecot", TOML, **{"127.0.0.1:8412": f"127.0.0.1:{port}", "8414": str(doveadm)})
    place.add(toml.replace("dovecot-lua", kind))
    (place.site.folder / f"{kind}.token").write_text(TOKEN + "\n")
    (place.site.folder / "dovecot-doveadm.key").write_text(TOKEN + "\n")
    (dovecot.config / "mailauth-doveadm.key").write_text(TOKEN)
    (dovecot.config / "mailauth.token").write_text(TOKEN + "\n")
    script = Path(__file__).parents[2] / "src" / "mailauth" / "bridges" / "dovecot.lua"
    (dovecot.config / "mailauth.lua").write_text(script.read_text())
    settings = told("dovecot", "/etc/dovecot/mailauth-settings.lua", **here)
    (dovecot.config / "mailauth-settings.lua").write_text(settings)
    file = "/etc/dovecot/conf.d/auth-mailauth.conf.ext"
    auth = told("dovecot", file, **{"/etc/dovecot": here["/etc/dovecot"], "8414": str(doveadm)})
    auth = auth.replace("uid=vmail gid=vmail home=/var/vmail/%d/%n", dovecot.userdb)
    if kind == "dovecot-grant":
        grant = "/etc/dovecot/mailauth-grant.conf.ext"
        answering = told("dovecot", grant, **{"127.0.0.1:8411": f"127.0.0.1:{port}", "TOKEN": TOKEN})
        (dovecot.config / "mailauth-grant.conf.ext").write_text(answering)
        lua = f"driver = lua\n  args = file={dovecot.config}/mailauth-settings.lua blocking=yes"
        assert lua in auth
        by_grant = f"driver = oauth2\n  mechanisms = plain login\n  args = {dovecot.config}/mailauth-grant.conf.ext"
        auth = auth.replace(lua, by_grant)
    (dovecot.config / "conf.d" / "auth-mailauth.conf.ext").write_text(auth)
    main = dovecot.config / "conf.d" / "10-auth.conf"
    including = told("dovecot", "/etc/dovecot/conf.d/10-auth.conf").strip()
    main.write_text(main.read_text().replace("\n!include auth-system.conf.ext", f"\n{including}"))


@WAYS
def test_nginx_lets_in_with_tls_from_the_first_byte(place: Place, way: str) -> None:
    need_nginx()
    nginx = PlainNginx(place.folder / "nginx")
    chain, key = certificate(place)
    socket = f"{place.folder}/run/nginx"
    behind = f"imap 127.0.0.1:{place.site.ports[Service.IMAP, 'off']}"
    mail, conf = nginx.folder / "mailauth-mail.conf", nginx.folder / "nginx.conf"
    if way == "setup":
        where = ["--config-dir", str(nginx.folder), "--address", f"unix:{socket}"]
        place.setup("nginx", *where, "--backend", behind, "--certificate", str(chain), "--key", str(key))
    else:
        place.add(told("nginx", TOML, **{"/run/mailauth/nginx": socket, "imap 192.0.2.10:143": behind}))
        (place.site.folder / "nginx.token").write_text(TOKEN + "\n")
        auth = told("nginx", "/etc/nginx/mailauth-auth.conf", **{"/run/mailauth/nginx": socket, "TOKEN": TOKEN})
        (nginx.folder / "mailauth-auth.conf").write_text(auth)
        here = {"/etc/nginx": str(nginx.folder), "/etc/ssl/mail.pem": str(chain), "/etc/ssl/mail.key": str(key)}
        text = told("nginx", "/etc/nginx/mailauth-mail.conf", **here)
        mail.write_text(re.sub(r"  server .* listen (?:995|465) .*\n", "", text))
        conf.write_text(conf.read_text() + told("nginx", "/etc/nginx/nginx.conf", **{"/etc/nginx": str(nginx.folder)}))
    mail.write_text(mail.read_text().replace("listen 993 ", f"listen 127.0.0.1:{nginx.port} "))
    with place.serving(), nginx.running():
        place.tells_apart(imap_asked(nginx.port, place.site.client_tls, wrapped=True), b"in: ")


@WAYS
def test_cyrus_imap_lets_in_after_starttls(place: Place, way: str) -> None:
    need_cyrus_sasl()
    socket = f"{place.folder}/run/mux"
    cyrus = Cyrus(place.folder / "cyrus", certificate(place))
    if way == "setup":
        place.setup("cyrus", "--config-dir", str(cyrus.config.parent), "--address", f"unix:{socket}")
        place.alter('socket_group = "mail"', 'socket_group = "nogroup"')
    else:
        place.add(told("cyrus", TOML, **{"/run/mailauth/mux": socket, '"mail"': '"nogroup"'}))
        options = told("cyrus", "/etc/imapd.conf", **{"/run/mailauth/mux": socket})
        kept = [line for line in cyrus.config.read_text().splitlines() if line.partition(":")[0] not in options]
        cyrus.config.write_text("\n".join(kept) + "\n" + options)
    with place.serving(), cyrus.running():
        plain = imaplib.IMAP4("localhost", cyrus.port, timeout=PATIENCE_S)
        assert "LOGINDISABLED" in plain.capabilities
        plain.shutdown()
        place.tells_apart(imap_asked(cyrus.port, place.site.client_tls), b"in: ")


@WAYS
@pytest.mark.parametrize("jail", ["chroot", "no chroot"])
def test_postfix_with_cyrus_sasl_lets_in_at_submission(place: Place, way: str, jail: str) -> None:
    need_postfix()
    need_cyrus_sasl()
    service = told("cyrus", "/etc/postfix/master.cf")
    options = " ".join(re.findall(r"^  -o (.*)$", service, re.MULTILINE))
    chrooted = frozenset({"submission"} if jail == "chroot" else ())
    postfix = PlainPostfix(place.folder / "postfix", {"submission": options}, chrooted, certificate(place))
    socket = f"{postfix.queue}/private/mailauth-mux"
    folder = postfix.config / "sasl"
    if way == "setup":
        words = ["--application", "smtpd", "--config-dir", str(folder), "--address", f"unix:{socket}"]
        place.setup("cyrus", *words)
    else:
        place.add(told("cyrus", TOML, last=True, **{"/var/spool/postfix": str(postfix.queue)}))
        seen_at = "/private/mailauth-mux" if jail == "chroot" else socket
        folder.mkdir()
        text = told("cyrus", "/etc/postfix/sasl/smtpd.conf", **{"/private/mailauth-mux": seen_at})
        (folder / "smtpd.conf").write_text(text)
    with place.serving(), postfix.running():
        place.tells_apart(asked(postfix.ports["submission"], place), b"235")


@pytest.mark.parametrize("host", ["postfix", "exim", "dovecot", "nginx", "cyrus"])
def test_a_page_is_found_from_the_readme_and_from_the_bridges(host: str) -> None:
    root = Path(__file__).parents[2]
    assert f"(docs/hosts/{host}.md)" in (root / "README.md").read_text()
    assert f"(hosts/{host}.md)" in (root / "docs" / "bridges.md").read_text()
    assert f"mailauth setup {host} --write" in (root / "docs" / "hosts" / f"{host}.md").read_text() or host == "nginx"
