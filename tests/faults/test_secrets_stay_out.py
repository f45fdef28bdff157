"""What clients say in confidence is found nowhere: not in the log at its loudest, the store, or what `ps` shows.

Rule: every secret here is made by `Confidences`, so that all of them are looked for, everywhere, at the end.
"""

from __future__ import annotations

import base64
import re
import secrets
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_site import answers, assert_deferred, connected, overwritten_by_garbage

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from site_of_tests import ACCEPTED, ACTOR, DOORS, WAYS, Site

ALICE = "alice@example.test"
LOUD = "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n[log]\nlevel = 'debug'\n"
WINDOW = 9  # characters: so much of a secret is no accident


class Confidences:
    """Makes passwords that nobody would write by chance, and knows any part of them again, in base64 or either case."""

    def __init__(self) -> None:
        self._parts: dict[bytes, str] = {}

    def __call__(self, why: str, before: bytes = b"", behind: bytes = b"") -> bytes:
        """A new password, with these around it."""
        return before + self.keep(why, secrets.token_urlsafe(18).encode()) + behind

    def base64(self, why: str, before: bytes = b"", behind: bytes = b"") -> bytes:
        """The same in base64."""
        return base64.b64encode(self(why, before, behind))

    def keep(self, why: str, password: bytes) -> bytes:
        """Look for this one too."""
        encoded = [base64.b64encode(bytes(shift) + password)[4:-4] for shift in range(3)]
        for spelled in (password, *encoded):
            for start in range(len(spelled) - WINDOW + 1):
                self._parts[spelled[start : start + WINDOW].lower()] = why
        return password

    def found_in(self, octets: bytes) -> set[str]:
        """Why the passwords were said of which something stands here."""
        folded = octets.lower()
        return {why for part, why in self._parts.items() if part in folded}


def test_a_password_is_found_however_it_is_written():
    secret = Confidences()
    password = secret("why")
    for written in (password, password.upper(), password[3:15], b"x" + password, secret.base64("why", b"\0a\0")):
        assert secret.found_in(b"log: " + written + b"\n") == {"why"}
    assert not secret.found_in(base64.b64encode(b"\0alice@example.test\0") + password[:8])


@pytest.fixture(scope="module")
def secret():
    return Confidences()


@pytest.fixture(scope="module")
def served(tmp_path_factory, secret):
    """A served site, and the passwords of its account. When all tests of this file are through, it is searched."""
    site = Site(tmp_path_factory.mktemp("secrets"), sections=LOUD)
    passwords = {"web": secret("the web password", b"pa ss-").decode()}
    site.add(ALICE, passwords["web"])
    for name in ("app", "revoked"):
        minted = site.mint(ALICE, label=name)
        passwords[name] = secret.keep(f"an app password, {name}", minted.password.encode()).decode()
    apppasswords.revoke(site.store, ALICE, ids=[minted.id], actor=ACTOR)
    with site.serving() as process:
        yield site, passwords
        proc = Path(f"/proc/{process.pid}")
        places = [proc / "cmdline", proc / "environ"] if proc.exists() else []
        seen = {path: path.read_bytes() for path in [*places, *site.folder.glob("mailauth.db*")]}
    seen[site.folder] = (site.folder / "serve.log").read_bytes()
    for place, octets in seen.items():
        assert not secret.found_in(octets), place


@pytest.fixture
def site(served):
    return served[0]


@pytest.fixture
def passwords(served):
    return served[1]


def talked(site: Site, service: Service, tls: str, said: list[bytes], *, secure: bool) -> bytes:
    """All that comes back, if these are said in turn. secure: TLS is on from the beginning."""
    heard = b""
    with socket.create_connection(("localhost", site.ports[service, tls]), timeout=10) as clear:
        sock = site.client_tls.wrap_socket(clear, server_hostname="localhost") if secure else clear
        with sock:
            try:
                if secure or tls == "starttls":
                    heard += sock.recv(65_536)
                for octets in said:
                    sock.sendall(octets)
                    heard += sock.recv(65_536)
            except (ConnectionError, ssl.SSLError):
                pass  # the server has had enough
    return heard


