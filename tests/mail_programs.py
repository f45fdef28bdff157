"""Mail programs of the operating system, each made to send one message or to read an INBOX, with nobody to ask.

A password is handed over in a file, by a command or on standard input: never among the arguments, which anybody on
the machine can read.
"""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailauth.attempt import Service
from site_of_tests import Site

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Ended:
    """How a program ended, and all that it said."""

    code: int
    output: str


@dataclass(frozen=True)
class Visit:
    """One login of one program: to which port, as whom. folder: an empty one, for its files."""

    site: Site
    folder: Path
    tls: str
    login: str
    password: str

    def port(self, service: Service) -> int:
        return self.site.ports[service, self.tls]

    @property
    def authority(self) -> Path:
        return self.site.folder / "ca.pem"

    @property
    def secret(self) -> Path:
        """A file that holds the password."""
        return self.file("secret", self.password + "\n")

    def file(self, name: str, *lines: str) -> Path:
        path = self.folder / name
        path.touch(0o600)
        path.write_text("\n".join(lines) + "\n")
        return path

    def place(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        return path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "FETCHMAILHOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "TERM": "vt100",
        }

    def run(self, *command: object, given: bytes = b"") -> Ended:
        ended = subprocess.run(
            self._words(command),
            cwd=self.folder,
            env=self.environment,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout.decode(errors="replace"))

    def _words(self, command: tuple[object, ...]) -> list[str]:
        words = [str(word) for word in command]
        assert not any(self.password in word for word in words)
        return words

    def run_on_a_terminal(self, *command: object) -> Ended:
        """For a program that wants a screen."""
        screen, terminal = pty.openpty()
        process = subprocess.Popen(
            self._words(command),
            cwd=self.folder,
            env=self.environment,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)
        shown = b""
        give_up_at = time.monotonic() + PATIENCE_S
        try:
            while select.select([screen], [], [], max(0.0, give_up_at - time.monotonic()))[0]:
                shown += os.read(screen, 65_536)
        except OSError:  # EIO: nobody has the terminal open any more
            pass
        finally:
            os.close(screen)
            process.kill()
        return Ended(process.wait(), shown.decode(errors="replace"))


def need(program: str) -> None:
    """Skip the test where the program is missing; fail where it must not be."""
    if shutil.which(program) is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{program} is not installed")
        pytest.skip(f"{program} is not installed")


# ---- those that send


def curl(visit: Visit, service: Service, *lines: str, given: bytes = b"") -> Ended:
    scheme = f"{service}s" if visit.tls == "implicit" else str(service)
    config = [
        "silent",
        "show-error",
        "ssl-reqd",
        f'cacert = "{visit.authority}"',
        f'user = "{visit.login}:{visit.password}"',
        *[line.replace("URL", f"{scheme}://localhost:{visit.port(service)}") for line in lines],
    ]
    visit.file("message").write_bytes(given)
    return visit.run("curl", "--config", "-", given="\n".join(config).encode())


def send_with_curl(visit: Visit, recipient: str, message: bytes) -> Ended:
    return curl(
        visit,
        Service.SMTP,
        'url = "URL/client.example.test"',
        f'mail-from = "{visit.login}"',
        f'mail-rcpt = "{recipient}"',
        'upload-file = "message"',
        given=message,
    )


def send_with_msmtp(visit: Visit, recipient: str, message: bytes) -> Ended:
    config = visit.file(
        "msmtprc",
        "account default",
        "host localhost",
        f"port {visit.port(Service.SMTP)}",
        "tls on",
        f"tls_starttls {'on' if visit.tls == 'starttls' else 'off'}",
        f"tls_trust_file {visit.authority}",
        "auth on",
        f"user {visit.login}",
        f'passwordeval "cat {visit.secret}"',
        f"from {visit.login}",
    )
    return visit.run("msmtp", f"--file={config}", "--", recipient, given=message)


def send_with_swaks(visit: Visit, recipient: str, message: bytes) -> Ended:
    config = visit.file(
        "swaksrc",
        "server localhost",
        f"port {visit.port(Service.SMTP)}",
        "tls" if visit.tls == "starttls" else "tlsc",
        "tls-verify",
        f"tls-ca-path {visit.authority}",
        "helo client.example.test",
        "auth LOGIN",
        f"auth-user {visit.login}",
        f"auth-password {visit.password}",
        f"from {visit.login}",
        f"to {recipient}",
        "silent 2",
    )
    # Swaks ends the last line itself.
    return visit.run("swaks", "--config", config, "--data", "-", given=message.removesuffix(b"\r\n"))


def mutt_config(visit: Visit, *lines: str) -> Path:
    return visit.file(
        "muttrc",
        f'set ssl_ca_certificates_file = "{visit.authority}"',
        f"set ssl_force_tls = yes ssl_starttls = {'yes' if visit.tls == 'starttls' else 'no'}",
        f'set folder = "{visit.folder}" tmpdir = "{visit.folder}" record = ""',
        f'set from = "{visit.login}" use_envelope_from = yes confirmappend = no confirmcreate = no delete = no',
        *lines,
    )


def send_with_mutt(visit: Visit, recipient: str, message: bytes) -> Ended:
    """Mutt writes the header itself: of the message it takes the body."""
    scheme = "smtps" if visit.tls == "implicit" else "smtp"
    config = mutt_config(
        visit,
        f'set smtp_url = "{scheme}://{visit.login}@localhost:{visit.port(Service.SMTP)}/"',
        f'set smtp_pass = "{visit.password}"',
        'set smtp_authenticators = "plain"',
    )
    body = message.partition(b"\r\n\r\n")[2]
    return visit.run("mutt", "-n", "-F", config, "-s", "by mutt", "--", recipient, given=body)


