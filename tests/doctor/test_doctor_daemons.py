"""Postfix, Exim, Dovecot and nginx as private instances, looked at as they should be, and broken on purpose."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import pytest
from examined import Examined, doctor
from http_daemons import Daemon, Dovecot, Nginx, need_dovecot, need_nginx
from mail_daemons import EXIM_USER, Exim, Postfix, documented, need_cyrus_sasl, need_postfix, public_folder

from mailauth.accounts import apppasswords
from mailauth.accounts.history import audit
from mailauth.attempt import Service
from site_of_tests import Site, free_ports

pytestmark = [pytest.mark.system, pytest.mark.xdist_group("mail-daemons")]

IMAP, POP3, SMTP = Service
ALICE = "alice@example.test"
TOKEN = "a-token-that-every-bridge-here-has"
API_KEY = "a key of doveadm's"


def token_file(folder: Path) -> Path:
    file = folder / "token"
    file.write_text(TOKEN + "\n")
    file.chmod(0o600)
    return file


# ---- Postfix and Exim


@dataclass
class Mta:
    site: Site
    postfix: Postfix
    exim: Exim
    wrapper: Path

    @property
    def options(self) -> tuple[str, ...]:
        return ("--server", f"postfix={self.postfix.config}", "--server", f"exim={self.exim.config}")

    def sockets(self) -> Examined:
        return doctor(self.site, "sockets", options=self.options)

    def door(self, service: str) -> str:
        return f":{self.postfix.ports[service]}"


@pytest.fixture(scope="module")
def mta() -> Iterator[Mta]:
    need_postfix()
    need_cyrus_sasl()
    with public_folder() as folder, contextlib.ExitStack() as stack:
        submission = " ".join(re.findall(r"^  -o (.*)$", documented("submission inet"), re.MULTILINE))
        services = {
            "submission": submission,
            "clear": "smtpd_sasl_path=private/mailauth smtpd_tls_auth_only=no",
            "astray": "smtpd_sasl_path=/run/mailauth/postfix smtpd_tls_auth_only=yes "
            "smtpd_end_of_data_restrictions=check_policy_service,unix:private/nowhere",
            "none": "smtpd_sasl_auth_enable=no",
            "cyrus": "smtpd_sasl_type=cyrus smtpd_sasl_path=smtpd smtpd_tls_auth_only=yes",
        }
        certificate = (folder / "site" / "server.pem", folder / "site" / "server.key")
        postfix = Postfix(folder / "postfix", services, frozenset({"submission", "astray"}), certificate)
        (folder / "sockets").mkdir()
        postfix.cyrus(folder / "sockets" / "mux")
        exim = Exim(folder / "exim", f"{folder}/sockets/exim", certificate)
        users = exim.folder / "passwd"  # the user's own name here comes first
        users.write_text(f"nobody:x:{EXIM_USER}:{EXIM_USER}::/:/bin/false\n" + users.read_text())
        exim.config.write_text(f"exim_user = {EXIM_USER}\nexim_group = {EXIM_USER}\n" + exim.config.read_text())
        (folder / "site").mkdir()
        bridging = (
            f'[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{postfix.queue}/private/mailauth"\n'
            'socket_group = "postfix"\n'
            f'[[bridge]]\nkind = "dovecot-auth"\naddress = "unix:{folder}/sockets/exim"\n'
            f'socket_group = "{EXIM_USER}"\n'
            f'[[bridge]]\nkind = "saslauthd"\naddress = "unix:{folder}/sockets/mux"\nsocket_group = "postfix"\n'
        )
        site = Site(folder / "site", sections="[replies]\nrefusal_delay_s = 0\n" + bridging)
        site.add(ALICE, "correct horse battery", mode=True)
        wrapper = folder / "bin"
        wrapper.mkdir()
        stack.enter_context(site.serving())
        stack.enter_context(postfix.running())
        stack.enter_context(exim.running())
        environment = "".join(f"export {name}='{value}'\n" for name, value in exim.environment.items())
        (wrapper / "exim4").write_text(f'#!/bin/sh\n{environment}exec {exim._root}/usr/sbin/exim4 "$@"\n')
        (wrapper / "exim4").chmod(0o755)
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{wrapper}:{before}"
        stack.callback(lambda: os.environ.update(PATH=before))
        yield Mta(site, postfix, exim, wrapper)


def test_sockets_are_tried_as_the_user_and_in_the_chroot(mta: Mta) -> None:
    seen = mta.sockets()
    for who in (
        f"smtpd (127.0.0.1{mta.door('submission')})",
        f"smtpd (127.0.0.1{mta.door('clear')})",
        "mux",
        "for Exim",
    ):
        found = seen.one(who)
        assert found["level"] == "ok"
        assert "tried as that user" in found["found"]


def test_what_could_be_read_of_them_is_told(mta: Mta) -> None:
    seen = doctor(mta.site, "servers", options=mta.options)
    assert "5 doors and 5 sockets" in seen.one("Postfix")["found"]
    assert "1 doors and 1 sockets" in seen.one("Exim")["found"]
    lost = doctor(mta.site, "servers", options=("--server", f"postfix={mta.site.folder}")).one("postfix")
    assert lost["level"] == "problem"


def test_a_path_that_means_something_else_in_the_chroot_is_found(mta: Mta) -> None:
    found = mta.sockets().one(f"smtpd (127.0.0.1{mta.door('astray')}), smtpd_sasl_path = /run/mailauth/postfix")
    assert found["level"] == "problem"
    assert f"its chroot is {mta.postfix.queue}" in found["found"]
    assert f"{mta.postfix.queue}/run is not there" in found["found"]
    assert f'address = "unix:{mta.postfix.queue}/private/mailauth"' in found["mend"]


def test_a_policy_socket_that_is_not_there_is_found(mta: Mta) -> None:
    found = mta.sockets().one("smtpd_end_of_data_restrictions = private/nowhere")
    assert found["level"] == "problem"
    assert f"{mta.postfix.queue}/private/nowhere is not there" in found["found"]
    assert f'address = "unix:{mta.postfix.queue}/private/mailauth-policy"' in found["mend"]


def test_a_socket_that_the_daemon_may_not_use_is_found(mta: Mta) -> None:
    socket = mta.postfix.queue / "private" / "mailauth"
    socket.chmod(0o600)
    try:
        seen = mta.sockets()
    finally:
        socket.chmod(0o660)
    for service in ("submission", "clear"):
        found = seen.one(f"for Postfix smtpd (127.0.0.1{mta.door(service)})")
        assert found["level"] == "problem"
        assert f"postfix may not use {socket} (mode 0600, of root)" in found["found"]
        assert 'socket_group = "postfix"' in found["mend"]
    assert seen.one("for Exim")["level"] == "ok"


def test_a_folder_on_the_way_that_cannot_be_entered_is_found(mta: Mta) -> None:
    folder = mta.postfix.folder.parent / "sockets"
    folder.chmod(0o700)
    try:
        found = mta.sockets().one("for Exim")
    finally:
        folder.chmod(0o755)
    assert found["level"] == "problem"
    assert f"may not enter {folder} (mode 0700, of root)" in found["found"]
    assert f"chmod o+x {folder}" in found["mend"]


def test_auth_before_tls_is_found(mta: Mta) -> None:
    seen = doctor(mta.site, "offers", options=mta.options)
    assert seen.one(mta.door("submission"))["level"] == "ok"
    clear = seen.one(mta.door("clear"))
    assert clear["level"] == "warning"  # it listens on the loopback alone
    assert "before TLS (AUTH LOGIN AUTH PLAIN)" in clear["found"]
    assert "smtpd_tls_auth_only=yes" in clear["mend"]
    assert seen.one(f":{mta.exim.port}")["level"] == "ok"
    assert seen.one(mta.door("none"))["found"] == "no AUTH, as it is configured"
    named = doctor(mta.site, "offers", options=("--host", f"smtp://127.0.0.1{mta.door('clear')}"))
    assert named.one(mta.door("clear"))["level"] == "problem"  # clients are meant to come there


def test_logins_go_through_the_daemons_and_leave_no_trace(mta: Mta) -> None:
    seen = doctor(mta.site, "logins", options=(*mta.options, "--account", ALICE))
    for door in (mta.door("submission"), mta.door("clear"), f":{mta.exim.port}"):
        found = seen.one(door)
        assert found["level"] == "ok", found
        assert "a right password lets in, a wrong one does not, nor does a revoked one" in found["found"]
    assert seen.of(mta.door("none")) == []
    nameless = seen.one(mta.door("cyrus"))
    assert nameless["level"] == "warning"
    assert "arrives as from bridge:saslauthd" in nameless["found"]
    assert seen.one(mta.door("astray"))["level"] == "not checked"
    assert apppasswords.listed(mta.site.store, ALICE) == []


def test_a_lost_address_is_found(mta: Mta) -> None:
    """A proxy stands before Postfix, and says nothing of who comes."""
    (port,) = free_ports(1)
    relaying = subprocess.Popen(
        ["python3", "-c", RELAY, str(port), mta.door("submission")[1:]], stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        assert relaying.stdout is not None
        assert relaying.stdout.readline() == b"ready\n"
        seen = doctor(mta.site, "logins", options=("--host", f"smtp://127.0.0.1:{port}", "--account", ALICE))
    finally:
        os.killpg(relaying.pid, signal.SIGKILL)
        relaying.communicate()
    found = seen.one(f":{port}")
    assert found["level"] == "problem"
    assert re.search(r"a login from 127\.\d+\.\d+\.\d+ arrives as from 127\.0\.0\.1: ", found["found"])


RELAY = """
import asyncio, sys
async def pump(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def met(reader, writer):
    there, back = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)