# What clients say, by its name: on which service, in which segments.
Said = Callable[[Confidences], list[bytes]]
PLAIN = (b"\0" + ALICE.encode() + b"\0",)
B64_ALICE = base64.b64encode(ALICE.encode())
IMAP: dict[str, Said] = {
    "atom": lambda new: [b"a LOGIN alice@example.test %b\r\n" % new("LOGIN atom")],
    "quoted": lambda new: [b'a LOGIN "alice@example.test" "%b"\r\n' % new("LOGIN quoted", b"a b ")],
    "not closed": lambda new: [b'a LOGIN alice@example.test "%b\r\n' % new("LOGIN not closed")],
    "one too many": lambda new: [b"a LOGIN alice@example.test x %b\r\n" % new("LOGIN one too many")],
    "literal": lambda new: [b"a LOGIN alice@example.test {24}\r\n", new("literal") + b"\r\n"],
    "literal+": lambda new: [b"a LOGIN alice@example.test {24+}\r\n%b\r\n" % new("literal+")],
    "long literal": lambda new: [b"a LOGIN alice@example.test {999999+}\r\n%b" % new("long literal")],
    "no UTF-8": lambda new: [b'a LOGIN alice@example.test "%b"\r\n' % new("no UTF-8", b"\xff\xfe")],
    "NUL": lambda new: [b"a LOGIN alice@example.test {25+}\r\n%b\r\n" % new("NUL", b"\0")],
    "PLAIN": lambda new: [b"a AUTHENTICATE PLAIN\r\n", new.base64("PLAIN", *PLAIN) + b"\r\n"],
    "PLAIN at once": lambda new: [b"a AUTHENTICATE PLAIN %b\r\n" % new.base64("PLAIN at once", *PLAIN)],
    "LOGIN": lambda new: [b"a AUTHENTICATE LOGIN\r\n", B64_ALICE + b"\r\n", new.base64("LOGIN") + b"\r\n"],
    "broken base64": lambda new: [b"a AUTHENTICATE PLAIN\r\n", new.base64("broken", *PLAIN)[:-3] + b"!\r\n"],
    "no NUL": lambda new: [b"a AUTHENTICATE PLAIN\r\n", new.base64("no NUL", ALICE.encode()) + b"\r\n"],
    "bare": lambda new: [b"a AUTHENTICATE PLAIN\r\n", new("bare, where base64 belongs") + b"\r\n"],
    "for another": lambda new: [b"a AUTHENTICATE PLAIN %b\r\n" % new.base64("another", b"root" + PLAIN[0])],
    "other mechanism": lambda new: [b"a AUTHENTICATE X-OWN %b\r\n" % new.base64("other mechanism", *PLAIN)],
    "as command": lambda new: [b"a %b\r\n" % new("as command"), b"%b\r\n" % new("as line")],
    "as login": lambda new: [b"a LOGIN %b x\r\n" % new("as login")],
    "as address": lambda new: [b"a LOGIN %b x\r\n" % new("as address", b"", b"@example.test")],
    "as domain": lambda new: [b"a LOGIN %b x\r\n" % new("as domain", b"p@")],
    "by a browser": lambda new: [b"GET /?password=%b HTTP/1.1\r\n\r\n" % new("by a browser")],
}
POP3: dict[str, Said] = {
    "PASS": lambda new: [b"USER alice@example.test\r\n", b"PASS %b\r\n" % new("PASS", b"a b ")],
    "PASS first": lambda new: [b"PASS %b\r\n" % new("PASS first")],
    "APOP": lambda new: [b"APOP alice@example.test %b\r\n" % new("APOP")],
    "PLAIN": lambda new: [b"AUTH PLAIN\r\n", new.base64("PLAIN", *PLAIN) + b"\r\n"],
    "PLAIN at once": lambda new: [b"AUTH PLAIN %b\r\n" % new.base64("PLAIN at once", *PLAIN)],
    "LOGIN": lambda new: [b"AUTH LOGIN\r\n", B64_ALICE + b"\r\n", new.base64("LOGIN") + b"\r\n"],
    "broken base64": lambda new: [b"AUTH PLAIN\r\n", new.base64("broken", *PLAIN)[:-3] + b"!\r\n"],
    "as command": lambda new: [new("as command") + b"\r\n"],
    "as login": lambda new: [b"USER %b\r\n" % new("as login"), b"PASS x\r\n"],
    "as address": lambda new: [b"USER %b\r\n" % new("as address", b"", b"@example.test"), b"PASS x\r\n"],
}
EHLO = b"EHLO client.example.test\r\n"
SMTP: dict[str, Said] = {
    "PLAIN": lambda new: [EHLO, b"AUTH PLAIN\r\n", new.base64("PLAIN", *PLAIN) + b"\r\n"],
    "PLAIN at once": lambda new: [EHLO, b"AUTH PLAIN %b\r\n" % new.base64("PLAIN at once", *PLAIN)],
    "LOGIN": lambda new: [EHLO, b"AUTH LOGIN\r\n", B64_ALICE + b"\r\n", new.base64("LOGIN") + b"\r\n"],
    "LOGIN at once": lambda new: [EHLO, b"AUTH LOGIN %b\r\n" % B64_ALICE, new.base64("LOGIN at once") + b"\r\n"],
    "no EHLO": lambda new: [b"AUTH PLAIN %b\r\n" % new.base64("no EHLO", *PLAIN)],
    "broken base64": lambda new: [EHLO, b"AUTH PLAIN\r\n", new.base64("broken", *PLAIN)[:-3] + b"!\r\n"],
    "too long": lambda new: [EHLO, b"AUTH PLAIN %b\r\n" % new.base64("too long", PLAIN[0], b"x" * 12_288)],
    "other mechanism": lambda new: [EHLO, b"AUTH CRAM-MD5 %b\r\n" % new.base64("other mechanism", *PLAIN)],
    "as command": lambda new: [EHLO, new("as command") + b"\r\n"],
    "as login": lambda new: [EHLO, b"AUTH LOGIN\r\n", new.base64("as login") + b"\r\n", B64_ALICE + b"\r\n"],
    "as address": lambda new: [
        *[EHLO, b"AUTH LOGIN\r\n"],
        base64.b64encode(new("as address", b"", b"@example.test")) + b"\r\n",
        B64_ALICE + b"\r\n",
    ],
}
SAID = {Service.IMAP: IMAP, Service.POP3: POP3, Service.SMTP: SMTP}
TAG = re.compile(rb"^\S+ (?=BAD |NO )", re.MULTILINE)  # is said back, whatever it is (RFC 3501 section 2.2.1)
LINES = {"in TLS": ("implicit", True), "before TLS": ("starttls", False), "where TLS belongs": ("implicit", False)}


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(("service", "name"), [(service, name) for service, said in SAID.items() for name in said])
def test_what_a_client_says_is_not_said_back(site, secret, service, name, line):
    tls, secure = LINES[line]
    heard = talked(site, service, tls, SAID[service][name](secret), secure=secure)
    assert not secret.found_in(TAG.sub(b"", heard))
    assert heard or not secure


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("door", DOORS, ids="-".join)
def test_the_right_passwords_do_their_work(site, passwords, door, way):
    service, tls = door
    for name, password in passwords.items():
        accepted = site.ask(service, ALICE, password, way, tls).startswith(ACCEPTED[service])
        assert accepted is (name != "revoked")


