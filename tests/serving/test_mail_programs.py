"""Real mail programs log in, and tell a wrong password from a server that cannot say."""

from __future__ import annotations

import asyncio
import imaplib
import poplib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from doors import IMAP, POP3, Words
from doubles import Doorman
from mailauth.dialogue import Ending
from mailauth.verdict import Cause, Defer, Principal
from servers import authority, client_tls, listening

pytestmark = [pytest.mark.usefixtures("nothing_left_behind"), pytest.mark.asyncio(loop_factories=["uvloop"])]

LOGIN, PASSWORD = "alice@example.test", "abcdefghjkmnpqrs"


async def empty_mailbox(
    principal: Principal, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ending: asyncio.Future[Ending]
) -> None:
    """As much of a mailbox as a program needs to find out that there is nothing in it."""
    while line := await reader.readline():
        words = line.split()
        if words[0] in {b"STAT", b"LIST", b"UIDL", b"QUIT"}:
            writer.write(b"+OK 0 0\r\n" + b".\r\n" * (words[0] in {b"LIST", b"UIDL"}))
        else:
            untagged = {b"SELECT": b"* 0 EXISTS\r\n* OK [UIDVALIDITY 1]\r\n", b"LOGOUT": b"* BYE\r\n"}
            writer.write(untagged.get(words[1].upper(), b"") + words[0] + b" OK done\r\n")
        if words[-1] in {b"QUIT", b"LOGOUT"}:
            return


def imaplib_login(port: int, password: str) -> str:
    with imaplib.IMAP4("localhost", port) as client:
        client.starttls(client_tls())
        client.login(LOGIN, password)
        return client.noop()[0]


def imaplib_authenticate(port: int, password: str) -> str:
    with imaplib.IMAP4("localhost", port) as client:
        client.starttls(client_tls())
        client.authenticate("PLAIN", lambda _: f"\0{LOGIN}\0{password}".encode())
        return client.noop()[0]


def poplib_login(port: int, password: str) -> str:
    client = poplib.POP3("localhost", port)
    try:
        client.stls(client_tls())
        client.user(LOGIN)
        client.pass_(password)
        return client.quit().decode()[1:3]
    finally:
        client.close()


LIBRARIES: list[tuple[Words, Callable[[int, str], str]]] = [
    (IMAP, imaplib_login),
    (IMAP, imaplib_authenticate),
    (POP3, poplib_login),
]


@pytest.mark.parametrize(("door", "log_in"), LIBRARIES, ids=lambda value: getattr(value, "__name__", None))
async def test_pythons_own_clients(door: Words, log_in: Callable[[int, str], str]) -> None:
    doorman = Doorman([(LOGIN, PASSWORD)])
    async with listening(door.dialogue(), doorman, mailbox=empty_mailbox) as running:
        assert await asyncio.to_thread(log_in, running.port, PASSWORD) == "OK"
        with pytest.raises((imaplib.IMAP4.error, poplib.error_proto), match=r"AUTH.*Authentication failed"):
            await asyncio.to_thread(log_in, running.port, "wrong")
        doorman.outcome = Defer(Cause.STORE)
        with pytest.raises((imaplib.IMAP4.error, poplib.error_proto), match=r"UNAVAILABLE|SYS/TEMP"):
            await asyncio.to_thread(log_in, running.port, PASSWORD)


@dataclass(frozen=True)
class Program:
    """A program of the operating system. command: argv, given its folder, the port and the password."""

    name: str
    door: Words
    command: Callable[[Path, int, str], list[str]]
    done: int
    refused: int

    def __repr__(self) -> str:
        return self.name


def configured(folder: Path, text: str) -> str:
    """The name of a configuration file with this text, readable by its owner only."""
    file = folder / "rc"
    file.write_text(text)
    file.chmod(0o600)
    return str(file)


def fetchmail(folder: Path, port: int, password: str) -> list[str]:
    rc = configured(
        folder,
        f'poll localhost port {port} proto IMAP user "{LOGIN}" password "{password}"'
        f' sslproto "TLS1.2+" sslcertck sslcertfile "{folder}/ca.pem" mda "true"\n',
    )
    return ["fetchmail", "--nosyslog", "-f", rc, "--pidfile", f"{folder}/pid", "-i", f"{folder}/ids"]


def mpop(folder: Path, port: int, password: str) -> list[str]:
    rc = configured(
        folder,
        f"account default\nhost localhost\nport {port}\ntls on\ntls_starttls on\ntls_trust_file {folder}/ca.pem\n"
        f"auth user\nuser {LOGIN}\npassword {password}\ndelivery mbox {folder}/box\nuidls_file {folder}/uidls\n",
    )
    return ["mpop", "-C", rc]


def mbsync(folder: Path, port: int, password: str) -> list[str]:
    rc = configured(
        folder,
        f'IMAPAccount a\nHost localhost\nPort {port}\nUser {LOGIN}\nPass "{password}"\nSSLType STARTTLS\n'
        f"CertificateFile {folder}/ca.pem\n\nIMAPStore far\nAccount a\n\n"
        f"MaildirStore near\nPath {folder}/mail/\nInbox {folder}/mail/INBOX\n\n"
        "Channel c\nFar :far:\nNear :near:\nPatterns *\n",
    )
    (folder / "mail").mkdir(exist_ok=True)
    return ["mbsync", "-l", "-c", rc, "c"]


def curl(scheme: str) -> Callable[[Path, int, str], list[str]]:
    def command(folder: Path, port: int, password: str) -> list[str]:
        rc = configured(folder, f'user = "{LOGIN}:{password}"\n')
        url = f"{scheme}://localhost:{port}/"
        return ["curl", "-sS", "--ssl-reqd", "--cacert", f"{folder}/ca.pem", "-K", rc, url]

    return command


PROGRAMS = [
    Program("fetchmail", IMAP, fetchmail, 1, 3),
    Program("mbsync", IMAP, mbsync, 0, 1),
    Program("curl imap", IMAP, curl("imap"), 0, 67),
    Program("curl pop3", POP3, curl("pop3"), 0, 67),
    Program("mpop", POP3, mpop, 0, 77),
]


@pytest.mark.system
@pytest.mark.parametrize("program", PROGRAMS, ids=repr)
async def test_programs_of_the_operating_system(program: Program, tmp_path: Path) -> None:
    if shutil.which(program.name.split()[0]) is None:
        pytest.skip(f"{program.name} is not installed")
    (tmp_path / "ca.pem").write_bytes(authority().cert_pem.bytes())
    doorman = Doorman([(LOGIN, PASSWORD)])

    def run(port: int, password: str) -> subprocess.CompletedProcess[str]:
        command: Any = program.command(tmp_path, port, password)
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)

    async with listening(program.door.dialogue(), doorman, mailbox=empty_mailbox) as running:
        done = await asyncio.to_thread(run, running.port, PASSWORD)
        assert done.returncode == program.done, done
        assert doorman.attempts[-1].tls
        judged = len(doorman.attempts)
        refused = await asyncio.to_thread(run, running.port, "wrong")
        assert refused.returncode == program.refused, refused
        assert len(doorman.attempts) > judged
