"""nginx's mail proxy and Dovecot as Debian has them, each as a private instance in a folder of its own."""

from __future__ import annotations

import contextlib
import imaplib
import os
import poplib
import pwd
import shutil
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailauth.attempt import Service
from site_of_tests import Client, free_ports

PATIENCE_S = 40.0
MAIL_MODULE = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
LUA_MODULE = Path("/usr/lib/dovecot/modules/auth/libauthdb_lua.so")


def missing(why: str) -> None:
    """Skip the test where something is missing; fail where it must not be."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def need_nginx() -> None:
    if shutil.which("nginx", path="/usr/sbin") is None or not MAIL_MODULE.exists():
        missing("nginx or libnginx-mod-mail is not installed")


def need_dovecot(*, lua: bool = False) -> None:
    if os.geteuid() != 0:
        missing("Dovecot is started by root alone")
    if not Path("/usr/lib/dovecot/imap").exists() or not Path("/usr/lib/dovecot/pop3").exists():
        missing("dovecot-imapd or dovecot-pop3d is not installed")
    if lua and not LUA_MODULE.exists():
        missing("dovecot-auth-lua is not installed")


def wait_for_port(port: int, log: Path) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < give_up_at, log.read_text() if log.exists() else "nothing listens"
        time.sleep(0.05)


@dataclass
class Daemon:
    """One instance. services: on a port each."""

    folder: Path
    services: tuple[Service, ...]
    ports: dict[Service, int] = field(init=False)

    def __post_init__(self) -> None:
        self.ports = dict(zip(self.services, free_ports(len(self.services)), strict=True))
        self.folder.mkdir()
        self.folder.chmod(0o755)
        self.config.write_text(self.text())

    @property
    def config(self) -> Path:
        return self.folder / "daemon.conf"

    @property
    def log(self) -> Path:
        return self.folder / "daemon.log"

    def text(self) -> str:
        raise NotImplementedError

    def command(self) -> list[str]:
        raise NotImplementedError

    @contextlib.contextmanager
    def running(self) -> Iterator[Daemon]:
        with (self.folder / "out").open("w") as out:
            process = subprocess.Popen(self.command(), stdout=out, stderr=out)
        try:
            for port in self.ports.values():
                wait_for_port(port, self.log if self.log.exists() else self.folder / "out")
            yield self
        finally:
            process.terminate()
            process.wait(PATIENCE_S)

    @contextlib.contextmanager
    def client(self, service: Service) -> Iterator[Client]:
        """A client, connected; at the end it leaves without a goodbye."""
        kinds = {Service.IMAP: imaplib.IMAP4, Service.POP3: poplib.POP3, Service.SMTP: smtplib.SMTP}
        client: Client = kinds[service]("127.0.0.1", self.ports[service], timeout=PATIENCE_S)
        try:
            yield client
        finally:
            (client.shutdown if isinstance(client, imaplib.IMAP4) else client.close)()


@dataclass
class Nginx(Daemon):
    """auth_http: where it asks, as it stands in the configuration."""

    auth_http: str
    token: str
    options: str = ""

    def text(self) -> str:
        servers = "".join(
            f"  server {{ listen 127.0.0.1:{port}; protocol {service}; }}\n" for service, port in self.ports.items()
        )
        return (
            f"daemon off;\npid {self.folder}/pid;\nerror_log {self.log} info;\nload_module {MAIL_MODULE};\n"
            "worker_processes 1;\nevents { worker_connections 1024; }\n"
            f"mail {{\n  auth_http {self.auth_http};\n  auth_http_header X-Auth-Key {self.token};\n"
            "  auth_http_timeout 15s;\n  server_name mail.example.test;\n  proxy_smtp_auth on;\n  xclient off;\n"
            "  imap_auth plain login;\n  pop3_auth plain;\n  smtp_auth plain login;\n"
            f"{self.options}{servers}}}\n"
        )

    def command(self) -> list[str]:
        return ["/usr/sbin/nginx", "-c", str(self.config), "-p", str(self.folder)]


@dataclass
class Dovecot(Daemon):
    """passdb: how it asks, or any other lines of the configuration."""

    passdb: str

    def text(self) -> str:
        (self.folder / "mail").mkdir()
        user = pwd.getpwnam("nobody")
        os.chown(self.folder / "mail", user.pw_uid, user.pw_gid)
        listeners = "".join(
            f"service {service}-login {{\n"
            f"  inet_listener {service} {{\n    address = 127.0.0.1\n    port = {port}\n  }}\n"
            f"  inet_listener {service}s {{\n    port = 0\n  }}\n}}\n"
            for service, port in self.ports.items()
        )
        return (
            f"base_dir = {self.folder}/run\nstate_dir = {self.folder}/state\nlog_path = {self.log}\n"
            f"instance_name = {self.folder.name}\nssl = no\ndisable_plaintext_auth = no\n"
            f"protocols = {' '.join(self.services)}\nauth_mechanisms = plain login\nauth_username_chars =\n"
            f"mail_location = maildir:{self.folder}/mail/%u\nmail_uid = {user.pw_uid}\nmail_gid = {user.pw_gid}\n"
            "auth_failure_delay = 0\nauth_debug = yes\nmail_max_userip_connections = 1000\n"
            "service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"
            f"userdb {{\n  driver = static\n  args = home={self.folder}/mail/%u\n}}\n{listeners}{self.passdb}"
        )

    def command(self) -> list[str]:
        return ["/usr/sbin/dovecot", "-F", "-c", str(self.config)]


def bridge_section(kind: str, port: int, **options: str) -> str:
    """A [[bridge]] table. options: as they stand in the file."""
    lines = [f'kind = "{kind}"', f'address = "127.0.0.1:{port}"', "allow_tcp = true", f'token_file = "{kind}.token"']
    return "\n".join(["[[bridge]]", *lines, *[f"{key} = {value}" for key, value in options.items()], ""])