def test_passwords_said_after_login(site, secret, passwords):
    app = passwords["app"].encode()
    imap = [
        *[b"a LOGIN alice@example.test %b\r\n" % app, b"b LOGIN alice@example.test %b\r\n" % secret("once more")],
        *[b"c SELECT INBOX\r\n", b"d LOGIN alice@example.test %b\r\n" % secret("when selected")],
        b"e %b\r\n" % secret("as command when selected"),
    ]
    pop3 = [
        *[b"USER alice@example.test\r\n", b"PASS %b\r\n" % app, b"STAT\r\n"],
        *[b"PASS %b\r\n" % secret("PASS once more"), b"%b\r\n" % secret("as command in the maildrop")],
    ]
    smtp = [
        *[EHLO, b"AUTH PLAIN %b\r\n" % base64.b64encode(PLAIN[0] + app)],
        *[b"AUTH PLAIN %b\r\n" % secret.base64("AUTH once more", *PLAIN)],
        b"MAIL FROM:<alice@example.test> AUTH=%b\r\n" % secret("as parameter"),
    ]
    for service, said in {Service.IMAP: imap, Service.POP3: pop3, Service.SMTP: smtp}.items():
        heard = talked(site, service, "implicit", said, secure=True)
        assert len(heard.splitlines()) > len(said)  # the greeting, and an answer to each


