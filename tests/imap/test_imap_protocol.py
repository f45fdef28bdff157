"""IMAP up to login, in memory: every command, in every state, whole and byte by byte."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mailauth.attempt import Attempt, Credential, Service
from mailauth.dialogue import Ending, Enter
from mailauth.imap.command import MAX_LINE_BYTES
from mailauth.imap.offer import Offer
from mailauth.imap.protocol import MAX_BAD_COMMANDS, MAX_COMMANDS, ImapDialogue
from mailauth.verdict import Accept, Cause, Defer
from servers import MECHANISMS
from stage import PRINCIPAL, REFUSED, Stage, bytewise, whole

ALICE = Credential("alice@example.test", "secret")
LOGIN = b"a LOGIN alice@example.test secret\r\n"
IN = b"a OK [CAPABILITY IMAP4rev1 ID LITERAL+] Logged in.\r\n"
OUT = b"a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"
PRIVACY = b"a NO [PRIVACYREQUIRED] Start TLS first: no password is accepted in clear.\r\n"
BEFORE_TLS = b"IMAP4rev1 ID LITERAL+ SASL-IR STARTTLS LOGINDISABLED"
IN_TLS = b"IMAP4rev1 ID LITERAL+ SASL-IR AUTH=PLAIN AUTH=LOGIN"

Cut = Callable[[bytes], Iterable[bytes]]


def stage(judge: Any = "alice", *, tls: bool = True, starttls: bool = True, **options: Any) -> Stage:
    """One connection, its greeting heard."""
    dialogue = ImapDialogue(Offer(MECHANISMS, starttls, **options))
    opened = Stage(dialogue, tls=tls) if judge == "alice" else Stage(dialogue, judge, tls=tls)
    opened.news()
    return opened


def b64(message: bytes) -> bytes:
    return base64.b64encode(message)


PLAIN = b64(b"\0alice@example.test\0secret")


@pytest.mark.parametrize(
    ("tls", "starttls", "clear", "capabilities"),
    [
        (False, True, False, BEFORE_TLS),
        (False, False, True, b"IMAP4rev1 ID LITERAL+ SASL-IR AUTH=PLAIN AUTH=LOGIN"),
        (False, True, True, b"IMAP4rev1 ID LITERAL+ SASL-IR STARTTLS AUTH=PLAIN AUTH=LOGIN"),
        (True, True, False, IN_TLS),
        (True, False, False, IN_TLS),
    ],
)
def test_the_greeting_and_capability_say_what_is_offered(
    tls: bool, starttls: bool, clear: bool, capabilities: bytes
) -> None:
    connection = Stage(ImapDialogue(Offer(MECHANISMS, starttls, clear)), tls=tls)
    assert connection.news() == b"* OK [CAPABILITY " + capabilities + b"] IMAP ready.\r\n"
    said = connection.say(b"a CAPABILITY\r\n")
    assert said == b"* CAPABILITY " + capabilities + b"\r\na OK CAPABILITY completed.\r\n"


def test_no_version_is_told() -> None:
    connection = Stage(ImapDialogue(Offer(MECHANISMS, True)))
    connection.say(b'a ID ("name" "x")\r\nb CAPABILITY\r\n' + LOGIN)
    assert b"0." not in connection.heard
    assert b"version" not in connection.heard.lower()


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (LOGIN, ALICE),
        (b"a login alice@example.test secret\n", ALICE),
        (b"a LoGiN  alice@example.test  secret \r\n", ALICE),
        (b'a LOGIN "alice@example.test" "secret"\r\n', ALICE),
        (b"a LOGIN {18+}\r\nalice@example.test {6+}\r\nsecret\r\n", ALICE),
        (b'a LOGIN "alice@example.test" {6+}\r\nsecret\r\n', ALICE),
        (b"a LOGIN {18+}\r\nalice@example.test secret\r\n", ALICE),
        (b'a LOGIN bob "\\"pa\\\\ss word\\""\r\n', Credential("bob", '"pa\\ss word"')),
        (b"a LOGIN bob p!a%s*s]\r\n", Credential("bob", "p!a%s*s]")),
        ('a LOGIN "用户@例子.test" "пароль"\r\n'.encode(), Credential("用户@例子.test", "пароль")),
        (b'a LOGIN bob "\xb0\xb2"\r\n', Credential("bob", "\udcb0\udcb2")),  # GB18030: judged by its very bytes
        (b"a LOGIN bob {6+}\r\nse\r\n({\r\n", Credential("bob", "se\r\n({")),
        (b"a LOGIN bob {18+}\r\na LOGIN eve evil\r\n\r\n", Credential("bob", "a LOGIN eve evil\r\n")),
        (b"a AUTHENTICATE PLAIN " + PLAIN + b"\r\n", ALICE),
        (b"a authenticate plain " + PLAIN + b"\r\n", ALICE),
        (b"a AUTHENTICATE PLAIN {%d+}\r\n%s\r\n" % (len(PLAIN), PLAIN), ALICE),
        (b'a AUTHENTICATE "PLAIN" "' + PLAIN + b'"\r\n', ALICE),
        (b"a AUTHENTICATE {5+}\r\nPLAIN " + PLAIN + b"\r\n", ALICE),
        (b"a AUTHENTICATE PLAIN\r\n" + PLAIN + b"\r\n", ALICE),
        (b"a AUTHENTICATE PLAIN\r\n" + PLAIN + b"\n", ALICE),
        (b"a AUTHENTICATE PLAIN " + b64(b"bob\0bob\0x y") + b"\r\n", Credential("bob", "x y", "bob")),
        (b"a AUTHENTICATE PLAIN " + b64(b"root\0bob\0x y") + b"\r\n", Credential("bob", "x y", "root")),
        (b"a AUTHENTICATE LOGIN\r\n" + b64(b"bob") + b"\r\n" + b64(b"x y") + b"\r\n", Credential("bob", "x y")),
        (b"a AUTHENTICATE LOGIN " + b64(b"bob") + b"\r\n" + b64(b"x y") + b"\r\n", Credential("bob", "x y")),
    ],
)
def test_every_way_to_show_a_password(said: bytes, shown: Credential, cut: Cut) -> None:
    connection = stage(None)
    heard = connection.say(said, cut)
    assert set(heard.split(b"\r\n")) <= {b"", b"+ ", b"+ VXNlcm5hbWU6", b"+ UGFzc3dvcmQ6"}
    assert connection.attempts == [Attempt(shown, Service.IMAP, "192.0.2.7", tls=True)]
    assert connection.attempts[0].credential.secret == shown.secret
    assert connection.answer(Accept(PRINCIPAL)) == IN
    assert connection.say(b"b NOOP\r\n") == b"b OK NOOP completed.\r\n"


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    "said",
    [
        b"a LOGIN\r\n",
        b"a LOGIN \r\n",
        b"a LOGIN alice\r\n",
        b"a LOGIN alice \r\n",
        b"a LOGIN alice secret more\r\n",
        b'a LOGIN "" secret\r\n',
        b'a LOGIN alice ""\r\n',
        b"a LOGIN {0+}\r\n secret\r\n",
        b"a LOGIN alice {0+}\r\n\r\n",
        b"a LOGIN alice (secret)\r\n",
        b'a LOGIN alice se"cret"\r\n',
        b'a LOGIN alice "secret\r\n',
        b'a LOGIN alice "se\\cret"\r\n',
        b"a LOGIN alice se\\cret\r\n",
        b"a LOGIN alice se\tcret\r\n",
        b"a LOGIN alice se\rcret\r\n",
        b"a LOGIN alice {3+}\r\na\0b\r\n",
        b"a LOGIN {3+}\r\na\0b secret\r\n",
        b'a LOGIN alice "a\0b"\r\n',
        b"a LOGIN alice {6+}\r\nsecrets\r\n",
        b"a LOGIN alice " + b"(" * 5000 + b"\r\n",
        b"a LOGIN alice {3-}\r\n",
        b"a AUTHENTICATE\r\n",
        b"a AUTHENTICATE PLAIN " + PLAIN + b" more\r\n",
        b"a AUTHENTICATE PLAIN =\r\n",
        b"a AUTHENTICATE PLAIN *\r\n",
        b"a AUTHENTICATE PLAIN ???\r\n",
        b"a AUTHENTICATE PLAIN (\r\n",
        b"a AUTHENTICATE PLAIN {0+}\r\n\r\n",
        b"a AUTHENTICATE PLAIN " + PLAIN + b"====\r\n",
        b"a AUTHENTICATE PLAIN " + b64(b"alice\0secret") + b"\r\n",
        b"a AUTHENTICATE PLAIN " + b64(b"\0alice\0secret\0") + b"\r\n",
        b"a AUTHENTICATE PLAIN " + b64(b"\0alice\0") + b"\r\n",
        b"a AUTHENTICATE PLAIN " + b64(b"\0\0secret") + b"\r\n",
        b"a AUTHENTICATE PLAIN " + b64(b"\0al\xff\0secret") + b"\r\n",
        b"a AUTHENTICATE LOGIN =\r\n",
        b"a AUTHENTICATE LOGIN " + b64(b"al\0ice") + b"\r\n",
        b"a CAPABILITY x\r\n",
        b"a NOOP x\r\n",
        b"a LOGOUT x\r\n",
        b"a STARTTLS x\r\n",
        b"a STARTTLS\r\n",  # TLS is on
        b"a ID\r\n",
        b"a ID (\r\n",
        b'a ID ("name")\r\n',
        b'a ID "name" "x"\r\n',
        b"a SELECT INBOX\r\n",
        b"a NAMESPACE\r\n",
        b"a\r\n",
        b"a \r\n",
        b"a  NOOP\r\n",
        b"a NOO\rP\r\n",
        b"a \xff\xff\r\n",
    ],
)
def test_what_is_bad_is_said_to_be_so_and_the_session_goes_on(said: bytes, cut: Cut) -> None:
    connection = stage()
    heard = connection.say(said, cut)
    assert heard.startswith(b"a BAD ")
    assert heard.count(b"\r\n") == 1
    assert connection.attempts == []
    assert connection.say(LOGIN) == IN


@pytest.mark.parametrize(
    "said", [b"+ NOOP\r\n", b"* NOOP\r\n", b"a(b NOOP\r\n", b" NOOP\r\n", b"x" * 65 + b" NOOP\r\n"]
)
def test_without_a_tag_there_is_none_in_the_answer(said: bytes) -> None:
    assert stage().say(said) == b"* BAD Unreadable tag.\r\n"


def test_an_empty_line_is_nothing() -> None:
    assert stage().say(b"\r\na NOOP\r\n\r\n  \r\nb NOOP\r\n") == b"a OK NOOP completed.\r\nb OK NOOP completed.\r\n"


@pytest.mark.parametrize("word", [b"OAUTHBEARER", b"CRAM-MD5", b"\xff", b"plain login"[:5] + b"x"])
def test_a_mechanism_we_have_not(word: bytes) -> None:
    assert stage().say(b"a AUTHENTICATE " + word + b"\r\n") == b"a NO Unsupported authentication mechanism.\r\n"


@pytest.mark.parametrize("answers", [[b"*"], [b64(b"alice@example.test"), b"*"]])
def test_a_star_cancels_and_the_session_goes_on(answers: list[bytes]) -> None:
    connection = stage()
    connection.say(b"a AUTHENTICATE LOGIN\r\n")
    for answer in answers[:-1]:
        assert connection.say(answer + b"\r\n").startswith(b"+ ")
    assert connection.say(answers[-1] + b"\r\n") == b"a BAD Authentication cancelled.\r\n"
    assert connection.say(LOGIN) == IN


@pytest.mark.parametrize(
    "answer", [b"a LOGIN alice@example.test secret", b"b NOOP", b"c LOGOUT", b"x {5+}", b"", b"GET / "]
)
def test_what_answers_a_challenge_is_never_run_as_a_command(answer: bytes) -> None:
    connection = stage()
    assert connection.say(b"a AUTHENTICATE PLAIN\r\n") == b"+ \r\n"
    heard = connection.say(answer + b"\r\n")
    assert heard.startswith(b"a BAD ")
    assert heard.count(b"\r\n") == 1
    assert not connection.is_closed
    assert connection.attempts == []
    assert connection.say(b"d NOOP\r\n") == b"d OK NOOP completed.\r\n"


def test_a_synchronising_literal_is_asked_for() -> None:
    connection = stage()
    assert connection.say(b"a LOGIN {18}\r\n") == b"+ Ready\r\n"
    assert connection.say(b"alice@example.test {6}\r\n") == b"+ Ready\r\n"
    assert connection.say(b"secret\r\n") == IN


@pytest.mark.parametrize("size", [b"4097", b"99999999999", b"9" * 5000])
def test_a_big_literal_is_not_asked_for(size: bytes) -> None:
    connection = stage()
    assert connection.say(b"a LOGIN alice {" + size + b"}\r\n") == b"a BAD [TOOBIG] Literal too big.\r\n"
    assert connection.say(LOGIN) == IN


@pytest.mark.parametrize("size", [b"4097", b"99999999999", b"9" * 5000])
def test_behind_a_big_literal_that_comes_unasked_nothing_is_read(size: bytes) -> None:
    connection = stage()
    heard = connection.say(b"a LOGIN alice {" + size + b"+}\r\n" + LOGIN)
    assert heard == b"a BAD [TOOBIG] Literal too big.\r\n* BYE Literal too big.\r\n"
    assert connection.is_closed
    assert connection.attempts == []


def test_many_small_literals_are_cut() -> None:
    connection = stage()
    heard = connection.say(b"a LOGIN" + b" {1+}\r\nx" * 20_000 + b"\r\n")
    assert heard == b"a BAD [TOOBIG] Literal too big.\r\n* BYE Literal too big.\r\n"
    connection = stage()
    connection.say(b"a LOGIN")
    asked = 0
    while connection.say(b" {1}\r\n").startswith(b"+"):
        connection.say(b"x")
        asked += 1
        assert asked < 3000
    assert connection.say(b"b NOOP\r\n") == b"b OK NOOP completed.\r\n"


def test_a_response_of_twelve_kilobytes_works_and_a_longer_one_does_not() -> None:
    password = "x" * (12_288 // 4 * 3 - len(b"\0alice\0"))
    message = b64(b"\0alice\0" + password.encode())
    assert len(message) == 12_288
    for said in (b"a AUTHENTICATE PLAIN " + message + b"\r\n", b"a AUTHENTICATE PLAIN\r\n" + message + b"\r\n"):
        connection = stage(None)
        connection.say(said)
        assert connection.attempts[0].credential.password == password
    connection = stage()
    assert connection.say(b"a AUTHENTICATE PLAIN " + b"A" * MAX_LINE_BYTES) == b"* BYE Line too long.\r\n"
    assert connection.is_closed


# ---- before TLS


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    "said",
    [
        LOGIN,
        b'a LOGIN "alice@example.test" "secret"\r\n',
        b"a LOGIN {18+}\r\nalice@example.test {6+}\r\nsecret\r\n",
        b"a AUTHENTICATE PLAIN " + PLAIN + b"\r\n",
        b"a AUTHENTICATE PLAIN\r\n",
        b"a AUTHENTICATE LOGIN\r\n",
        b"a LOGIN {18}\r\n",  # no go-ahead: what comes next would be the login, and then the password
        b"a LOGIN alice@example.test {6}\r\n",
        b"a AUTHENTICATE PLAIN {28}\r\n",
        b"a AUTHENTICATE {5}\r\n",
        b"a login (\r\n",
    ],
)
def test_no_password_is_taken_nor_asked_for_in_clear(said: bytes, cut: Cut) -> None:
    connection = stage(tls=False)
    assert connection.say(said, cut) == PRIVACY
    assert connection.attempts == []
    assert connection.say(b"b NOOP\r\n") == b"b OK NOOP completed.\r\n"


def test_a_listener_may_be_told_to_take_passwords_in_clear() -> None:
    connection = stage(tls=False, starttls=False, clear=True)
    assert connection.say(LOGIN) == IN
    assert connection.attempts[0].tls is False


@pytest.mark.parametrize(
    "behind", [b"", b"b NOOP\r\n", b"b LOGIN alice@example.test secret\r\n", b"b NO", b"b {5+}\r\nxx"]
)
def test_what_comes_behind_starttls_is_lost(behind: bytes) -> None:
    connection = stage(tls=False)
    assert connection.say(b"a STARTTLS\r\n" + behind) == b"a OK Begin TLS negotiation now.\r\n"
    assert connection.handshakes == 1
    assert connection.say(b"c CAPABILITY\r\n") == b"* CAPABILITY " + IN_TLS + b"\r\nc OK CAPABILITY completed.\r\n"
    assert connection.attempts == []


def test_tls_is_started_once() -> None:
    connection = stage(tls=False)
    connection.say(b"a STARTTLS\r\n")
    assert connection.say(b"b STARTTLS\r\n") == b"b BAD TLS is on already.\r\n"
    assert connection.handshakes == 1


def test_tls_is_not_started_where_it_is_not_offered() -> None:
    connection = stage(tls=False, starttls=False, clear=True)
    assert connection.say(b"a STARTTLS\r\n") == b"a BAD TLS is not available here.\r\n"
    connection = stage(tls=False, clear=True)
    connection.say(LOGIN)
    assert connection.say(b"b STARTTLS\r\n") == b"b BAD Not after login.\r\n"
    assert connection.handshakes == 0


def test_what_was_said_in_clear_is_forgotten() -> None:
    connection = stage(tls=False)
    connection.say(b'a ID ("name" "somebody else")\r\n')
    connection.say(b"b STARTTLS\r\n")
    connection.say(LOGIN)
    assert connection.attempts == [Attempt(ALICE, Service.IMAP, "192.0.2.7", tls=True, client="")]


# ---- ID


@pytest.mark.parametrize(
    ("arguments", "client"),
    [
        (b"NIL", ""),
        (b"()", ""),
        (b'("name" "Thunderbird" "version" "140.0")', "Thunderbird 140.0"),
        (b'("version" "1" "NAME" {3+}\r\nfoo)', "foo 1"),
        (b'("name" NIL "version" NIL)', ""),
        (b'("name" "\xe5\xae\x89\xe5\x8d\x93\xff")', "安卓�"),
        (b'("name" {9+}\r\na\r\nb\x1b[0mc)', "ab[0mc"),
        (b'("name" "' + b"x" * 200 + b'")', "x" * 100),
    ],
)
def test_the_client_may_name_itself_in_any_state(arguments: bytes, client: str) -> None:
    connection = stage(None)
    said = b"a ID " + arguments + b"\r\n"
    done = b'* ID ("name" "mailauth")\r\na OK ID completed.\r\n'
    assert connection.say(said) == done
    connection.say(LOGIN)
    assert connection.attempts[0].client == client
    connection.answer(Accept(PRINCIPAL))
    assert connection.say(said) == done


# ---- verdicts


def test_after_a_wrong_password_the_connection_can_be_used() -> None:
    connection = stage()
    assert connection.say(b"a LOGIN alice@example.test wrong\r\n") == OUT
    assert connection.say(LOGIN) == IN


def test_the_help_line_stands_behind_every_refusal() -> None:
    connection = stage(lambda attempt: REFUSED, help_line=b"Ask help@example.test.")
    assert connection.say(LOGIN) == OUT.replace(b"failed.", b"failed. Ask help@example.test.")


def test_the_last_failure_is_said_and_then_goodbye() -> None:
    connection = stage(max_failures=3)
    wrong = b"a LOGIN alice@example.test wrong\r\n"
    assert connection.say(wrong * 2) == OUT * 2
    assert not connection.is_closed
    assert connection.say(wrong + LOGIN) == OUT + b"* BYE Too many failed logins.\r\n"
    assert connection.is_closed
    assert len(connection.attempts) == 3


def test_what_could_not_be_judged_is_no_failure() -> None:
    connection = stage(lambda attempt: Defer(Cause.STORE), max_failures=1)
    for _ in range(10):
        assert connection.say(LOGIN).startswith(b"a NO [UNAVAILABLE] ")
    assert not connection.is_closed


def test_what_is_bad_is_no_failure() -> None:
    connection = stage(max_failures=1)
    connection.say(b"a AUTHENTICATE PLAIN ????\r\n" * 3)
    assert connection.say(LOGIN) == IN


def test_a_verdict_on_something_else_says_nothing() -> None:
    dialogue = ImapDialogue(Offer(MECHANISMS, True))
    connection = Stage(dialogue, None)
    assert dialogue.judged(1, Accept(PRINCIPAL)) == []
    connection.say(LOGIN)
    assert dialogue.judged(2, Accept(PRINCIPAL)) == []
    assert dialogue.judged(0, Accept(PRINCIPAL)) == []
    connection.news()
    assert connection.answer(REFUSED) == OUT
    assert dialogue.judged(1, Accept(PRINCIPAL)) == []


def test_nothing_is_said_to_someone_who_has_been_sent_away() -> None:
    dialogue = ImapDialogue(Offer(MECHANISMS, True))
    connection = Stage(dialogue, None)
    connection.say(LOGIN)
    connection.end(Ending.SHUTDOWN)
    assert connection.is_closed
    assert dialogue.judged(1, Accept(PRINCIPAL)) == []
    assert dialogue.received(b"b NOOP\r\n") == []
    assert dialogue.ending(Ending.TIMEOUT) == []
    assert dialogue.eof() == []


# ---- after login


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    "behind",
    [
        b"b SELECT INBOX\r\n",
        b"b select inbox\r\nc FETCH 1 BODY[]\r\nd LOGOUT\r\n",
        b"b APPEND INBOX {5}\r\n",
        b"b APPEND INBOX {5+}\r\nhello\r\nc NOOP\r\n",
        b"b LIST (",
        b"gibberish\r\n",
        b"\xff\0\r\n",
        b"b IDLE\r\nDONE\r\nc NO",
        b"b SEARCH TEXT {100000}\r\n",
    ],
)
def test_the_mailbox_gets_all_that_comes_from_its_first_command_on(behind: bytes, cut: Cut) -> None:
    connection = stage()
    assert connection.say(LOGIN + b"x NOOP\r\n" + behind, cut) == IN + b"x OK NOOP completed.\r\n"
    if b"\n" in behind:
        assert connection.entered == Enter(PRINCIPAL, behind)
    else:
        assert connection.entered is None
        connection.say(b"\r\n")
        assert connection.entered == Enter(PRINCIPAL, behind + b"\r\n")


def test_a_login_that_wants_nothing_never_enters_the_mailbox() -> None:
    connection = stage(mailbox_capabilities=(b"IMAP4rev1", b"IDLE"))
    heard = connection.say(LOGIN + b'b CAPABILITY\r\nc ID ("name" {3+}\r\nfoo)\r\n\r\nd NOOP\r\ne LOGOUT\r\n')
    assert heard == (
        b"a OK [CAPABILITY IMAP4rev1 IDLE] Logged in.\r\n"
        b"* CAPABILITY IMAP4rev1 IDLE\r\nb OK CAPABILITY completed.\r\n"
        b'* ID ("name" "mailauth")\r\nc OK ID completed.\r\n'
        b"d OK NOOP completed.\r\n"
        b"* BYE Logging out.\r\ne OK LOGOUT completed.\r\n"
    )
    assert connection.entered is None
    assert connection.is_closed


@pytest.mark.parametrize(
    "said", [LOGIN, b"a AUTHENTICATE PLAIN " + PLAIN + b"\r\n", b"a LOGIN {1+}\r\nx {1+}\r\ny\r\n"]
)
def test_who_is_in_cannot_log_in_again(said: bytes) -> None:
    connection = stage()
    connection.say(LOGIN)
    assert connection.say(said) == b"a BAD Already logged in.\r\n"
    assert len(connection.attempts) == 1


def test_a_keepalive_may_go_on_for_ever() -> None:
    connection = stage()
    connection.say(LOGIN)
    for _ in range(MAX_COMMANDS + 1):
        assert connection.say(b"b NOOP\r\n") == b"b OK NOOP completed.\r\n"


# ---- bounds and endings


@pytest.mark.parametrize(
    "junk", [b"a XYZZY\r\n", b"\x16\x03\x01\r\n", b"\r\n", b"a LOGIN (\r\n", b"a LOGIN {9999}\r\n"]
)
def test_junk_has_a_budget(junk: bytes) -> None:
    connection = stage()
    connection.say(junk * (MAX_BAD_COMMANDS - 1))
    assert not connection.is_closed
    assert connection.say(junk).endswith(b"* BYE Too many bad commands.\r\n")
    assert connection.is_closed


def test_asking_in_clear_for_a_go_ahead_has_a_budget() -> None:
    connection = stage(tls=False)
    connection.say(b"a LOGIN {5}\r\n" * MAX_BAD_COMMANDS)
    assert connection.is_closed


def test_commands_before_login_have_a_budget() -> None:
    connection = stage()
    connection.say(b"a NOOP\r\n" * MAX_COMMANDS)
    assert not connection.is_closed
    assert connection.say(b"a NOOP\r\n") == b"* BYE Too many commands.\r\n"
    assert connection.is_closed


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize(
    "verb", [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"PRI"]
)
def test_a_browser_hears_nothing_more(verb: bytes, cut: Cut) -> None:
    connection = stage()
    heard = connection.say(verb + b" /a%20LOGIN HTTP/1.1\r\nHost: x\r\n\r\n" + LOGIN, cut)
    assert heard == b""
    assert connection.is_closed
    assert connection.attempts == []


@pytest.mark.parametrize("state", ["before login", "in an exchange", "in a literal", "judging", "in"])
@pytest.mark.parametrize("cause", Ending)
def test_the_server_says_goodbye_in_every_state(cause: Ending, state: str) -> None:
    said = {
        "before login": b"",
        "in an exchange": b"a AUTHENTICATE PLAIN\r\n",
        "in a literal": b"a LOGIN {5}\r\nal",
        "judging": LOGIN,
        "in": LOGIN,
    }[state]
    connection = stage(None) if state == "judging" else stage()
    connection.say(said)
    heard = connection.end(cause)
    assert heard.startswith(b"* BYE ")
    assert heard.count(b"\r\n") == 1
    assert connection.is_closed


@pytest.mark.parametrize("cause", Ending)
def test_a_connection_may_be_refused_at_the_door(cause: Ending) -> None:
    connection = Stage(ImapDialogue(Offer(MECHANISMS, True)), refuse=cause)
    assert connection.heard.startswith(b"* BYE ")
    assert connection.is_closed


def test_the_end_of_input_is_the_end() -> None:
    connection = stage()
    assert connection.say(b"a NOO") == b""
    assert connection.eof() == b""
    assert connection.is_closed


def test_nothing_the_client_says_is_said_back_but_its_tag() -> None:
    connection = stage()
    mark = b"xyzzy<script>"
    for said in (
        b"a " + mark + b"\r\n",
        mark + b"( NOOP\r\n",
        b"a LOGIN " + mark + b" " + mark + b"\r\n",
        b"a AUTHENTICATE " + mark + b"\r\n",
        b"a AUTHENTICATE PLAIN " + mark + b"\r\n",
        b"a AUTHENTICATE LOGIN\r\n" + b64(mark) + b"\r\n" + b64(mark) + b"\r\n",
        b'a ID ("name" "' + mark + b'")\r\n',
        b"a CAPABILITY " + mark + b"\r\n",
    ):
        connection.say(said)
    assert b"xyzzy" not in connection.heard
    assert b64(mark) not in connection.heard
