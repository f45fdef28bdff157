"""Mail servers as an administrator has them before mailauth: private instances of Debian's."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from dovecot24 import root as root_of_24
from http_daemons import MAIL_MODULE
from mail_daemons import CYRUS_PACKAGES, PATIENCE_S, Exim, Postfix, unpacked, wait_for_port

from site_of_tests import free_ports

PAGES = Path(__file__).parents[2] / "docs" / "hosts"
BLOCK = re.compile(r"^[^\n]*?`(/[^`\n]+)`[^\n]*:\n\n```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def page(host: str) -> list[tuple[str, str]]:
    """What the page of a host says: of each file that it names, what is to stand there."""
    found = BLOCK.findall((PAGES / f"{host}.md").read_text())
    assert found
    return found


def told(host: str, file: str, *, last: bool = False, **here: str) -> str:
    """What is to stand in one file. here: what is written there, and what it is in a private instance."""
    texts = [text for name, text in page(host) if name == file]
    assert texts, f"{host}.md says nothing of {file}"
    text = texts[-1 if last else 0]
    for written, value in here.items():
        assert written in text, f"{host}.md, {file}: {written}"
        text = text.replace(written, value)
    return text


def debians_exim(exim: Exim, *, split: bool) -> Path:
    """Debian's own configuration of Exim, in a folder beside this one, whose environment knows Debian's users."""
    folder = exim.folder.with_name("etc-exim4")
    shutil.copytree(unpacked("exim-config", ("exim4-config",)) / "etc" / "exim4", folder)
    choice = "true" if split else "false"
    (folder / "update-exim4.conf.conf").write_text(
        f"dc_eximconfig_configtype='local'\ndc_use_split_config='{choice}'\nCFILEMODE='644'\n"
    )
    for name in ("passwd", "group"):
        users = (exim.folder / name).read_text()
        (exim.folder / name).write_text(Path("/etc", name).read_text() + users.partition("\n")[2])
    return folder


def put_together(exim: Exim, folder: Path) -> Path:
    """The file that Debian's update-exim4.conf makes of it."""
    program = unpacked("exim-config", ("exim4-config",)) / "usr" / "sbin" / "update-exim4.conf"
    made = folder / "made"
    done = subprocess.run(
        ["sh", program, "-d", folder, "-o", made], env=exim.environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return made


class PlainPostfix(Postfix):
    """Postfix with a port 25 and with services where people hand in mail, and nobody to judge them."""

    def _main(self) -> str:
        ours = ("smtpd_sasl", "smtpd_relay", "default_transport")
        return "".join([line for line in super()._main().splitlines(keepends=True) if not line.startswith(ours)]) + (
            "smtpd_relay_restrictions = reject\n"
        )


@dataclass
class PlainDovecot:
    """Debian's own configuration in a folder of its own, with a userdb for one folder."""

    folder: Path
    imap: int = field(init=False)
    pop3: int = field(init=False)

    def __post_init__(self) -> None:
        self.imap, self.pop3 = free_ports(2)
        self.folder.mkdir()
        self.folder.chmod(0o755)
        shutil.copytree("/etc/dovecot", self.config, ignore=shutil.ignore_patterns("private"))
        (self.config / "conf.d" / "10-ssl.conf").write_text("ssl = no\n")
        user = pwd.getpwnam("nobody")
        (self.folder / "mail").mkdir()
        os.chown(self.folder / "mail", user.pw_uid, user.pw_gid)
        (self.config / "conf.d" / "auth-system.conf.ext").write_text(
            f"passdb {{\n  driver = pam\n}}\nuserdb {{\n  driver = static\n  args = {self.userdb}\n}}\n"
        )
        (self.config / "local.conf").write_text(self._local())

    @property
    def config(self) -> Path:
        return self.folder / "etc"

    @property
    def userdb(self) -> str:
        user = pwd.getpwnam("nobody")
        return f"uid={user.pw_uid} gid={user.pw_gid} home={self.folder}/mail/%u"

    def _listeners(self, word: str) -> str:
        """word: by which an address is set."""
        return "".join(
            f"service {name}-login {{\n  inet_listener {name} {{\n    {word} = 127.0.0.1\n    port = {port}\n  }}\n"
            f"  inet_listener {name}s {{\n    port = 0\n  }}\n}}\n"
            for name, port in (("imap", self.imap), ("pop3", self.pop3))
        )

    def _local(self) -> str:
        return (
            f"base_dir = {self.folder}/run\nstate_dir = {self.folder}/state\nlog_path = {self.folder}/log\n"
            f"instance_name = {self.folder.name}\ndisable_plaintext_auth = no\nprotocols = imap pop3\nssl = no\n"
            f"mail_location = maildir:{self.folder}/mail/%u\nauth_failure_delay = 0\nfirst_valid_uid = 1\n"
            + self._listeners("address")
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[PlainDovecot]:
        words = ["/usr/sbin/dovecot", "-F", "-c", str(self.config / "dovecot.conf")]
        with process(words, self.folder / "out"):
            for port in (self.imap, self.pop3):
                wait_for_port(port, self.folder / "log")
            yield self


@dataclass
class PlainDovecot24(PlainDovecot):
    """The same of 2.4, in its root folder, which is to be found from within by the same paths as from outside."""

    def __post_init__(self) -> None:
        self.imap, self.pop3 = free_ports(2)
        self.root = root_of_24()
        inside = self.root / self.root.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        if not inside.is_symlink():
            inside.symlink_to("/")
        self.folder = self.root / "srv" / secrets.token_hex(4)
        self.folder.mkdir()
        shutil.copytree(self.root / "etc" / "dovecot", self.config, ignore=shutil.ignore_patterns("private"))
        (self.config / "conf.d" / "10-ssl.conf").write_text("ssl = no\n")
        (self.folder / "mail").mkdir()
        (self.folder / "mail").chmod(0o777)
        (self.config / "conf.d" / "auth-system.conf.ext").write_text(
            f"passdb pam {{\n}}\nuserdb static {{\n  fields {{\n    home = {self.folder}/mail/%{{user}}\n  }}\n}}\n"
        )
        (self.config / "local.conf").write_text(self._local())

    def _local(self) -> str:
        return (
            f"base_dir = {self.folder}/run\nstate_dir = {self.folder}/state\nlog_path = {self.folder}/log\nssl = no\n"
            "protocols = imap pop3\nauth_allow_cleartext = yes\nauth_failure_delay = 0\nfirst_valid_uid = 1\n"
            f"mail_driver = maildir\nmail_path = {self.folder}/mail/%{{user}}\nmail_uid = mail\nmail_gid = mail\n"
            f"mail_inbox_path =\nmail_home =\n" + self._listeners("listen")
        )

    def programs(self, place: Path) -> str:
        """A folder of programs that are run within the root."""
        place.mkdir()
        for name in ("doveconf", "dovecot"):
            (place / name).write_text(f'#!/bin/sh\nexec chroot {self.root} {name} "$@"\n')
            (place / name).chmod(0o755)
        return str(place)

    @contextlib.contextmanager
    def running(self) -> Iterator[PlainDovecot]:
        words = ["chroot", str(self.root), "dovecot", "-F", "-c", str(self.config / "dovecot.conf")]
        try:
            with process(words, self.folder / "out"):
                for port in (self.imap, self.pop3):
                    wait_for_port(port, self.folder / "log")
                yield self
        finally:
            shutil.rmtree(self.folder)


@dataclass
class PlainNginx:
    """nginx without a mail proxy."""

    folder: Path
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self.port = free_ports(1)[0]
        self.folder.mkdir()
        self.folder.chmod(0o755)
        (self.folder / "nginx.conf").write_text(
            f"daemon off;\nuser www-data;\npid {self.folder}/pid;\nerror_log {self.folder}/log info;\n"
            f"load_module {MAIL_MODULE};\nworker_processes 1;\nevents {{ worker_connections 64; }}\n"
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[PlainNginx]:
        with process(["/usr/sbin/nginx", "-c", f"{self.folder}/nginx.conf", "-p", str(self.folder)], self.folder / "o"):
            wait_for_port(self.port, self.folder / "log")
            yield self


@dataclass
class Cyrus:
    """Cyrus IMAP, unpacked, since its package and Dovecot's exclude each other. certificate: its chain and key."""

    folder: Path
    certificate: tuple[Path, Path]
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self.port = free_ports(1)[0]
        self._copy_programs()
        for name in ("lib/socket", "lib/db", "lib/log", "spool", "run", "etc"):
            (self.folder / name).mkdir(parents=True)
        imapd = f"{self.programs}/imapd -C {self.config}"
        service = f'imap cmd="{imapd}" listen="127.0.0.1:{self.port}" prefork=0'
        (self.folder / "cyrus.conf").write_text(f"START {{ }}\nSERVICES {{\n  {service}\n}}\nEVENTS {{ }}\n")
        self.config.write_text(self._text())

    @property
    def config(self) -> Path:
        return self.folder / "etc" / "imapd.conf"

    def _text(self) -> str:
        chain, key = [self.folder / file.name for file in self.certificate]
        places = {name: f"{self.folder}/run/{name}" for name in ("idlesocket", "lmtpsocket", "notifysocket")}
        return (
            f"configdirectory: {self.folder}/lib\ndefaultpartition: default\npartition-default: {self.folder}/spool\n"
            f"proc_path: {self.folder}/run/proc\nmboxname_lockpath: {self.folder}/run/lock\ncyrus_user: nobody\n"
            "cyrus_group: nogroup\nvirtdomains: userid\nunixhierarchysep: yes\nallowplaintext: yes\n"
            f"tls_server_cert: {chain}\ntls_server_key: {key}\nfailedloginpause: 0\nsasl_pwcheck_method: auxprop\n"
            + "".join([f"{name}: {place}\n" for name, place in places.items()])
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[Cyrus]:
        for file in self.certificate:
            shutil.copy(file, self.folder)
        subprocess.run(["chown", "-R", "nobody:nogroup", self.folder], check=True)
        words = [f"{self.programs}/cyrmaster", "-C", str(self.config), "-M", str(self.folder / "cyrus.conf")]
        words += ["-p", str(self.folder / "pid"), "-D"]
        with process(words, self.folder / "out", {**os.environ, "LD_LIBRARY_PATH": str(self.programs)}):
            wait_for_port(self.port, self.folder / "out")
            yield self

    @property
    def programs(self) -> Path:
        return self.folder / "programs"

    def _copy_programs(self) -> None:
        """To where its own user may run them."""
        root = unpacked("cyrus", CYRUS_PACKAGES)
        self.programs.mkdir(parents=True)
        for file in (root / "usr/lib/cyrus/bin/imapd", root / "usr/sbin/cyrmaster", *root.rglob("lib*.so.*")):
            shutil.copy(file, self.programs)


@contextlib.contextmanager
def process(words: list[str], out: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    with out.open("w") as log:  # in a group of its own: Cyrus' master ends all of its group that it may
        running = subprocess.Popen(words, stdout=log, stderr=log, env=environment, process_group=0)
    try:
        yield
    finally:
        running.terminate()
        running.wait(PATIENCE_S)


__all__ = ["Cyrus", "Exim", "PlainDovecot", "PlainNginx", "PlainPostfix", "page", "told"]