def test_passwords_said_while_the_store_is_broken(site, secret, passwords):
    with overwritten_by_garbage(site):
        assert_deferred(answers(site, passwords | {"wrong": secret("while the store is broken").decode()}))


def test_passwords_given_to_the_command_line(site, secret, passwords):
    wrong = secret("given to `verify`").decode()
    assert site.run("verify", ALICE, "--service", "imap", password=wrong).returncode == 77
    right = site.run("verify", ALICE, "--service", "imap", password=passwords["app"])
    assert right.returncode == 0
    assert not secret.found_in((right.stdout + right.stderr).encode())


# ---- names that would like to be more than names

FORGED = "2026-01-01T00:00:00.000Z login service=imap login=root@example.test peer=192.0.2.1 tls=yes verdict=accept"
HOSTILE = (
    f"x\r\n{FORGED} ms=1.0",
    f"x\n{FORGED} ms=1.0",
    f"alice@example.test\r\n{FORGED}",
    "alice@example.test peer=192.0.2.1 verdict=accept",
    'alice@example.test" peer=192.0.2.1 x="',
    "\x1b]0;owned\x07\x1b[2J\x1b[31malice@example.test",
    "\u2028\u2029\x85\u202ealice@example.test",
    "'; DROP TABLE accounts; --@example.test",
    "%s%n{0}${HOME}`id`@example.test",
    "n" * 1000 + "@example.test",
    '\\"\\\n\\',
)
FIELD = r' ([a-z]+)=([!#-<>-\[\]-~]+|"(?:[^"\\]|\\.)*")'
FIELDS = {"service", "login", "peer", "tls", "verdict", "reason", "cause", "credential", "ms", "client", "detail"}
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LOGIN_LINE = re.compile(rf"{STAMP} login((?:{FIELD})+)(?: alarm)?")
OTHER_LINE = re.compile(rf"listening [a-z0-9]+ \S+ tls=[a-z]+|{STAMP} (?:debug|info|warning|error) [a-z0-9_.]+ .*")


def test_no_name_forges_a_line_or_a_field(site, passwords):
    for name in HOSTILE:
        octets = name.encode()
        pair = b'a ID ("name" {%d+}\r\n%b "version" "1")\r\n' % (len(octets), octets)
        login = b"b LOGIN {%d+}\r\n%b x\r\n" % (len(octets), octets)
        talked(site, Service.IMAP, "implicit", [pair, login], secure=True)
        site.ask(Service.IMAP, name, "wrong")
        site.ask(Service.POP3, name, "wrong")
        with site.client(Service.SMTP) as client:
            client.putcmd = lambda verb, words="", sock=client.sock: sock.sendall(f"{verb} {words}\r\n".encode())
            client.ehlo(re.sub(r"[\r\n]", " ", name))
            client.auth("PLAIN", lambda _=None: f"\0{ALICE}\0{passwords['app']}")
    with site.client(Service.SMTP) as client:
        client.ehlo("the-end")
        client.docmd("AUTH", "PLAIN " + base64.b64encode(PLAIN[0] + b"x").decode())
    site.logged("client=the-end")
    log = (site.folder / "serve.log").read_bytes().decode()
    assert all(c == "\n" or c.isprintable() for c in log)
    clients = set()
    for line in log.removesuffix("\n").split("\n"):
        logged = LOGIN_LINE.fullmatch(line)
        assert logged or OTHER_LINE.fullmatch(line), line
        if logged:
            fields = re.findall(FIELD, logged[1])
            assert {key for key, _ in fields} <= FIELDS and len(dict(fields)) == len(fields), line
            assert dict(fields)["peer"] == "127.0.0.1" and dict(fields)["login"] in {"-", ALICE}, line
            clients.add(dict(fields).get("client", ""))
    assert any("login=root" in client for client in clients)  # there it is, as the text that it is
    with connected(site) as connection:
        rows = connection.execute("SELECT actor, login, peer, outcome, detail, client FROM audit").fetchall()
    assert all(text is None or (text.isprintable() and len(text) <= 254) for row in rows for text in row)
    assert {login for _, login, *_ in rows} <= {None, ALICE, "@example.test"}
