"""POP3 up to login, in memory: every command, in every state, whole and byte by byte."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mailauth.attempt import Attempt, Credential, Service
from mailauth.dialogue import Ending, Enter
from mailauth.pop3.protocol import MAX_BAD_COMMANDS, MAX_COMMANDS, MAX_LINE_BYTES, Offer, Pop3Dialogue
from mailauth.verdict import Accept, Cause, Defer
from servers import MECHANISMS
from stage import PRINCIPAL, REFUSED, Stage, bytewise, whole

ALICE = Credential("alice@example.test", "secret")
USER = b"USER alice@example.test\r\n"
LOGIN = USER + b"PASS secret\r\n"
SEND_PASS = b"+OK Send PASS.\r\n"
IN = b"+OK Logged in.\r\n"
OUT = b"-ERR [AUTH] Authentication failed.\r\n"
NO_TLS = b"-ERR Start TLS first (STLS): no password is accepted in clear.\r\n"
ALWAYS = [b"TOP", b"UIDL", b"RESP-CODES", b"AUTH-RESP-CODE", b"PIPELINING"]
LOGINS = [b"USER", b"SASL PLAIN LOGIN"]

Cut = Callable[[bytes], Iterable[bytes]]


def stage(judge: Any = "alice", *, tls: bool = True, starttls: bool = True, **options: Any) -> Stage:
    """One connection, its greeting heard."""
    dialogue = Pop3Dialogue(Offer(MECHANISMS, starttls, **options))
    opened = Stage(dialogue, tls=tls) if judge == "alice" else Stage(dialogue, judge, tls=tls)
    assert opened.news() == b"+OK POP3 ready.\r\n"
    return opened


def b64(message: bytes) -> bytes:
    return base64.b64encode(message)


PLAIN = b64(b"\0alice@example.test\0secret")


@pytest.mark.parametrize(
    ("tls", "starttls", "clear", "capabilities"),
    [
        (False, True, False, [*ALWAYS, b"STLS"]),
        (False, True, True, [*ALWAYS, *LOGINS, b"STLS"]),
        (False, False, True, [*ALWAYS, *LOGINS]),
        (True, True, False, [*ALWAYS, *LOGINS]),
        (True, False, False, [*ALWAYS, *LOGINS]),
    ],
)
def test_capa_says_what_is_offered(tls: bool, starttls: bool, clear: bool, capabilities: list[bytes]) -> None:
    connection = stage(tls=tls, starttls=starttls, clear=clear)
    assert connection.say(b"CAPA\r\n").split(b"\r\n") == [b"+OK Capabilities follow.", *capabilities, b".", b""]


def test_capa_changes_with_tls() -> None:
    connection = stage(tls=False)
    before = connection.say(b"capa\r\n")
    assert b"\r\nUSER\r\n" not in before
    assert b"SASL" not in before
    connection.say(b"STLS\r\n")
    after = connection.say(b"CAPA\r\n")
    assert b"\r\nUSER\r\nSASL PLAIN LOGIN\r\n" in after
    assert b"STLS" not in after


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (LOGIN, ALICE),
        (b"user alice@example.test\npass secret\n", ALICE),
        (b"USER bob\r\nPASS se cret\r\n", Credential("bob", "se cret")),
        (b"USER bob\r\nPASS  secret \r\n", Credential("bob", " secret ")),
        (b"USER bob\r\nPASS  \r\n", Credential("bob", " ")),
        (b"USER bob\r\nPASS \tx\r\n", Credential("bob", "\tx")),
        (b"USER bob\r\nPASS x\r\r\n", Credential("bob", "x\r")),
        (b"USER  bob \r\nPASS x\r\n", Credential(" bob ", "x")),  # what a login is, is decided elsewhere
        (b"USER eve\r\nUSER bob\r\nPASS x\r\n", Credential("bob", "x")),
        ("USER 用户@例子.test\r\nPASS пароль\r\n".encode(), Credential("用户@例子.test", "пароль")),
        (b"USER bob\r\nPASS \xb0\xb2\r\n", Credential("bob", "\udcb0\udcb2")),
        (b"USER bob\r\nPASS =\r\n", Credential("bob", "=")),
        (b"USER bob\r\nPASS *\r\n", Credential("bob", "*")),
        (b"USER bob\r\nPASS QUIT\r\n", Credential("bob", "QUIT")),
        (b"AUTH PLAIN " + PLAIN + b"\r\n", ALICE),
        (b"auth plain " + PLAIN + b"\r\n", ALICE),
        (b"AUTH PLAIN\r\n" + PLAIN + b"\r\n", ALICE),
        (b"AUTH PLAIN " + b64(b"bob\0bob\0x y") + b"\r\n", Credential("bob", "x y", "bob")),
        (b"AUTH PLAIN " + b64(b"root\0bob\0x y") + b"\r\n", Credential("bob", "x y", "root")),
        (b"AUTH LOGIN\r\n" + b64(b"bob") + b"\r\n" + b64(b"x y") + b"\r\n", Credential("bob", "x y")),
        (b"AUTH LOGIN " + b64(b"bob") + b"\r\n" + b64(b"x y") + b"\r\n", Credential("bob", "x y")),
    ],
)
def test_every_way_to_show_a_password(said: bytes, shown: Credential, cut: Cut) -> None:
    connection = stage(None)
    heard = connection.say(said, cut)
    assert set(heard.split(b"\r\n")) <= {b"", b"+OK Send PASS.", b"+ ", b"+ VXNlcm5hbWU6", b"+ UGFzc3dvcmQ6"}
    assert connection.attempts == [Attempt(shown, Service.POP3, "192.0.2.7", tls=True)]
    assert connection.answer(Accept(PRINCIPAL)) == IN


def test_a_password_is_what_stands_between_the_first_space_and_the_line_end() -> None:
    connection = stage(None)
    connection.say(b"USER bob\r\nPASS \xff\xb0 a\r\n")
    assert connection.attempts[0].credential.secret == b"\xff\xb0 a"


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    "said",
    [
        b"USER\r\n",
        b"USER \r\n",
        b"USER a\0b\r\n",
        b"PASS secret\r\n",
        b"PASS\r\n",
        b"APOP alice 0123456789abcdef\r\n",
        b"AUTH CRAM-MD5\r\n",
        b"AUTH \xff\r\n",
        b"AUTH PLAIN " + PLAIN + b" more\r\n",
        b"AUTH PLAIN =\r\n",
        b"AUTH PLAIN *\r\n",
        b"AUTH PLAIN ???\r\n",
        b"AUTH PLAIN " + PLAIN + b"====\r\n",
        b"AUTH PLAIN " + b64(b"alice\0secret") + b"\r\n",
        b"AUTH PLAIN " + b64(b"\0alice\0secret\0") + b"\r\n",
        b"AUTH PLAIN " + b64(b"\0alice\0") + b"\r\n",
        b"AUTH PLAIN " + b64(b"\0\0secret") + b"\r\n",
        b"AUTH PLAIN " + b64(b"\0al\xff\0secret") + b"\r\n",
        b"AUTH LOGIN =\r\n",
        b"AUTH LOGIN " + b64(b"al\0ice") + b"\r\n",
        b"STLS\r\n",  # TLS is on
        b"STLS now\r\n",
        b"STAT\r\n",
        b"LIST\r\n",
        b"RETR 1\r\n",
        b"TOP 1 0\r\n",
        b" CAPA\r\n",
        b"CAPA\t\r\n",
        b"\r\n",
        b"\xff\r\n",
    ],
)
def test_what_is_bad_is_said_to_be_so_and_the_session_goes_on(said: bytes, cut: Cut) -> None:
    connection = stage()
    heard = connection.say(said, cut)
    assert heard.startswith(b"-ERR ")
    assert b"[" not in heard  # no response code: it says nothing about a password
    assert heard.count(b"\r\n") == 1
    assert connection.attempts == []
    assert connection.say(LOGIN) == SEND_PASS + IN


@pytest.mark.parametrize(
    "password", [b"PASS\r\n", b"PASS \r\n", b"PASS a\0b\r\n", b" PASS secret\r\n", b"PASS\tsecret\r\n"]
)
def test_what_is_no_password_is_no_attempt(password: bytes) -> None:
    connection = stage()
    assert connection.say(USER) == SEND_PASS
    assert connection.say(password).startswith(b"-ERR ")
    assert connection.attempts == []


def test_a_login_is_asked_for_again_after_each_try() -> None:
    connection = stage()
    assert connection.say(USER + b"PASS wrong\r\nPASS secret\r\n") == SEND_PASS + OUT + b"-ERR USER first.\r\n"
    assert len(connection.attempts) == 1


def test_auth_without_argument_lists_the_mechanisms() -> None:
    assert stage().say(b"AUTH\r\n") == b"+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n"
    assert stage().say(b"AUTH \r\n") == b"+OK\r\nPLAIN\r\nLOGIN\r\n.\r\n"


@pytest.mark.parametrize("answers", [[b"*"], [b64(b"alice@example.test"), b"*"]])
def test_a_star_cancels_and_the_session_goes_on(answers: list[bytes]) -> None:
    connection = stage()
    connection.say(b"AUTH LOGIN\r\n")
    for answer in answers[:-1]:
        assert connection.say(answer + b"\r\n").startswith(b"+ ")
    assert connection.say(answers[-1] + b"\r\n") == b"-ERR Authentication cancelled.\r\n"
    assert connection.say(LOGIN) == SEND_PASS + IN


@pytest.mark.parametrize("answer", [b"USER eve", b"QUIT", b"STLS", b"", b"GET / "])
def test_what_answers_a_challenge_is_never_run_as_a_command(answer: bytes) -> None:
    connection = stage()
    assert connection.say(b"AUTH PLAIN\r\n") == b"+ \r\n"
    heard = connection.say(answer + b"\r\n")
    assert heard.startswith(b"-ERR ")
    assert heard.count(b"\r\n") == 1
    assert not connection.is_closed
    assert connection.attempts == []
    assert connection.say(b"NOOP\r\n") == b"+OK\r\n"


def test_a_response_of_twelve_kilobytes_works_and_a_longer_one_does_not() -> None:
    password = "x" * (12_288 // 4 * 3 - len(b"\0alice\0"))
    message = b64(b"\0alice\0" + password.encode())
    assert len(message) == 12_288
    for said in (b"AUTH PLAIN " + message + b"\r\n", b"AUTH PLAIN\r\n" + message + b"\r\n"):
        connection = stage(None)
        connection.say(said)
        assert connection.attempts[0].credential.password == password
    connection = stage()
    assert connection.say(b"PASS " + b"A" * MAX_LINE_BYTES) == b"-ERR Line too long.\r\n"
    assert connection.is_closed


# ---- before TLS


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    "said",
    [
        USER,
        b"USER\r\n",
        b"PASS secret\r\n",
        b"AUTH\r\n",
        b"AUTH PLAIN\r\n",
        b"AUTH LOGIN\r\n",
        b"AUTH PLAIN " + PLAIN + b"\r\n",
        b"AUTH X\r\n",
    ],
)
def test_no_password_is_taken_nor_asked_for_in_clear(said: bytes, cut: Cut) -> None:
    connection = stage(tls=False)
    assert connection.say(said, cut) == NO_TLS
    assert connection.attempts == []
    assert connection.say(b"NOOP\r\n") == b"+OK\r\n"


def test_a_listener_may_be_told_to_take_passwords_in_clear() -> None:
    connection = stage(tls=False, starttls=False, clear=True)
    assert connection.say(LOGIN) == SEND_PASS + IN
    assert connection.attempts[0].tls is False


@pytest.mark.parametrize("behind", [b"", b"NOOP\r\n", LOGIN, b"NO"])
def test_what_comes_behind_stls_is_lost(behind: bytes) -> None:
    connection = stage(tls=False)
    assert connection.say(b"STLS\r\n" + behind) == b"+OK Begin TLS negotiation now.\r\n"
    assert connection.handshakes == 1
    assert connection.say(b"NOOP\r\n") == b"+OK\r\n"
    assert connection.attempts == []


def test_what_was_said_in_clear_is_forgotten() -> None:
    connection = stage(tls=False, clear=True)
    assert connection.say(b"USER eve\r\n") == SEND_PASS
    connection.say(b"STLS\r\n")
    assert connection.say(b"PASS secret\r\n") == b"-ERR USER first.\r\n"


def test_tls_is_started_once() -> None:
    connection = stage(tls=False)
    connection.say(b"STLS\r\n")
    assert connection.say(b"STLS\r\n") == b"-ERR TLS is on already.\r\n"
    assert connection.handshakes == 1


def test_tls_is_not_started_where_it_is_not_offered() -> None:
    connection = stage(tls=False, starttls=False, clear=True)
    assert connection.say(b"STLS\r\n") == b"-ERR TLS cannot be started here.\r\n"
    assert connection.handshakes == 0


# ---- verdicts


def test_the_help_line_stands_behind_every_refusal() -> None:
    connection = stage(lambda attempt: REFUSED, help_line=b"Ask help@example.test.")
    assert connection.say(LOGIN) == SEND_PASS + OUT.replace(b"failed.", b"failed. Ask help@example.test.")


def test_after_a_wrong_password_the_connection_can_be_used_until_the_last_failure() -> None:
    connection = stage(max_failures=3)
    wrong = USER + b"PASS wrong\r\n"
    assert connection.say(wrong * 2) == (SEND_PASS + OUT) * 2
    assert not connection.is_closed
    assert connection.say(wrong + LOGIN) == SEND_PASS + OUT
    assert connection.is_closed
    assert len(connection.attempts) == 3


def test_what_could_not_be_judged_is_no_failure() -> None:
    connection = stage(lambda attempt: Defer(Cause.STORE), max_failures=1)
    for _ in range(10):
        assert connection.say(LOGIN).startswith(SEND_PASS + b"-ERR [SYS/TEMP] ")
    assert not connection.is_closed


def test_a_verdict_on_something_else_says_nothing() -> None:
    dialogue = Pop3Dialogue(Offer(MECHANISMS, True))
    connection = Stage(dialogue, None)
    assert dialogue.judged(1, Accept(PRINCIPAL)) == []
    connection.say(LOGIN)
    assert dialogue.judged(2, Accept(PRINCIPAL)) == []
    connection.news()
    assert connection.answer(REFUSED) == OUT
    assert dialogue.judged(1, Accept(PRINCIPAL)) == []


def test_nothing_is_said_to_someone_who_has_been_sent_away() -> None:
    dialogue = Pop3Dialogue(Offer(MECHANISMS, True))
    connection = Stage(dialogue, None)
    connection.say(LOGIN)
    connection.end(Ending.SHUTDOWN)
    assert connection.is_closed
    assert dialogue.judged(1, Accept(PRINCIPAL)) == []
    assert dialogue.received(b"NOOP\r\n") == []
    assert dialogue.ending(Ending.TIMEOUT) == []
    assert dialogue.eof() == []


# ---- after login


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    "behind",
    [b"STAT\r\n", b"stat\r\nLIST\r\nQUIT\r\n", b"CAPA\r\n", b"NOOP\r\nQU", b"\r\n", b"\xff\0\r\n", b" QUIT\r\n"],
)
def test_the_mailbox_gets_all_that_comes_from_its_first_command_on(behind: bytes, cut: Cut) -> None:
    connection = stage()
    assert connection.say(LOGIN + behind, cut) == SEND_PASS + IN
    assert connection.entered == Enter(PRINCIPAL, behind)


def test_a_login_that_wants_nothing_never_enters_the_mailbox() -> None:
    connection = stage()
    assert connection.say(LOGIN + b"quit\r\nSTAT\r\n") == SEND_PASS + IN + b"+OK Bye.\r\n"
    assert connection.entered is None
    assert connection.is_closed


# ---- bounds and endings


@pytest.mark.parametrize("junk", [b"XYZZY\r\n", b"\x16\x03\x01\r\n", b"\r\n", b"PASS x\r\n", b"AUTH X\r\n"])
def test_junk_has_a_budget(junk: bytes) -> None:
    connection = stage()
    connection.say(junk * (MAX_BAD_COMMANDS - 1))
    assert not connection.is_closed
    assert connection.say(junk).endswith(b"-ERR Too many bad commands.\r\n")
    assert connection.is_closed


@pytest.mark.parametrize("command", [b"NOOP\r\n", b"CAPA\r\n", b"AUTH\r\n", USER])
@pytest.mark.parametrize("tls", [False, True])
def test_commands_before_login_have_a_budget(command: bytes, tls: bool) -> None:
    connection = stage(tls=tls)
    connection.say(command * MAX_COMMANDS)
    assert not connection.is_closed
    assert connection.say(command) == b"-ERR Too many commands.\r\n"
    assert connection.is_closed


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    "verb", [b"GET", b"post", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"PRI"]
)
def test_a_browser_hears_nothing_more(verb: bytes, cut: Cut) -> None:
    connection = stage()
    assert connection.say(verb + b" /USER HTTP/1.1\r\nHost: x\r\n\r\n" + LOGIN, cut) == b""
    assert connection.is_closed
    assert connection.attempts == []


@pytest.mark.parametrize("state", ["before login", "after USER", "in an exchange", "judging", "in"])
@pytest.mark.parametrize("cause", Ending)
def test_the_server_says_goodbye_in_every_state(cause: Ending, state: str) -> None:
    said = {
        "before login": b"",
        "after USER": USER,
        "in an exchange": b"AUTH PLAIN\r\n",
        "judging": LOGIN,
        "in": LOGIN,
    }[state]
    connection = stage(None) if state == "judging" else stage()
    connection.say(said)
    heard = connection.end(cause)
    assert heard.startswith(b"-ERR ")
    assert b"[AUTH]" not in heard
    assert heard.count(b"\r\n") == 1
    assert connection.is_closed


@pytest.mark.parametrize("cause", Ending)
def test_a_connection_may_be_refused_at_the_door(cause: Ending) -> None:
    connection = Stage(Pop3Dialogue(Offer(MECHANISMS, True)), refuse=cause)
    assert connection.heard.startswith(b"-ERR ")
    assert connection.is_closed


def test_the_end_of_input_is_the_end() -> None:
    connection = stage()
    assert connection.say(b"NOO") == b""
    assert connection.eof() == b""
    assert connection.is_closed


def test_nothing_the_client_says_is_said_back() -> None:
    connection = stage()
    mark = b"xyzzy<script>"
    for said in (
        mark + b"\r\n",
        b"USER " + mark + b"\r\nPASS " + mark + b"\r\n",
        b"PASS " + mark + b"\r\n",
        b"AUTH " + mark + b"\r\n",
        b"AUTH PLAIN " + mark + b"\r\n",
        b"AUTH LOGIN\r\n" + b64(mark) + b"\r\n" + b64(mark) + b"\r\n",
        b"CAPA " + mark + b"\r\n",
        b"STLS " + mark + b"\r\n",
    ):
        connection.say(said)
    assert b"xyzzy" not in connection.heard
    assert b64(mark) not in connection.heard
