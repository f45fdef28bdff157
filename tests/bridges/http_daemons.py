"""nginx's mail proxy and Dovecot as Debian has them, each as a private instance in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mail_daemons import adapted, documented, missing, wait_for_port

from mailauth.attempt import Service
from site_of_tests import free_ports

PATIENCE_S = 40.0
MAIL_MODULE = Path("/usr/lib/nginx/modules/ngx_mail_module.so")
LUA_MODULE = Path("/usr/lib/dovecot/modules/auth/libauthdb_lua.so")
TLS_PORTS = {Service.IMAP: 993, Service.POP3: 995, Service.SMTP: 465}


def need_nginx() -> None:
    if shutil.which("nginx", path="/usr/sbin") is None or not MAIL_MODULE.exists():
        missing("nginx or libnginx-mod-mail is not installed")
    if os.geteuid() != 0:
        missing("nginx becomes another user, which root alone can have it do")


def need_dovecot() -> None:
    if os.geteuid() != 0:
        missing("Dovecot is started by root alone")
    if not Path("/usr/lib/dovecot/imap").exists() or not Path("/usr/lib/dovecot/pop3").exists():
        missing("dovecot-imapd or dovecot-pop3d is not installed")
    if not LUA_MODULE.exists():
        missing("dovecot-auth-lua is not installed")


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
                wait_for_port(port, self.folder / "out")
            yield self
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@dataclass
class Nginx(Daemon):
    """As docs/hosts/nginx.md has it. changes: what stands there, and what does here."""

    changes: dict[str, str]
    user: str = "www-data"

    def text(self) -> str:
        auth = documented("auth_http unix", "hosts/nginx.md")
        mail = documented("mail {", "hosts/nginx.md").replace("include /etc/nginx/mailauth-auth.conf;\n", auth)
        for service, port in TLS_PORTS.items():
            ours = self.ports.get(service)
            mail = re.sub(
                rf"  server \{{ listen {port} .*\n",
                "" if ours is None else f"  server {{ listen {ours} ssl; protocol {service}; }}\n",
                mail,
            )
        mail = adapted(mail, self.changes)
        return (
            f"daemon off;\nuser {self.user};\npid {self.folder}/pid;\nerror_log {self.log} info;\n"
            f"load_module {MAIL_MODULE};\nworker_processes 1;\nevents {{ worker_connections 1024; }}\n{mail}"
        )

    def command(self) -> list[str]:
        return ["/usr/sbin/nginx", "-c", str(self.config), "-p", str(self.folder)]


@dataclass
class Dovecot(Daemon):
    """authentication: the lines of the configuration that say how passwords are judged."""

    authentication: str

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
            f"userdb {{\n  driver = static\n  args = home={self.folder}/mail/%u\n}}\n{listeners}{self.authentication}"
        )

    def command(self) -> list[str]:
        return ["/usr/sbin/dovecot", "-F", "-c", str(self.config)]
