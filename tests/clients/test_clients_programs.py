"""The mail programs of a Debian system at a served site, over verified TLS: what they send, read and keep in step.

Rule: what a program says on a wrong password, its exit code too, is what makes it ask its user for another one.
"""

from __future__ import annotations

import imaplib
import mailbox
import re
import time
from pathlib import Path

import pytest

from mail_programs import READERS, SENDERS, Visit, mbsync, need
from mailauth.attempt import Service
from site_of_tests import Site

pytestmark = pytest.mark.system

WEB = "correct horse battery"
ALICE, BOB = "alice@example.test", "bob@example.test"
MESSAGE = (
    b"From: <alice@example.test>\r\nTo: <bob@example.test>\r\nDate: Thu, 1 Jan 2026 00:00:00 +0000\r\n"
    b"Message-ID: <1@client.example.test>\r\nSubject: dots\r\n\r\n.\r\n..\r\n.one\r\n\r\nFrom here on\r\n"
)
BODY = MESSAGE.partition(b"\r\n\r\n")[2]

# How each ends when the server does not take the password, and what it then says, which is what its user gets to see.
REFUSED = {
    "curl": (67, "Login denied"),
    "msmtp": (77, "535 5.7.8 Authentication failed."),
    "mutt": (1, "SASL authentication failed"),
    "swaks": (28, "535 5.7.8 Authentication failed."),
    "curl-imap": (67, "Login denied"),
    "curl-pop3": (67, "Login denied"),
    "fetchmail-imap": (3, "Authorization failure"),
    "fetchmail-pop3": (3, "Authorization failure"),
    "mbsync": (1, "[AUTHENTICATIONFAILED] Authentication failed."),
    "mpop": (77, "-ERR [AUTH] Authentication failed."),
    "mutt-imap": (0, "SASL authentication failed"),  # it goes on, with nothing to show
}
PROGRAMS_OWN = re.compile(rb"^(?:X-TUID|Content-Length|Lines): .*\r\n", re.MULTILINE)  # mbsync's, and mutt's
TLS = ("implicit", "starttls")
PATIENCE_WITH_500_S = 60.0


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("programs"))
    with site.serving():
        yield site


@pytest.fixture(scope="module")
def alice(site):
    """An app password."""
    return site.mint(site.add(ALICE, WEB, mode=True)).password


@pytest.fixture(scope="module")
def bob(site, alice):
    """An app password; and there is mail."""
    site.add(BOB, WEB, mode=True)
    with site.smtp() as client:
        client.login(ALICE, alice)
        for _ in range(2):
            client.sendmail(ALICE, [BOB], MESSAGE)
    return site.mint(BOB).password


def by_imap(site: Site, login: str, password: str) -> list[bytes]:
    with site.client(Service.IMAP) as client:
        client.login(login, password)
        client.select(readonly=True)
        return [part[1] for part in client.fetch("1:*", "(BODY.PEEK[])")[1] if isinstance(part, tuple)]


