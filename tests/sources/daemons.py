"""Private instances of the system's daemons: OpenLDAP's slapd, and Dovecot as an IMAP server."""

from __future__ import annotations

import base64
import contextlib
import grp
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from servers import authority
from site_of_tests import free_ports

PATIENCE_S = 30.0
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/openldap"])

ALICE_PASSWORD = "correct horse, pässword"
BASE = "dc=example,dc=test"
ADMIN, ADMIN_PASSWORD = f"cn=admin,{BASE}", "who searches"


def program(name: str) -> str:
    """Where this program is; skips where it is not, and fails so in CI."""
    found = shutil.which(name, path=PATH)
    if found is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Authority, certificate and key of localhost, as files."""
    made = authority().issue_cert("localhost", "127.0.0.1", common_name="localhost")
    paths = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    authority().cert_pem.write_to_path(str(paths[0]))
    paths[1].write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    made.private_key_pem.write_to_path(str(paths[2]))
    return paths


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Come back when somebody listens there."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < give_up_at, log.read_text(errors="replace")
        time.sleep(0.05)


@contextlib.contextmanager
def running(command: list[str], log: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    with (
        log.open("wb") as written,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=written, stderr=written) as process,
    ):
        try:
            wait_for(port, process, log)
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass(frozen=True)
class Directory:
    """One slapd. url: StartTLS may be had there; tls_url: TLS comes first."""

    url: str
    tls_url: str
    ca: str


SLAPD = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
TLSCACertificateFile {ca}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
database mdb
suffix "{base}"
rootdn "{admin}"
rootpw "{admin_password}"
directory {folder}/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{admin}" read by anonymous {anonymous}
"""

PEOPLE = [  # uid, mail, password
    ("alice", "alice@example.test", ALICE_PASSWORD),
    ("twin1", "twin@example.test", "x"),
    ("twin2", "twin@example.test", "x"),
    ("o'hara+(*)", "o'hara+(*)@example.test".replace("(", "").replace(")", ""), "star"),
    ("müller", "müller@example.test", "umlaut"),
    ("nopassword", "nopassword@example.test", None),
]


def _ldif() -> str:
    entries = [
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n",
        f"dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people\n",
    ]
    for uid, mail, password in PEOPLE:
        name = "".join(f"\\{c}" if c in ',+"\\<>;=' else c for c in uid)
        lines = [
            _line("dn", f"uid={name},ou=people,{BASE}"),
            "objectClass: inetOrgPerson",
            *[_line(key, value) for key, value in (("uid", uid), ("cn", uid), ("sn", uid), ("description", mail))],
            *([_line("mail", mail)] if mail.isascii() else []),
            *([] if password is None else [_line("userPassword", password)]),
        ]
        entries.append("\n".join(lines) + "\n")
    return "\n".join(entries)


def _line(key: str, value: str) -> str:
    return f"{key}:: {base64.b64encode(value.encode()).decode()}"


@contextlib.contextmanager
def directory(folder: Path, *, anonymous: str = "none") -> Iterator[Directory]:
    """anonymous: what anybody may do with entries: none, or search."""
    slapd, slapadd = program("slapd"), program("slapadd")
    (folder / "data").mkdir()
    ca, certificate, key = certificates(folder)
    config = folder / "slapd.conf"
    config.write_text(
        SLAPD.format(
            folder=folder,
            ca=ca,
            certificate=certificate,
            key=key,
            base=BASE,
            admin=ADMIN,
            admin_password=ADMIN_PASSWORD,
            anonymous="read" if anonymous == "search" else "auth",
        )
    )
    subprocess.run([slapadd, "-f", config], input=_ldif().encode(), check=True, capture_output=True)
    plain, tls = free_ports(2)
    urls = f"ldap://localhost:{plain}/ ldaps://localhost:{tls}/"
    with running([slapd, "-d", "0", "-f", str(config), "-h", urls], folder / "slapd.log", plain):
        yield Directory(f"ldap://localhost:{plain}", f"ldaps://localhost:{tls}", str(ca))