Send = Callable[[Visit, str, bytes], Ended]
SENDERS: dict[str, Send] = {
    "curl": send_with_curl,
    "msmtp": send_with_msmtp,
    "swaks": send_with_swaks,
    "mutt": send_with_mutt,
}


# ---- those that read


def _curled(visit: Visit, service: Service, path: str) -> tuple[Ended, list[bytes]]:
    mails = visit.place("mails")
    ended = curl(visit, service, f'url = "URL/{path}"', f'output = "{mails}/#1"')
    return ended, [path.read_bytes() for path in sorted(mails.iterdir())]


def read_imap_with_curl(visit: Visit) -> tuple[Ended, list[bytes]]:
    return _curled(visit, Service.IMAP, "INBOX/;MAILINDEX=[1-2]")


def read_pop3_with_curl(visit: Visit) -> tuple[Ended, list[bytes]]:
    return _curled(visit, Service.POP3, "[1-2]")


def mbsync(visit: Visit) -> Ended:
    mails = visit.place("mails")
    config = visit.file(
        "mbsyncrc",
        "IMAPAccount site",
        "Host localhost",
        f"Port {visit.port(Service.IMAP)}",
        f"User {visit.login}",
        f'PassCmd "cat {visit.secret}"',
        f"SSLType {'IMAPS' if visit.tls == 'implicit' else 'STARTTLS'}",
        f"CertificateFile {visit.authority}",
        "SystemCertificates no",
        "",
        "IMAPStore far",
        "Account site",
        "",
        "MaildirStore near",
        f"Path {mails}/",
        f"Inbox {mails}/INBOX",
        "",
        "Channel inbox",
        "Far :far:",
        "Near :near:",
        "Create Near",
        "Expunge Both",
        "SyncState *",
        "CopyArrivalDate yes",
    )
    return visit.run("mbsync", "-c", config, "inbox")


def _in_maildir(folder: Path) -> list[bytes]:
    paths = [path for part in ("cur", "new") for path in (folder / part).glob("*")]
    return sorted(path.read_bytes() for path in paths)


def read_with_mbsync(visit: Visit) -> tuple[Ended, list[bytes]]:
    return mbsync(visit), _in_maildir(visit.folder / "mails" / "INBOX")


def _fetchmail(visit: Visit, service: Service) -> tuple[Ended, list[bytes]]:
    mails = visit.place("mails")
    config = visit.file(
        "fetchmailrc",
        "set no syslog",
        "set no bouncemail",
        f"poll localhost protocol {service} service {visit.port(service)}",
        f'user "{visit.login}" password "{visit.password}"',
        f'{"ssl" if visit.tls == "implicit" else ""} sslproto "TLS1.2+" sslcertck sslcertfile "{visit.authority}"',
        f'fetchall keep no rewrite mda "cat > {mails}/$$"',
    )
    ended = visit.run("fetchmail", "--fetchmailrc", config, "--nodetach", "--invisible", "--pidfile", "pid")
    return ended, sorted(path.read_bytes() for path in mails.iterdir())


def read_imap_with_fetchmail(visit: Visit) -> tuple[Ended, list[bytes]]:
    return _fetchmail(visit, Service.IMAP)


def read_pop3_with_fetchmail(visit: Visit) -> tuple[Ended, list[bytes]]:
    return _fetchmail(visit, Service.POP3)


def read_with_mpop(visit: Visit) -> tuple[Ended, list[bytes]]:
    mails = visit.place("mails")
    for part in ("cur", "new", "tmp"):
        (mails / part).mkdir()
    config = visit.file(
        "mpoprc",
        "account default",
        "host localhost",
        f"port {visit.port(Service.POP3)}",
        "tls on",
        f"tls_starttls {'on' if visit.tls == 'starttls' else 'off'}",
        f"tls_trust_file {visit.authority}",
        "auth user",
        f"user {visit.login}",
        f'passwordeval "cat {visit.secret}"',
        f"delivery maildir {mails}",
        f"uidls_file {visit.folder}/uidls",
        "received_header off",
        "keep on",
    )
    return visit.run("mpop", f"--file={config}"), _in_maildir(mails)


def read_with_mutt(visit: Visit) -> tuple[Ended, list[bytes]]:
    """Mutt opens the INBOX, copies all messages of it into a file, and leaves."""
    scheme = "imaps" if visit.tls == "implicit" else "imap"
    copy = visit.folder / "copy"
    config = mutt_config(
        visit,
        f'set imap_pass = "{visit.password}" imap_authenticators = "login" wait_key = no auto_tag = yes',
        "set mbox_type = Maildir sleep_time = 0 net_inc = 0 read_inc = 0 timeout = 1 help = no beep = no",
        f'push "<tag-pattern>~A<enter><copy-message><kill-line>{copy}<enter><exit>"',
    )
    url = f"{scheme}://{visit.login}@localhost:{visit.port(Service.IMAP)}/INBOX"
    ended = visit.run_on_a_terminal("mutt", "-n", "-F", config, "-f", url)
    return ended, _in_maildir(copy)


Read = Callable[[Visit], tuple[Ended, list[bytes]]]
READERS: dict[str, Read] = {
    "curl-imap": read_imap_with_curl,
    "curl-pop3": read_pop3_with_curl,
    "mbsync": read_with_mbsync,
    "fetchmail-imap": read_imap_with_fetchmail,
    "fetchmail-pop3": read_pop3_with_fetchmail,
    "mpop": read_with_mpop,
    "mutt-imap": read_with_mutt,
}
