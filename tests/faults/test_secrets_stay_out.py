"""What clients say in confidence is found nowhere: not in the log at its loudest, the store, or what `ps` shows.

Rule: every secret here is made by `Confidences`, so that all of them are looked for, everywhere, at the end.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_site import answers, assert_deferred, connected, overwritten_by_garbage

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from site_of_tests import ACCEPTED, ACTOR, DOORS, SERVING_S, WAYS, Site

ALICE = "alice@example.test"
OTHERS = {"carol@example.test", "dave@example.test"}
LOUD = "[replies]\nrefusal_delay_s = 0\n[throttle]\nenabled = false\n[log]\nlevel = 'debug'\n"
WINDOW = 9  # characters: so much of a secret is no accident
DIGESTS = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "blake2b", "blake2s")
DIGEST_BYTES = 8  # so much of one, from its beginning: whoever keeps less of it keeps something else


class Confidences:
    """Makes passwords that nobody would write by chance, and knows any part of them again, however it is written.

    In either case; as it is, in base64, in hexadecimal, in UTF-16; and what a fast function makes of the whole of it.
    """

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
        for shift in range(3):
            self._keep_parts(why, base64.b64encode(bytes(shift) + password)[4:-4], WINDOW)
        self._keep_parts(why, password, WINDOW)
        self._keep_parts(why, password.hex().encode(), 2 * WINDOW)
        self._keep_parts(why, password.decode().encode("utf-16-le"), 2 * WINDOW)
        for name in DIGESTS:
            digest = hashlib.new(name, password).digest()
            for spelled in (digest[:DIGEST_BYTES], digest.hex().encode(), base64.b64encode(digest)):
                size = 2 * DIGEST_BYTES if len(spelled) > DIGEST_BYTES else DIGEST_BYTES
                self._parts[spelled[:size].lower()] = f"{name} of {why}"
        return password

    def _keep_parts(self, why: str, spelled: bytes, size: int) -> None:
        for start in range(len(spelled) - size + 1):
            self._parts[spelled[start : start + size].lower()] = why

    def found_in(self, octets: bytes) -> set[str]:
        """Why the passwords were said of which something stands here."""
        folded = octets.lower()
        sizes = {len(part) for part in self._parts}
        return {
            self._parts[piece]
            for size in sizes
            for start in range(len(folded) - size + 1)
            if (piece := folded[start : start + size]) in self._parts
        }


def test_a_password_is_found_however_it_is_written():
    secret = Confidences()
    password = secret("why")
    for written in (
        *(password, password.upper(), password[3:15], b"x" + password, secret.base64("why", b"\0a\0")),
        *(password.hex().encode(), password.decode().encode("utf-16-le"), password.decode().encode("utf-16")),
    ):
        assert secret.found_in(b"log: " + written + b"\n") == {"why"}
    for name in DIGESTS:
        digest = hashlib.new(name, password).digest()
        for written in (digest, digest.hex().encode(), digest.hex()[:16].upper().encode(), base64.b64encode(digest)):
            assert secret.found_in(b"log: " + written + b"\n") == {f"{name} of why"}
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
        seen = seen_of(process.pid) | {path: path.read_bytes() for path in site.folder.glob("mailauth.db*")}
        for command in TELLING:
            done = site.run(*command)
            assert done.returncode == 0, done.stderr
            seen[" ".join(command)] = (done.stdout + done.stderr).encode()
    seen[site.folder] = (site.folder / "serve.log").read_bytes()
    for place, octets in seen.items():
        assert not secret.found_in(octets), place


TELLING = [
    *(["audit"], ["audit", "--json"], ["audit", ALICE, "--activity"], ["account", "show", ALICE]),
    *(["account", "observations", ALICE], ["app-password", "list", ALICE]),
]


def seen_of(pid: int) -> dict[object, bytes]:
    """What others on this machine are shown of a process."""
    seen: dict[object, bytes] = {}
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError):  # not Linux, or a process that may not be looked into
            seen[name] = Path(f"/proc/{pid}/{name}").read_bytes()
    return seen


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


def test_passwords_set_by_the_command_line(site, secret):
    for command in (
        ["account", "add", "carol@example.test", "--password-stdin"],
        ["account", "passwd", "carol@example.test"],
    ):
        done = site.run(*command, password=secret(f"given to `{command[1]}`").decode())
        assert done.returncode == 0
        assert not secret.found_in((done.stdout + done.stderr).encode())


@pytest.mark.parametrize("address", ["{}", "{}@example.test", "p@{}.test"])
def test_a_password_typed_where_the_address_belongs(site, secret, address):
    typed = re.sub("[^a-z0-9]", "x", secret("as the ADDRESS of a command").decode().lower())
    secret.keep("as the ADDRESS of a command", typed.encode())
    assert site.run("verify", address.format(typed), "--service", "imap", password="x").returncode == 77


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_others_are_shown_nothing_of_a_command_that_reads_a_password(site, secret):
    site.add("dave@example.test", None)
    command = [sys.executable, "-m", "mailauth", "account", "passwd", "dave@example.test", "--password-stdin"]
    environment = os.environ | {"MAILAUTH_CONFIG": str(site.config)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(secret("half a line for `passwd`"))  # without its end: the command waits for more
        process.stdin.flush()
        seen = seen_of(process.pid)
        process.communicate(b"\n")
    assert process.returncode == 0
    assert seen and not secret.found_in(b"".join(seen.values()))


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs /proc")
def test_no_core_is_dumped_of_a_server(tmp_path):
    with Site(tmp_path).serving() as process:
        limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    (line,) = [line for line in limits if line.startswith("Max core file size")]
    assert line.split()[4:6] == ["0", "0"]


def test_nothing_of_a_guess_is_remembered_in_the_store(tmp_path, secret):
    """With everything on that counts guesses and tells them apart, and for every state of the mode."""
    site = Site(tmp_path, sections="[replies]\nrefusal_delay_s = 0\n[log]\nlevel = 'debug'\n")
    site.add(ALICE, "her own password")
    site.add("bob@example.test", "his own password", mode=True)
    with site.serving():
        for login in (ALICE, "bob@example.test", "nobody@example.test"):
            for service in Service:
                guess = secret(f"guessed by {service}").decode()
                for _ in range(2):
                    assert not site.ask(service, login, guess).startswith(ACCEPTED[service])
    seen = {path: path.read_bytes() for path in [*site.folder.glob("mailauth.db*"), site.folder / "serve.log"]}
    for place, octets in seen.items():
        assert not secret.found_in(octets), place
    counts = [row["count"] for row in map(json.loads, site.run("audit", "--json-lines").stdout.splitlines())]
    assert sum(counts) >= 18  # they are on record


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
    "n" * 10_000 + f"\r\n{FORGED}@example.test",
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
    rows = audited_up_to(site, "the-end")
    assert all(text is None or (text.isprintable() and len(text) <= 254) for row in rows for text in row)
    assert {login for _, login, *_ in rows} <= {None, ALICE, "(unknown)", "(unknown)@example.test"} | OTHERS
    told = site.run("audit", "--limit", "1000000").stdout.split("\n")[1:-1]
    exported = site.run("audit", "--json-lines").stdout.split("\n")[:-1]
    assert len(told) == len(exported) == len(rows)
    assert all(line.isprintable() for line in told) and all(line.isascii() for line in exported)
    assert sorted(json.loads(line)["client"] for line in exported) == sorted(client for *_, client in rows)


def audited_up_to(site: Site, client: str) -> list[tuple[str | None, ...]]:
    """The rows of the audit log, once what this client did is among them."""
    give_up_at = time.monotonic() + SERVING_S
    while True:
        with connected(site) as connection:
            rows = connection.execute("SELECT actor, login, peer, outcome, detail, client FROM audit").fetchall()
        if any(row[-1] == client for row in rows):
            return rows
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
