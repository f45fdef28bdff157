"""Logins at servers behind us: what is said for what is heard, whole and one byte at a time."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from mailauth.backends.exchange import MOST_BYTES, MOST_LINE_BYTES, Action, Done, Exchange, Failed, Login, Script
from mailauth.backends.imap_login import imap_login
from mailauth.backends.pop3_login import pop3_login
from mailauth.backends.smtp_login import smtp_login, smtp_offer
from mailauth.dialogue import Send, StartTLS
from mailauth.ends import NOWHERE, UNKNOWN, End, Ends

MASTER = Login("proxy", "m4ster", "alice@example.test", hostname="mail.example.test")
SECRET = base64.b64encode(b"alice@example.test\0proxy\0m4ster").decode()
FIXED = replace(MASTER, authcid="alice", authzid="")
FIXED_SECRET = base64.b64encode(b"\0alice\0m4ster").decode()
WHERE = Ends(End("192.0.2.7", 4001), End("198.51.100.1", 993))
SEEN = replace(MASTER, ends=WHERE)
HALF_SEEN = replace(MASTER, ends=Ends(End("192.0.2.7"), UNKNOWN))
SECURED = replace(MASTER, starttls=True)
TLS = "-- TLS"


@dataclass(frozen=True)
class Case:
    """script, and in turns what it hears (S:), says (C:), and TLS; then what it came to."""

    script: Script
    lines: str
    end: Done | Failed


def imap(login: Login, lines: str, end: Done | Failed) -> Case:
    return Case(imap_login(login), lines, end)


def pop3(login: Login, lines: str, end: Done | Failed) -> Case:
    return Case(pop3_login(login), lines, end)


def smtp(login: Login, lines: str, end: Done | Failed) -> Case:
    return Case(smtp_login(login), lines, end)


def xclient(login: Login, lines: str, end: Done | Failed) -> Case:
    return Case(smtp_login(login, by_xclient=True), lines, end)


GREETING = "S: * OK [CAPABILITY IMAP4rev1 SASL-IR ID STARTTLS AUTH=PLAIN] ready.\n"
SAYS_ID = (
    'C: a3 ID ("x-originating-ip" "192.0.2.7" "x-originating-port" "4001" '
    '"x-connected-ip" "198.51.100.1" "x-connected-port" "993")\n'
)
INITIAL = f"C: a4 AUTHENTICATE PLAIN {SECRET}\n"
LOGGED_IN = Done(("IMAP4rev1", "IDLE"))
ENTERED = "S: a4 OK [CAPABILITY IMAP4rev1 IDLE] Logged in\n"
NO_PLAIN = Failed("does not offer AUTH=PLAIN; let it take PLAIN from us, or secure the connection with tls")


def refused(shown: str = "") -> Failed:
    return Failed(f"refuses the login{shown}; are user and password_file right, and has it this account?")


IMAP = {
    "in one step": lambda: imap(MASTER, GREETING + INITIAL + ENTERED, LOGGED_IN),
    "in two steps": lambda: imap(
        MASTER,
        f"S: * OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\nC: a4 AUTHENTICATE PLAIN\nS: + \nC: {SECRET}\n" + ENTERED,
        LOGGED_IN,
    ),
    "capabilities are asked for": lambda: imap(
        MASTER,
        "S: * OK ready\nC: a2 CAPABILITY\nS: * CAPABILITY IMAP4rev1 SASL-IR auth=plain\nS: a2 OK done\n"
        + INITIAL
        + "S: a4 OK Logged in\nC: a5 CAPABILITY\nS: * CAPABILITY IMAP4rev1 MOVE\nS: a5 OK done\n",
        Done(("IMAP4rev1", "MOVE")),
    ),
    "capabilities come before the answer": lambda: imap(
        MASTER, GREETING + INITIAL + "S: * CAPABILITY IMAP4rev1 MOVE\nS: a4 OK in\n", Done(("IMAP4rev1", "MOVE"))
    ),
    "untagged lines are none of ours": lambda: imap(
        MASTER, GREETING + INITIAL + "S: * OK [ALERT] full\nS: * 23 EXISTS\nS: *\nS: \n" + ENTERED, LOGGED_IN
    ),
    "the client is told of": lambda: imap(
        SEEN, GREETING + SAYS_ID + 'S: * ID ("name" "Dovecot")\nS: a3 OK done\n' + INITIAL + ENTERED, LOGGED_IN
    ),
    "the client is told of without a port": lambda: imap(
        HALF_SEEN,
        GREETING + 'C: a3 ID ("x-originating-ip" "192.0.2.7")\nS: a3 OK done\n' + INITIAL + ENTERED,
        LOGGED_IN,
    ),
    "an ID that is refused": lambda: imap(SEEN, GREETING + SAYS_ID + "S: a3 NO no\n" + INITIAL + ENTERED, LOGGED_IN),
    "no ID where there is none": lambda: imap(
        SEEN, "S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] x\n" + INITIAL + ENTERED, LOGGED_IN
    ),
    "by one credential": lambda: imap(
        FIXED, GREETING + f"C: a4 AUTHENTICATE PLAIN {FIXED_SECRET}\n" + ENTERED, LOGGED_IN
    ),
    "TLS": lambda: imap(
        SECURED,
        GREETING
        + f"C: a1 STARTTLS\nS: a1 OK begin\n{TLS}\nC: a2 CAPABILITY\nS: * CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN\n"
        + "S: a2 OK done\n"
        + INITIAL
        + ENTERED,
        LOGGED_IN,
    ),
    "TLS is refused": lambda: imap(
        SECURED, GREETING + "C: a1 STARTTLS\nS: a1 BAD [CLIENTBUG] what\n", Failed("refuses STARTTLS [CLIENTBUG]")
    ),
    "what is no atom": lambda: imap(
        MASTER,
        GREETING + INITIAL + "S: * CAPABILITY A B( C] é D\\ E=F\nS: a4 OK in\n",
        Done(("A", "E=F")),
    ),
    "refused": lambda: imap(
        MASTER,
        GREETING + INITIAL + f"S: a4 NO [AUTHENTICATIONFAILED] no {SECRET}\n",
        refused(" [AUTHENTICATIONFAILED]"),
    ),
    "refused without a word": lambda: imap(MASTER, GREETING + INITIAL + "S: a4 NO\n", refused()),
    "misunderstood": lambda: imap(MASTER, GREETING + INITIAL + f"S: a4 BAD what is {SECRET}\n", refused()),
    "refused before it heard": lambda: imap(
        MASTER,
        "S: * OK [CAPABILITY AUTH=PLAIN] x\nC: a4 AUTHENTICATE PLAIN\nS: * 1 EXISTS\nS: a4 NO [PRIVACYREQUIRED] x\n",
        Failed("refuses the login [PRIVACYREQUIRED] before it has heard the password"),
    ),
    "wants more": lambda: imap(MASTER, GREETING + INITIAL + "S: + \n", Failed("asks for more than it has offered to")),
    "no PLAIN": lambda: imap(MASTER, "S: * OK [CAPABILITY IMAP4rev1 LOGINDISABLED] x\n", NO_PLAIN),
    "somebody is in": lambda: imap(MASTER, "S: * PREAUTH hello root\n", Failed("does not greet with OK")),
    "closed": lambda: imap(MASTER, "S: * BYE full\n", Failed("does not greet with OK")),
    "goodbye": lambda: imap(MASTER, GREETING + INITIAL + "S: * BYE full\n", Failed("says goodbye")),
    "goodbye in between": lambda: imap(
        MASTER,
        "S: * OK [CAPABILITY AUTH=PLAIN] x\nC: a4 AUTHENTICATE PLAIN\nS: * BYE x\n",
        Failed("says goodbye"),
    ),
    "no IMAP": lambda: imap(MASTER, "S: 220 mail ESMTP\n", Failed("does not greet with OK")),
    "no answer": lambda: imap(MASTER, GREETING + INITIAL + "S: a4 MAYBE\n", Failed("does not speak IMAP")),
}

CAPA = "C: CAPA\nS: +OK\nS: TOP\nS: USER\nS: SASL PLAIN LOGIN\nS: .\n"
AUTH = f"C: AUTH PLAIN\nS: + \nC: {SECRET}\n"
NO_SASL = Failed("does not offer SASL PLAIN; let it take PLAIN from us, or secure the connection with tls")
POP3 = {
    "logged in": lambda: pop3(MASTER, "S: +OK ready\n" + CAPA + AUTH + "S: +OK Logged in.\n", Done(())),
    "an empty challenge": lambda: pop3(
        MASTER, "S: +OK\n" + CAPA + AUTH.replace("S: + \n", "S: +\n") + "S: +OK\n", Done(())
    ),
    "the client is told of": lambda: pop3(
        SEEN,
        "S: +OK [XCLIENT] ready\n" + CAPA + "C: XCLIENT ADDR=192.0.2.7 PORT=4001\nS: +OK Updated\n" + AUTH + "S: +OK\n",
        Done(()),
    ),
    "it says so later": lambda: pop3(
        SEEN,
        "S: +OK ready\n"
        + CAPA.replace("S: TOP\n", "S: XCLIENT\n")
        + "C: XCLIENT ADDR=192.0.2.7 PORT=4001\nS: +OK Updated\n"
        + AUTH
        + "S: +OK\n",
        Done(()),
    ),
    "the client is told of without a port": lambda: pop3(
        HALF_SEEN,
        "S: +OK [XCLIENT] ready\n" + CAPA + "C: XCLIENT ADDR=192.0.2.7\nS: +OK Updated\n" + AUTH + "S: +OK\n",
        Done(()),
    ),
    "nobody is told of": lambda: pop3(SEEN, "S: +OK ready\n" + CAPA + AUTH + "S: +OK\n", Done(())),
    "the client is not believed": lambda: pop3(
        SEEN,
        "S: +OK [XCLIENT] ready\n" + CAPA + "C: XCLIENT ADDR=192.0.2.7 PORT=4001\nS: -ERR no\n",
        Failed("refuses XCLIENT"),
    ),
    "TLS": lambda: pop3(SECURED, f"S: +OK\nC: STLS\nS: +OK begin\n{TLS}\n" + CAPA + AUTH + "S: +OK\n", Done(())),
    "TLS is refused": lambda: pop3(
        SECURED, "S: +OK\nC: STLS\nS: -ERR [SYS/PERM] no\n", Failed("refuses STLS [SYS/PERM]")
    ),
    "by one credential": lambda: pop3(
        FIXED, "S: +OK\n" + CAPA + AUTH.replace(SECRET, FIXED_SECRET) + "S: +OK\n", Done(())
    ),
    "by USER and PASS": lambda: pop3(
        FIXED, "S: +OK\nC: CAPA\nS: -ERR\nC: USER alice\nS: +OK\nC: PASS m4ster\nS: +OK\n", Done(())
    ),
    "USER is refused": lambda: pop3(
        FIXED, "S: +OK\nC: CAPA\nS: -ERR\nC: USER alice\nS: -ERR no\n", Failed("refuses USER")
    ),
    "a master needs SASL": lambda: pop3(MASTER, "S: +OK\nC: CAPA\nS: -ERR\n", NO_SASL),
    "nothing is offered": lambda: pop3(FIXED, "S: +OK\nC: CAPA\nS: +OK\nS: STLS\nS: .\n", NO_SASL),
    "refused": lambda: pop3(MASTER, "S: +OK\n" + CAPA + AUTH + f"S: -ERR [AUTH] no {SECRET}\n", refused(" [AUTH]")),
    "refused before it heard": lambda: pop3(
        MASTER,
        "S: +OK\n" + CAPA + "C: AUTH PLAIN\nS: -ERR [IN-USE] x\n",
        Failed("refuses the login [IN-USE] before it has heard the password"),
    ),
    "closed": lambda: pop3(MASTER, "S: -ERR [SYS/TEMP] full\n", Failed("does not greet with +OK")),
}

EHLO = "C: EHLO mail.example.test\n"
OFFER = "S: 250-mx\nS: 250-SIZE 1000\nS: 250-AUTH LOGIN PLAIN\n"
HELLO = "S: 220 mx\n" + EHLO + OFFER + "S: 250 8BITMIME\n"
WITH_XCLIENT = "S: 220 mx\n" + EHLO + OFFER + "S: 250 XCLIENT NAME ADDR PROTO HELO LOGIN\n"
WITH_PORTS = WITH_XCLIENT.replace("LOGIN", "REVERSE_NAME PORT LOGIN DESTADDR DESTPORT")
WHERE_6 = Ends(End("2001:db8::7", 4001), End("2001:db8::1", 587))
AGAIN = EHLO + "S: 250-mx\nS: 250-SIZE 2000\nS: 250 8bitmime\n"
IN = Done(("SIZE 2000", "8bitmime"))
SHOWN = f"C: AUTH PLAIN {SECRET}\n"
AS_ALICE = Login("alice+é@example.test", ends=WHERE, name="my laptop", hostname="mail.example.test")
TOLD = "PROTO=ESMTP HELO=my+20laptop LOGIN=alice+2B+C3+A9@example.test"
SMTP = {
    "logged in": lambda: smtp(MASTER, HELLO + SHOWN + "S: 235 2.7.0 in\n" + AGAIN, IN),
    "a long greeting": lambda: smtp(MASTER, "S: 220-hello\n" + HELLO + SHOWN + "S: 235 in\n" + AGAIN, IN),
    "the client is told of": lambda: smtp(
        SEEN,
        WITH_XCLIENT
        + "C: XCLIENT ADDR=192.0.2.7 NAME=[UNAVAILABLE] PROTO=ESMTP\nS: 220 mx\n"
        + HELLO.removeprefix("S: 220 mx\n")
        + SHOWN
        + "S: 235 in\n"
        + AGAIN,
        IN,
    ),
    "TLS": lambda: smtp(
        SECURED,
        HELLO + f"C: STARTTLS\nS: 220 go\n{TLS}\n" + HELLO.removeprefix("S: 220 mx\n") + SHOWN + "S: 235 in\n" + AGAIN,
        IN,
    ),
    "TLS is refused": lambda: smtp(
        SECURED, HELLO + "C: STARTTLS\nS: 454 4.7.0 no\n", Failed("refuses STARTTLS (454 4.7.0)")
    ),
    "no PLAIN": lambda: smtp(
        MASTER,
        "S: 220 mx\n" + EHLO + "S: 250 mx\n",
        Failed("does not offer AUTH PLAIN; let it take PLAIN from us, or secure the connection with tls"),
    ),
    "refused": lambda: smtp(
        MASTER,
        HELLO + SHOWN + f"S: 535 5.7.8 {SECRET}\n",
        Failed("refuses the login (535 5.7.8); are user and password_file right, has it this account?"),
    ),
    "refused without a code": lambda: smtp(
        MASTER,
        HELLO + SHOWN + f"S: 535-{SECRET}\nS: 535\n",
        Failed("refuses the login (535); are user and password_file right, has it this account?"),
    ),
    "no EHLO": lambda: smtp(MASTER, "S: 220 mx\n" + EHLO + "S: 502 no\n", Failed("refuses EHLO (502)")),
    "closed": lambda: smtp(MASTER, "S: 554 5.3.2 full\n", Failed("does not greet with 220 (554 5.3.2)")),
    "no SMTP": lambda: smtp(MASTER, "S: * OK ready\n", Failed("does not speak SMTP")),
    "by XCLIENT": lambda: xclient(
        AS_ALICE,
        WITH_XCLIENT + f"C: XCLIENT ADDR=192.0.2.7 NAME=[UNAVAILABLE] {TOLD}\nS: 220 mx\n" + AGAIN,
        IN,
    ),
    "by XCLIENT, of nobody knows where": lambda: xclient(
        replace(AS_ALICE, ends=NOWHERE, name=""),
        WITH_XCLIENT
        + "C: XCLIENT ADDR=[UNAVAILABLE] NAME=[UNAVAILABLE] PROTO=ESMTP LOGIN=alice+2B+C3+A9@example.test\nS: 220 mx\n"
        + AGAIN,
        IN,
    ),
    "by XCLIENT, with ports": lambda: xclient(
        AS_ALICE,
        WITH_PORTS
        + f"C: XCLIENT ADDR=192.0.2.7 NAME=[UNAVAILABLE] PORT=4001 DESTADDR=198.51.100.1 DESTPORT=993 {TOLD}\n"
        + "S: 220 mx\n"
        + AGAIN,
        IN,
    ),
    "by XCLIENT, without ports": lambda: xclient(
        replace(AS_ALICE, ends=HALF_SEEN.ends),
        WITH_PORTS + f"C: XCLIENT ADDR=192.0.2.7 NAME=[UNAVAILABLE] {TOLD}\nS: 220 mx\n" + AGAIN,
        IN,
    ),
    "by XCLIENT, where there is no IPv6": lambda: xclient(
        replace(AS_ALICE, ends=WHERE_6),
        WITH_PORTS
        + "C: XCLIENT ADDR=IPV6:2001:db8::7 NAME=[UNAVAILABLE] PORT=4001 DESTADDR=IPV6:2001:db8::1 DESTPORT=587 "
        + f"{TOLD}\nS: 501 5.5.4 bad\n"
        + f"C: XCLIENT ADDR=[UNAVAILABLE] NAME=[UNAVAILABLE] {TOLD}\nS: 220 mx\n"
        + AGAIN,
        IN,
    ),
    "by XCLIENT, of a client with a name": lambda: xclient(
        replace(AS_ALICE, name="phone.example.test"),
        WITH_XCLIENT
        + f"C: XCLIENT ADDR=192.0.2.7 NAME=[UNAVAILABLE] {TOLD.replace('my+20laptop', 'phone.example.test')}\n"
        + "S: 220 mx\n"
        + AGAIN.replace("mail.example.test", "phone.example.test"),
        IN,
    ),
    "the client has a name": lambda: smtp(
        replace(SEEN, name="[192.0.2.7]"),
        WITH_XCLIENT
        + "C: XCLIENT ADDR=192.0.2.7 NAME=[UNAVAILABLE] PROTO=ESMTP HELO=[192.0.2.7]\nS: 220 mx\n"
        + HELLO.removeprefix("S: 220 mx\n").replace("mail.example.test", "[192.0.2.7]")
        + SHOWN
        + "S: 235 in\n"
        + AGAIN.replace("mail.example.test", "[192.0.2.7]"),
        IN,
    ),
    "XCLIENT is refused": lambda: xclient(
        AS_ALICE,
        WITH_XCLIENT + f"C: XCLIENT ADDR=192.0.2.7 NAME=[UNAVAILABLE] {TOLD}\nS: 550 5.7.0 no\n",
        Failed("refuses XCLIENT (550 5.7.0)"),
    ),
    "XCLIENT LOGIN is not for us": lambda: xclient(
        AS_ALICE,
        HELLO,
        Failed("does not offer us XCLIENT LOGIN; name our address in its smtpd_authorized_xclient_hosts"),
    ),
    "what is offered": lambda: Case(
        smtp_offer(MASTER), HELLO + "C: QUIT\n", Done(("SIZE 1000", "AUTH LOGIN PLAIN", "8BITMIME"))
    ),
}

CASES = {
    f"{kind} {name}": case
    for kind, cases in (("imap", IMAP), ("pop3", POP3), ("smtp", SMTP))
    for name, case in cases.items()
}


def played(case: Case, *, bytewise: bool, ends: str = "\r\n") -> Sequence[Action]:
    """What it came to; all that is said before is as the lines have it."""
    exchange = Exchange(case.script)
    actions = list(exchange.received(b""))
    for line in case.lines.splitlines():
        if line.startswith("S: "):
            assert not actions, line
            said = line.removeprefix("S: ").encode() + ends.encode()
            pieces = [bytes([octet]) for octet in said] if bytewise else [said]
            for piece in pieces:
                actions += exchange.received(piece)
        elif line == TLS:
            assert actions == [StartTLS()]
            actions = list(exchange.received(b""))
        else:
            assert actions[0] == Send(line.removeprefix("C: ").encode() + b"\r\n")
            del actions[0]
    assert exchange.received(b"more\r\n") == []
    return actions


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("name", CASES)
def test_a_login_says_this_and_comes_to_that(name: str, bytewise: bool) -> None:
    case = CASES[name]()
    assert played(case, bytewise=bytewise) == [case.end]


@pytest.mark.parametrize("name", CASES)
def test_lines_may_end_with_a_bare_newline(name: str) -> None:
    case = CASES[name]()
    assert played(case, bytewise=False, ends="\n") == [case.end]


@pytest.mark.parametrize("name", CASES)
def test_what_is_said_in_one_go_is_understood(name: str) -> None:
    """All lines of the server at once: what is behind its last answer is left unread; before TLS nothing may be."""
    case = CASES[name]()
    heard = "".join(line[3:] + "\r\n" for line in case.lines.splitlines() if line.startswith("S: ")) + "rest"
    exchange = Exchange(case.script)
    actions = [*exchange.received(b""), *exchange.received(heard.encode())]
    if TLS in case.lines:
        assert actions[-1] == Failed("says more before TLS is up; somebody may have changed what it said")
    elif isinstance(case.end, Done):
        assert actions[-1] == replace(case.end, unread=b"rest")
    else:
        assert actions[-1] == case.end


@pytest.mark.parametrize("name", [name for name in CASES if SECRET in CASES[name]().lines])
def test_what_the_server_says_back_is_told_nobody(name: str) -> None:
    (end,) = played(CASES[name](), bytewise=False)
    assert "m4ster" not in repr(end)
    assert SECRET not in repr(end)
    assert "m4ster" not in repr(MASTER)


@pytest.mark.parametrize("script", [imap_login, pop3_login, smtp_login])
def test_a_line_without_an_end_is_not_waited_for(script) -> None:
    exchange = Exchange(script(MASTER))
    exchange.received(b"")
    assert exchange.received(b"x" * (MOST_LINE_BYTES - 1)) == []
    assert exchange.received(b"x") == [Failed("says lines that are too long")]


@pytest.mark.parametrize(
    ("begin", "line"),
    [(GREETING, b"* 1 EXISTS\r\n"), ("S: 220 mx\n" + EHLO, b"250-X\r\n"), ("S: +OK\nC: CAPA\nS: +OK\n", b"X\r\n")],
)
def test_lines_without_end_are_not_read(begin: str, line: bytes) -> None:
    script = {"S: *": imap_login, "S: 2": smtp_login, "S: +": pop3_login}[begin[:4]](MASTER)
    exchange = Exchange(script)
    exchange.received(b"")
    for said in begin.splitlines():
        if said.startswith("S: "):
            exchange.received(said[3:].encode() + b"\r\n")
    over: list[Action] = []
    for _ in range(MOST_BYTES // len(line) + 1):
        over += exchange.received(line)
    assert over == [Failed("says too much before the login")]