async def main():
    async with await asyncio.start_server(met, "127.0.0.1", int(sys.argv[1])) as server:
        print("ready", flush=True)
        await server.serve_forever()
asyncio.run(main())
"""


# ---- Dovecot and nginx


@dataclass
class Proxied:
    site: Site
    folder: Path
    hosts: dict[str, Daemon] = field(default_factory=dict)

    def options(self, *names: str) -> tuple[str, ...]:
        kinds = {"lua": "dovecot", "cached": "dovecot", "nginx": "nginx"}
        return tuple(word for name in names for word in ("--server", f"{kinds[name]}={self.hosts[name].config}"))


def by_lua(folder: Path, name: str, port: int, cache: str, more: str) -> Dovecot:
    """cache: what is added to the arguments of the passdb."""
    script = folder / "mailauth.lua"
    script.write_text((resources.files("mailauth.bridges") / "dovecot.lua").read_text())
    settings = (
        documented("mailauth = {").replace(":8412/", f":{port}/").replace("/etc/dovecot/mailauth.lua", str(script))
    )
    (folder / "settings.lua").write_text(settings.replace("/etc/mailauth/dovecot-lua.token", f"{folder}/lua.token"))
    (folder / "lua.token").write_text(TOKEN + "\n")
    passdb = documented("passdb {\n  driver = lua").replace(
        "/etc/dovecot/mailauth-settings.lua", f"{folder}/settings.lua{cache}"
    )
    return Dovecot(folder / name, (IMAP, POP3), passdb + more)


@pytest.fixture(scope="module")
def proxied() -> Iterator[Proxied]:
    need_nginx()
    need_dovecot()
    with public_folder() as folder, contextlib.ExitStack() as stack:
        (folder / "site").mkdir()
        lua, doveadm = free_ports(2)
        site = Site(folder / "site", tls_off=True, sections="[replies]\nrefusal_delay_s = 0\n")
        backends = ", ".join(f'"{service} 127.0.0.1:{site.ports[service, "off"]}"' for service in Service)
        token_file(site.folder)
        (site.folder / "doveadm.key").write_text(API_KEY + "\n")
        (site.folder / "doveadm.key").chmod(0o600)
        site.config.write_text(
            site.config.read_text()
            + f'[[bridge]]\nkind = "dovecot-lua"\naddress = "127.0.0.1:{lua}"\nallow_tcp = true\ntoken_file = "token"\n'
            f'[[bridge]]\nkind = "nginx"\naddress = "unix:{folder}/nginx.sock"\nsocket_group = "www-data"\n'
            f'token_file = "token"\nwait_s = 1\nbackends = [{backends}]\n'
        )
        site.add(ALICE, "correct horse battery", mode=True)
        changes = {
            "unix:/run/mailauth/nginx:": f"unix:{folder}/nginx.sock:",
            "TOKEN": TOKEN,
            "/etc/ssl/mail.pem": f"{folder}/site/server.pem",
            "/etc/ssl/mail.key": f"{folder}/site/server.key",
        }
        api = documented("doveadm_api_key").replace("KEY", API_KEY).replace("8414", str(doveadm))
        proxied = Proxied(site, folder)
        proxied.hosts = {
            "lua": by_lua(folder, "lua", lua, "", api),
            "cached": by_lua(folder, "cached", lua, " cache_key=%u", "auth_cache_size = 10M\n"),
            "nginx": Nginx(folder / "nginx", tuple(Service), changes),
        }
        stack.enter_context(site.serving())
        for daemon in proxied.hosts.values():
            stack.enter_context(daemon.running())
        yield proxied


def test_dovecot_and_nginx_as_they_should_be(proxied: Proxied) -> None:
    checks = ("sockets", "offers", "caches", "logins")
    seen = doctor(proxied.site, *checks, options=(*proxied.options("lua", "nginx"), "--account", ALICE))
    assert seen.of(level="problem") == []
    for name in ("lua", "nginx"):
        for port in proxied.hosts[name].ports.values():
            (found,) = [one for one in seen.of(f":{port}") if one["check"] == "logins"]
            assert found["level"] == "ok", found
    assert "nginx worker" in seen.one("nginx.sock")["subject"]
    assert "tried as that user" in seen.one("nginx.sock")["found"]
    (cache,) = [one for one in seen.of("Dovecot (") if one["check"] == "caches"]
    assert cache["level"] == "ok"


def test_a_cache_that_outlives_a_revocation_is_found_live_and_in_the_configuration(proxied: Proxied) -> None:
    seen = doctor(proxied.site, "caches", "logins", options=(*proxied.options("cached"), "--account", ALICE))
    port = proxied.hosts["cached"].ports[IMAP]
    (found,) = [one for one in seen.of(f":{port}", "problem") if "a revoked password still lets in" in one["found"]]
    assert "auth_cache_size = 0" in found["mend"]
    configured = seen.one("Dovecot (", "problem")
    assert "remembers passwords for 1 hours (auth_cache_size = 10 M)" in configured["found"]


def test_a_token_that_is_not_ours_is_found(proxied: Proxied) -> None:
    token = proxied.site.folder / "token"
    token.write_text("another token than nginx has\n")
    try:
        seen = doctor(proxied.site, "logins", options=(*proxied.options("nginx"), "--account", ALICE))
    finally:
        token.write_text(TOKEN + "\n")
    for port in proxied.hosts["nginx"].ports.values():
        found = seen.one(f":{port}", "problem")
        assert "it could not ask mailauth" in found["found"]
        assert "a wrong token" in found["mend"]


def test_doveadm_is_reached_with_its_key_and_a_wrong_one_is_found(proxied: Proxied) -> None:
    url = re.search(r"port = (\d+)\n  }\n}\n\Z", proxied.hosts["lua"].config.read_text())
    assert url is not None
    site = proxied.site
    standing = site.config.read_text()
    table = f'allow_tcp = true\ndoveadm_url = "http://127.0.0.1:{url[1]}"\ndoveadm_key_file = "doveadm.key"\n'
    try:
        site.config.write_text(standing.replace("allow_tcp = true\n", table))
        assert doctor(site, "doveadm").one()["found"] == "it does what it is told"
        assert doctor(site, "caches", options=proxied.options("cached")).levels("Dovecot (") == {"warning"}
        (site.folder / "doveadm.key").write_text("another key\n")
        found = doctor(site, "doveadm").one()
        assert found["level"] == "problem"
        assert "cannot end sessions" in found["found"]
        assert "doveadm_api_key" in found["mend"]
    finally:
        site.config.write_text(standing)
        (site.folder / "doveadm.key").write_text(API_KEY + "\n")


def test_a_daemon_that_is_down_is_found_where_it_was_named(proxied: Proxied) -> None:
    (port,) = free_ports(1)
    seen = doctor(proxied.site, "offers", options=("--host", f"imaps://127.0.0.1:{port}"))
    assert seen.one(f":{port}", "problem")["found"].startswith("nobody can log in there: no connection (")


def test_everything_is_on_record(proxied: Proxied) -> None:
    doctor(proxied.site, "logins", options=("--account", ALICE))
    kinds = [row.kind for row in audit(proxied.site.store, ALICE) if row.label == "mailauth doctor"]
    for kind in ("app-password-added", "login", "app-password-revoked", "app-password-forgotten"):
        assert kind in kinds
