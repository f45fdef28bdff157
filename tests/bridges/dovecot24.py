"""Dovecot 2.4, which a later Debian has than the one that the tests run on: in a root folder of its own.

debootstrap fetches it, once, from where apt has its packages from.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import pytest
from mail_daemons import documented, missing, one_at_a_time, wait_for_port

from mailauth.attempt import Service
from site_of_tests import free_ports

RELEASE = "trixie"
PACKAGES = "dovecot-core,dovecot-imapd,dovecot-pop3d,dovecot-auth-lua"
PATIENCE_S = 40.0


def root() -> Path:
    """Where it is unpacked; unpacked first, where it is not yet."""
    if os.geteuid() != 0:
        missing("Dovecot is started by root alone")
    if shutil.which("debootstrap", path="/usr/sbin") is None:
        missing("debootstrap is not installed")
    with one_at_a_time("dovecot-2.4") as place:
        return _fetched(place)


def _fetched(place: Path) -> Path:
    there = place / "root"
    if (place / "done").exists():
        return there
    shutil.rmtree(there, ignore_errors=True)
    asked = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.split()
    words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE, str(there), sites[0]]
    got = subprocess.run(words, capture_output=True, text=True, check=False)
    if got.returncode != 0:
        pytest.skip(f"Dovecot 2.4 cannot be had: {got.stdout[-200:]}{got.stderr[-200:]}")
    (place / "done").touch()
    return there


@dataclass
class Dovecot24:
    """One instance that asks by Lua at `port`. home: its folder, as it is seen within its root."""

    port: int
    token: str
    doveadm_key: str
    root: Path = field(default_factory=root)
    ports: dict[Service, int] = field(init=False)
    doveadm_port: int = field(init=False)
    home: str = field(init=False)

    def __post_init__(self) -> None:
        imap, pop3, self.doveadm_port = free_ports(3)
        self.ports = {Service.IMAP: imap, Service.POP3: pop3}
        self.home = f"/srv/{secrets.token_hex(4)}"
        folder = self.root / self.home.lstrip("/")
        (folder / "mail").mkdir(parents=True)
        (folder / "mail").chmod(0o777)
        (folder / "token").write_text(self.token + "\n")
        (folder / "mailauth.lua").write_text((resources.files("mailauth.bridges") / "dovecot.lua").read_text())
        (folder / "dovecot.conf").write_text(self._text())

    @property
    def log(self) -> str:
        return (self.root / self.home.lstrip("/") / "log").read_text(errors="replace")

    @contextlib.contextmanager
    def running(self) -> Iterator[Dovecot24]:
        """Up, until the end."""
        folder = self.root / self.home.lstrip("/")
        words = ["chroot", str(self.root), "dovecot", "-F", "-c", f"{self.home}/dovecot.conf"]
        with (folder / "out").open("w") as out:
            process = subprocess.Popen(words, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            for port in (*self.ports.values(), self.doveadm_port):
                wait_for_port(port, folder / "out")
            yield self
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            shutil.rmtree(folder)

    def _text(self) -> str:
        passdb = documented("passdb lua").replace("127.0.0.1:8412", f"127.0.0.1:{self.port}")
        passdb = passdb.replace("/etc/dovecot/mailauth.lua", f"{self.home}/mailauth.lua")
        passdb = passdb.replace("/etc/mailauth/dovecot-lua.token", f"{self.home}/token")
        listeners = "".join(
            f"service {service}-login {{\n"
            f"  inet_listener {service} {{\n    listen = 127.0.0.1\n    port = {port}\n  }}\n"
            f"  inet_listener {service}s {{\n    port = 0\n  }}\n}}\n"
            for service, port in self.ports.items()
        )
        api = documented("doveadm_api_key").replace("KEY", self.doveadm_key).replace("8414", str(self.doveadm_port))
        return (
            "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"
            f"base_dir = {self.home}/run\nstate_dir = {self.home}/state\nlog_path = {self.home}/log\n"
            "protocols = imap pop3\nssl = no\nauth_allow_cleartext = yes\nauth_mechanisms = plain login\n"
            "auth_verbose = yes\nauth_failure_delay = 0\nauth_username_chars =\nfirst_valid_uid = 1\n"
            f"mail_driver = maildir\nmail_path = {self.home}/mail/%{{user}}\nmail_uid = mail\nmail_gid = mail\n"
            "service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"
            f"userdb static {{\n  fields {{\n    home = {self.home}/mail/%{{user}}\n  }}\n}}\n"
            f"{api.replace('    address =', '    listen =')}{listeners}{passdb}"
        )