@dataclass(frozen=True)
class ImapServer:
    port: int
    tls_port: int
    ca: str


DOVECOT = """\
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot-log
default_internal_user = {user}
default_login_user = {login_user}
default_internal_group = {group}
protocols = imap
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = yes
auth_mechanisms = plain
auth_failure_delay = 0
auth_username_chars =
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 0
passdb {{
  driver = passwd-file
  args = {users}
}}
userdb {{
  driver = static
  args = uid={user} gid={group} home={folder}/mail/%u
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    address = 127.0.0.1
    port = {port}
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {tls_port}
    ssl = yes
  }}
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
"""


@contextlib.contextmanager
def imap_server(*, broken: bool = False) -> Iterator[ImapServer]:
    """Dovecot with one account. broken: its file of passwords cannot be read."""
    dovecot = program("dovecot")
    with tempfile.TemporaryDirectory(prefix="mailauth-dovecot-") as made:
        folder = Path(made)
        folder.chmod(0o755)  # Dovecot's own users have to get through, which pytest's folders do not let them
        ca, certificate, key = certificates(folder)
        users = folder / "users"
        users.write_text(f"alice@example.test:{{PLAIN}}{ALICE_PASSWORD}\n")
        users.chmod(0 if broken else 0o644)
        (folder / "mail").mkdir()
        (folder / "mail").chmod(0o777)
        own = pwd.getpwuid(os.getuid()).pw_name
        is_root = os.geteuid() == 0
        port, tls_port = free_ports(2)
        config = folder / "dovecot.conf"
        config.write_text(
            DOVECOT.format(
                folder=folder,
                user="dovecot" if is_root else own,
                login_user="dovenull" if is_root else own,
                group="dovecot" if is_root else grp.getgrgid(os.getgid()).gr_name,
                certificate=certificate,
                key=key,
                users=users,
                port=port,
                tls_port=tls_port,
            )
        )
        with running([dovecot, "-F", "-c", str(config)], folder / "dovecot.out", port):
            yield ImapServer(port, tls_port, str(ca))


@dataclass(frozen=True, slots=True)
class Mariadb:
    """A MariaDB. socket: where its root needs no password; port: on 127.0.0.1, and with TLS on 127.0.0.2."""

    socket: Path
    port: int
    ca: Path


@contextlib.contextmanager
def mariadb() -> Iterator[Mariadb]:
    """A private instance."""
    daemon, install = program("mariadbd"), program("mariadb-install-db")
    with tempfile.TemporaryDirectory(prefix="mailauth-mariadb-", ignore_cleanup_errors=True) as name:
        folder, [port] = Path(name), free_ports(1)
        who = pwd.getpwuid(os.geteuid()).pw_name
        (folder / "tmp").mkdir()  # a MariaDB that starts removes the temporary tables of any other in the same folder
        common = ["--no-defaults", f"--datadir={folder / 'data'}", f"--tmpdir={folder / 'tmp'}", f"--user={who}"]
        installed = subprocess.run(
            [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert installed.returncode == 0, installed.stdout
        made = authority().issue_cert("127.0.0.2", common_name="127.0.0.2")
        authority().cert_pem.write_to_path(str(folder / "ca.pem"))
        (folder / "server.pem").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(folder / "server.key"))
        options = [
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'pid'}",
            "--bind-address=127.0.0.1,127.0.0.2",
            f"--port={port}",
            "--innodb-buffer-pool-size=8M",
            "--skip-name-resolve",
            f"--ssl-cert={folder / 'server.pem'}",
            f"--ssl-key={folder / 'server.key'}",
        ]
        with running([daemon, *common, *options], folder / "log", port):
            yield Mariadb(folder / "socket", port, folder / "ca.pem")
