"""Postfix and Exim as Debian has them, each as a private instance in a folder of its own, never the system's.

They start as root and then become users of their own, so the tests need root; and Exim's package, which excludes
Postfix's, is only unpacked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import smtplib
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from site_of_tests import free_ports

PATIENCE_S = 30.0
EXIM_PACKAGES = ("exim4-daemon-heavy", "libmariadb3", "libspf2-2", "libnss-wrapper")
CYRUS_PACKAGES = ("cyrus-imapd", "cyrus-common", "libxapian30", "libpcre3", "libical3")
CACHE = Path.home() / ".cache" / "mailauth-tests"
EXIM_USER = 65534  # what Exim becomes here: nobody


def documented(beginning: str, where: str = "bridges.md") -> str:
    """The example of this page of docs/ that begins so."""
    page = (Path(__file__).parents[2] / "docs" / where).read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(beginning)]
    return str(found)


def adapted(text: str, changes: Mapping[str, str]) -> str:
    """What is written there as it is here, all at once: a port of ours may look like one that is written there."""
    for written in changes:
        assert written in text, written
    return re.sub("|".join(map(re.escape, changes)), lambda found: changes[found[0]], text)


def missing(why: str) -> None:
    """Skip the test where something is missing; fail where it must not be."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def need_postfix() -> None:
    """Postfix, and the right to start it."""
    if os.geteuid() != 0:
        missing("Postfix is started by root alone")
    if shutil.which("postfix", path="/usr/sbin") is None:
        missing("postfix is not installed")


def need_cyrus_sasl() -> None:
    """What Postfix needs to ask saslauthd."""
    if shutil.which("testsaslauthd", path="/usr/sbin:/usr/bin") is None:
        missing("sasl2-bin is not installed")
    if not any(Path("/usr/lib").glob("*/sasl2/libplain.so*")):
        missing("libsasl2-modules is not installed")