def as_it_came(copy: bytes) -> bytes:
    """Without the line ends and header fields of the program that made this copy."""
    return PROGRAMS_OWN.sub(b"", copy.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


@pytest.mark.parametrize("tls", TLS)
@pytest.mark.parametrize("program", SENDERS)
def test_a_program_sends_with_an_app_password(site, alice, tmp_path, program, tls):
    need(program)
    reader = site.add(f"by-{program}-{tls}@example.test")
    ended = SENDERS[program](Visit(site, tmp_path, tls, ALICE, alice), reader, MESSAGE)
    assert ended.code == 0, ended.output
    (arrived,) = by_imap(site, reader, site.mint(reader).password)
    assert arrived.endswith(BODY if program == "mutt" else MESSAGE)


@pytest.mark.parametrize("tls", TLS)
@pytest.mark.parametrize("reader", READERS)
def test_a_program_reads_with_an_app_password(site, bob, tmp_path, reader, tls):
    need(reader.partition("-")[0])
    ended, messages = READERS[reader](Visit(site, tmp_path, tls, BOB, bob))
    assert ended.code == 0, ended.output
    assert sorted(map(as_it_came, messages)) == sorted(by_imap(site, BOB, bob)), ended.output


@pytest.mark.parametrize(
    ("password", "tls"), [("wrong horse battery", "starttls"), (WEB, "implicit")], ids=["wrong", "web"]
)
@pytest.mark.parametrize("program", [*SENDERS, *READERS])
def test_a_program_is_told_that_its_password_is_wrong(site, alice, bob, tmp_path, program, password, tls):
    need(program.partition("-")[0])
    before = by_imap(site, BOB, bob)
    visit = Visit(site, tmp_path, tls, ALICE, password)
    if program in SENDERS:
        ended = SENDERS[program](visit, BOB, MESSAGE)
    else:
        ended, messages = READERS[program](visit)
        assert messages == []
    code, words = REFUSED[program]
    assert words in ended.output
    assert ended.code == code
    assert by_imap(site, BOB, bob) == before


# ---- 500 messages, kept in step


def numbered(number: int) -> bytes:
    return f"From: <alice@example.test>\nSubject: number {number}\n\nThis is {number}.\n".encode()


def near(visit: Visit) -> dict[int, Path]:
    """The program's own copies, by their numbers."""
    inbox = visit.folder / "mails" / "INBOX"
    paths = [path for part in ("cur", "new") for path in (inbox / part).iterdir()]
    return {int(path.read_bytes().partition(b"This is ")[2].partition(b".")[0]): path for path in paths}


def flag(path: Path, letters: str) -> None:
    """As a program does to its own Maildir."""
    path.rename(path.parent.parent / "cur" / f"{path.name.partition(':')[0]}:2,{letters}")


def letters(path: Path) -> str:
    return path.name.partition(":2,")[2]


def far_flags(client: imaplib.IMAP4) -> dict[int, set[str]]:
    """The server's flags, by the numbers of the messages."""
    client.select()
    found = {}
    for part in client.fetch("1:*", "(FLAGS BODY.PEEK[TEXT])")[1]:
        if isinstance(part, tuple):
            number = int(part[1].removeprefix(b"This is ").partition(b".")[0])
            found[number] = {flag.decode() for flag in imaplib.ParseFlags(part[0])} - {"\\Recent"}
    return found


def test_mbsync_keeps_500_messages_in_step_both_ways(site, tmp_path):
    need("mbsync")
    crowd = site.add("crowd@example.test")
    visit = Visit(site, tmp_path, "implicit", crowd, site.mint(crowd).password)
    domain = site.settings.mailbox.path / "example.test"
    domain.mkdir(parents=True, exist_ok=True)
    theirs = mailbox.Maildir(domain / "crowd")  # another program delivers here
    for number in range(1, 501):
        theirs.add(numbered(number))

    def get_in_step() -> None:
        began = time.monotonic()
        ended = mbsync(visit)
        assert ended.code == 0, ended.output
        assert time.monotonic() - began < PATIENCE_WITH_500_S

    get_in_step()
    assert sorted(near(visit)) == list(range(1, 501))
    get_in_step()
    ours = near(visit)
    for number in range(1, 101):
        flag(ours[number], "S")
    for number in range(481, 491):
        flag(ours[number], "ST")
    (visit.folder / "mails" / "INBOX" / "new" / "1.new.near").write_bytes(numbered(601))
    theirs.add(numbered(602))
    with site.client(Service.IMAP) as client:
        client.login(crowd, visit.password)
        places = {number: place for place, number in enumerate(far_flags(client), 1)}
        of = lambda first, last: ",".join(str(places[number]) for number in range(first, last + 1))
        client.store(of(51, 150), "+FLAGS", r"(\Flagged)")
        client.store(of(1, 10), "+FLAGS", "($Label1 Later)")
        client.store(of(491, 500), "+FLAGS", r"(\Deleted)")
        client.expunge()
        get_in_step()
        flags = far_flags(client)
    ours = near(visit)
    assert sorted(ours) == sorted(flags) == [*range(1, 481), 601, 602]
    for number, path in ours.items():
        seen, flagged = number <= 100, 51 <= number <= 150
        assert letters(path) == "F" * flagged + "S" * seen, number
        keywords = {"$Label1", "Later"} if number <= 10 else set()  # mbsync has none, and leaves ours alone
        assert flags[number] == {*[r"\Seen"] * seen, *[r"\Flagged"] * flagged, *keywords}, number