@contextlib.contextmanager
def public_folder() -> Iterator[Path]:
    """A folder that a daemon's own user may enter, with a path short enough for UNIX sockets."""
    before = os.umask(0o022)  # another test may have served in this process
    folder = Path(tempfile.mkdtemp(prefix="mta", dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        os.umask(before)
        shutil.rmtree(folder, ignore_errors=True)


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def wait_for_port(port: int, log: Path) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not listens(port):
        assert time.monotonic() < give_up_at, log.read_text() if log.exists() else "nothing listens"
        time.sleep(0.05)


# ---- Postfix

INTERNAL = """\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
anvil     unix  -       -       n       -       1       anvil
postlog   unix-dgram n  -       n       -       1       postlogd
"""


@dataclass
class Postfix:
    """One instance. services: lines of options for smtpd, by name; those in `chrooted` run so."""

    folder: Path
    services: dict[str, str]
    chrooted: frozenset[str] = frozenset()
    certificate: tuple[Path, Path] | None = None
    ports: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.ports = dict(zip(self.services, free_ports(len(self.services)), strict=True))
        for place in (self.config, self.queue, self.folder / "data"):
            place.mkdir(parents=True)
        user = pwd.getpwnam("postfix")
        os.chown(self.folder / "data", user.pw_uid, user.pw_gid)
        (self.config / "main.cf").write_text(self._main())
        (self.config / "master.cf").write_text(self._master())
        (self.queue / "private").mkdir(0o700)
        os.chown(self.queue / "private", user.pw_uid, user.pw_gid)

    @property
    def config(self) -> Path:
        return self.folder / "etc"

    @property
    def queue(self) -> Path:
        return self.folder / "queue"

    @property
    def log(self) -> Path:
        return self.folder / "mail.log"

    def _main(self) -> str:
        tls = ""
        if self.certificate is not None:
            chain, key = self.certificate
            tls = f"smtpd_tls_cert_file = {chain}\nsmtpd_tls_key_file = {key}\nsmtpd_tls_security_level = may\n"
        return (
            f"compatibility_level = 3.6\nqueue_directory = {self.queue}\ndata_directory = {self.folder}/data\n"
            f"maillog_file = {self.log}\nmaillog_file_prefixes = {self.folder}\nmyhostname = mail.example.test\n"
            "inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmynetworks =\nmydestination =\nalias_maps =\n"
            "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_security_options = noanonymous\nsmtpd_sasl_type = dovecot\n"
            "smtpd_relay_restrictions = permit_sasl_authenticated, reject\ndefault_transport = discard\n"
            f"smtpd_authorized_xclient_hosts = 127.0.0.1\nsmtpd_client_connection_count_limit = 0\n"
            f"smtpd_error_sleep_time = 0\n{tls}"
        )

    def _master(self) -> str:
        lines = []
        for name, options in self.services.items():
            jailed = "y" if name in self.chrooted else "n"
            lines.append(f"127.0.0.1:{self.ports[name]} inet n - {jailed} - - smtpd")
            lines += [f"  -o {option}" for option in options.split()]
        return "\n".join(lines) + "\n" + INTERNAL

    def cyrus(self, mux: Path) -> None:
        """Have services of type `cyrus` ask saslauthd at this socket."""
        place = self.config / "sasl"  # where Debian's Postfix has libsasl look
        place.mkdir()
        (place / "smtpd.conf").write_text(f"pwcheck_method: saslauthd\nmech_list: PLAIN LOGIN\nsaslauthd_path: {mux}\n")

    def _run(self, command: str) -> None:
        done = subprocess.run(
            ["/usr/sbin/postfix", "-c", self.config, command], capture_output=True, text=True, timeout=60, check=False
        )
        log = self.log.read_text() if self.log.exists() else ""
        assert done.returncode == 0 or command == "stop", done.stderr + log

    @contextlib.contextmanager
    def running(self) -> Iterator[Postfix]:
        self._start()
        try:
            yield self
        finally:
            self._run("stop")

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """It runs no more, for as long as this lasts."""
        self._run("stop")
        try:
            yield
        finally:
            self._start()

    def _start(self) -> None:
        self._run("start")
        for port in self.ports.values():
            wait_for_port(port, self.log)

    def client(self, service: str, *, peer: str = "") -> smtplib.SMTP:
        """A client of one service. peer: the address that it seems to come from (XCLIENT)."""
        return connected(self.ports[service], peer)


def connected(port: int, peer: str = "") -> smtplib.SMTP:
    client = smtplib.SMTP("localhost", port, timeout=PATIENCE_S)
    client.ehlo()
    if peer:
        code, said = client.docmd("XCLIENT", f"ADDR={peer}")
        assert code == 220, said
        client.ehlo()
    return client


# ---- Exim


@contextlib.contextmanager
def one_at_a_time(name: str) -> Iterator[Path]:
    """The folder in which a server is kept from one run to the next; tests beside these wait until it is there."""
    place = CACHE / name
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield place


def unpacked(name: str, packages: tuple[str, ...]) -> Path:
    """Where a server is unpacked that cannot be installed beside the others; unpacked first, where it is not yet."""
    if os.geteuid() != 0:
        missing(f"{name} is started by root alone")
    with one_at_a_time(name) as place:
        return _unpacked(name, packages, place)


def _unpacked(name: str, packages: tuple[str, ...], place: Path) -> Path:
    root = place / "root"
    if (place / "done").exists():
        return root
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        missing(f"{name} is unpacked from Debian's package, and this is no Debian")
    got = subprocess.run(["apt-get", "download", *packages], cwd=place, capture_output=True, text=True, check=False)
    if got.returncode != 0:
        missing(f"{name}'s package cannot be had: {got.stderr}")
    for package in place.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, root], check=True)
    (place / "done").touch()
    return root


@dataclass
class Exim:
    """One instance, with the authenticators that the documentation has. server_socket: where they ask.

    certificate: its chain and key; without TLS nothing is offered.
    """

    folder: Path
    server_socket: str
    certificate: tuple[Path, Path]
    authenticators: str | None = None  # other than those
    port: int = field(init=False)

    def __post_init__(self) -> None:
        self.port = free_ports(1)[0]
        self._root = unpacked("exim", EXIM_PACKAGES)
        spool = self.folder / "spool"
        spool.mkdir(parents=True)
        os.chown(spool, EXIM_USER, EXIM_USER)
        nobody = f"Debian-exim:x:{EXIM_USER}:{EXIM_USER}::/:/bin/false\n"
        (self.folder / "passwd").write_text("root:x:0:0::/root:/bin/sh\n" + nobody)
        (self.folder / "group").write_text(f"root:x:0:\nmail:x:8:\nDebian-exim:x:{EXIM_USER}:\n")
        self.config.write_text(self._text())

    @property
    def config(self) -> Path:
        return self.folder / "exim.conf"

    @property
    def program(self) -> Path:
        return self._root / "usr" / "sbin" / "exim4"

    @property
    def log(self) -> Path:
        return self.folder / "spool" / "main.log"

    @property
    def environment(self) -> dict[str, str]:
        libraries = [next(self._root.rglob(name)) for name in ("libmariadb.so.3", "libspf2.so.2")]
        return {
            "PATH": os.environ["PATH"],
            "LD_LIBRARY_PATH": ":".join(str(library.parent) for library in libraries),
            "LD_PRELOAD": str(next(self._root.rglob("libnss_wrapper.so"))),
            "NSS_WRAPPER_PASSWD": str(self.folder / "passwd"),
            "NSS_WRAPPER_GROUP": str(self.folder / "group"),
        }

    def _text(self) -> str:
        authenticators = self.authenticators
        if authenticators is None:
            authenticators = "begin authenticators\n" + documented("# mailauth: from here", "hosts/exim.md").replace(
                "/run/mailauth/exim", self.server_socket
            )
        chain, key = [self.folder / file.name for file in self.certificate]
        return (
            "keep_environment = LD_PRELOAD : LD_LIBRARY_PATH : NSS_WRAPPER_PASSWD : NSS_WRAPPER_GROUP\n"
            f"spool_directory = {self.folder}/spool\nlog_file_path = {self.folder}/spool/%s.log\n"
            f"primary_hostname = exim.example.test\nlocal_interfaces = 127.0.0.1\ndaemon_smtp_ports = {self.port}\n"
            "smtp_accept_max = 100\nsmtp_accept_max_per_host = 100\nacl_smtp_rcpt = relay\nhost_lookup =\n"
            f"tls_certificate = {chain}\ntls_privatekey = {key}\ntls_advertise_hosts = *\n"
            "helo_lookup_domains =\nrfc1413_hosts =\nauth_advertise_hosts = *\nnever_users =\n"
            f"begin acl\nrelay:\n  accept authenticated = *\n  deny\n{authenticators}"
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[Exim]:
        for file in self.certificate:
            shutil.copy(file, self.folder)
            os.chown(self.folder / file.name, EXIM_USER, EXIM_USER)
        words = [self.program, "-C", self.config, "-bdf", "-oX", f"127.0.0.1:{self.port}"]
        with (self.folder / "exim.out").open("w") as out:
            process = subprocess.Popen(words, env=self.environment, stdout=out, stderr=out)
        try:
            wait_for_port(self.port, self.folder / "exim.out")
            yield self
        finally:
            process.terminate()
            process.wait(PATIENCE_S)

    def client(self) -> smtplib.SMTP:
        """A client, over TLS."""
        client = connected(self.port)
        assert "auth" not in client.esmtp_features
        assert client.starttls(context=ssl._create_unverified_context())[0] == 220
        client.ehlo()
        return client
