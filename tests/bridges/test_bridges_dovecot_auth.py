"""The Dovecot auth protocol as bytes: what Postfix, Exim and Dovecot's own programs send, and what they must hear."""

from __future__ import annotations

import base64
import re
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_stage import BridgeStage, built
from mailauth import plugins
from mailauth.attempt import Service
from mailauth.bridges.dovecot_auth import MAX_LINE_BYTES, MAX_PENDING, PENDING_S
from mailauth.dialogue import Again
from mailauth.factors.section import BadSection, Section
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject
from stage import PRINCIPAL, REFUSED, bytewise, whole

HELLO = b"VERSION\t1\t0\nCPID\t42\n"
OTHERS_HELLO = b"VERSION\t1\t2\nCPID\t42\n"
POSTFIX = b"service=smtp\tnologin\tlip=127.0.0.1\trip=203.0.113.9\tsecured"
EXIM = b"service=smtp\tsecured\trip=203.0.113.9\tlip=127.0.0.1\tnologin"
GREETING = re.compile(
    rb"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t\d+\nCUID\t(\d+)\nCOOKIE\t([0-9a-f]{32})\nDONE\n"
)

cuts = pytest.mark.parametrize("cut", [whole, bytewise])


def b64(text: bytes) -> bytes:
    return base64.b64encode(text)


def auth(number: int = 1, initial: bytes | None = b64(b"\0alice@example.test\0secret"), **changes: bytes) -> bytes:
    words = [b"AUTH", b"%d" % number, changes.get("mechanism", b"PLAIN"), changes.get("told", POSTFIX)]
    return b"\t".join([*words, *([] if initial is None else [b"resp=" + initial])]) + b"\n"


def stage(judge=False, hello: bytes = HELLO, terms=None, **options: object) -> BridgeStage:
    """A connection past its greetings. judge: False for nobody, who is told by `answer`."""
    dialogue = built("dovecot-auth", terms, **options).dialogue()
    played = BridgeStage(dialogue) if judge else BridgeStage(dialogue, None)
    played.news()
    assert played.say(hello) == b""
    return played


@pytest.mark.parametrize(
    ("hello", "session"), [(HELLO, "42"), (b"VERSION\t1\t0\n", ""), (b"CPID\t" + b"9" * 500 + b"\n", "9" * 10)]
)
def test_the_peer_s_process_names_the_session(hello: bytes, session: str) -> None:
    played = stage(hello=hello)
    played.say(auth())
    assert played.sessions == [session]


# ---- the greeting


def test_the_greeting_comes_at_once_and_names_mechanisms_before_the_process() -> None:
    bridge = built("dovecot-auth")
    first, second = BridgeStage(bridge.dialogue()), BridgeStage(bridge.dialogue())
    one, other = GREETING.fullmatch(first.news()), GREETING.fullmatch(second.news())
    assert one is not None
    assert other is not None
    assert one[1] != other[1]
    assert one[2] != other[2]


@pytest.mark.parametrize("hello", [b"VERSION\t2\t0\n", b"VERSION\t1\n", b"VERSION\t1\tx\n", b"VERSION\n"])
def test_another_version_is_not_talked_to(hello: bytes) -> None:
    played = BridgeStage(built("dovecot-auth").dialogue())
    played.say(hello)
    assert played.is_closed
    assert played.warnings == ["speaks another version of the protocol"]


# ---- one exchange, as each client sends it

LOGIN = {"mechanism": b"LOGIN"}
EXCHANGES = {
    "plain": [(auth(), b"")],
    "plain-in-small-letters": [(auth(mechanism=b"plain"), b"")],
    "exim": [(auth(told=EXIM), b"")],
    "plain-without-response": [
        (auth(1, None), b"CONT\t1\t\n"),
        (b"CONT\t1\t" + b64(b"\0alice@example.test\0secret") + b"\n", b""),
    ],
    "exim-without-response": [
        (auth(1, b"", told=EXIM), b"CONT\t1\t\n"),
        (b"CONT\t1\t" + b64(b"\0alice@example.test\0secret") + b"\n", b""),
    ],
    "login": [
        (auth(1, None, **LOGIN), b"CONT\t1\tVXNlcm5hbWU6\n"),
        (b"CONT\t1\t" + b64(b"alice@example.test") + b"\n", b"CONT\t1\tUGFzc3dvcmQ6\n"),
        (b"CONT\t1\t" + b64(b"secret") + b"\n", b""),
    ],
    "login-with-user": [
        (auth(1, b64(b"alice@example.test"), **LOGIN), b"CONT\t1\tUGFzc3dvcmQ6\n"),
        (b"CONT\t1\t" + b64(b"secret") + b"\n", b""),
    ],
}


@cuts
@pytest.mark.parametrize("name", EXCHANGES)
def test_every_way_of_showing_a_password_is_understood(name: str, cut) -> None:
    played = stage()
    for said, heard in EXCHANGES[name]:
        assert played.say(said, cut) == heard
    (attempt,) = played.pending.values()
    assert (attempt.credential.authcid, attempt.credential.password) == ("alice@example.test", "secret")
    assert (attempt.service, attempt.peer, attempt.tls) == (Service.SMTP, "203.0.113.9", True)
    assert played.answer(Accept(PRINCIPAL)) == b"OK\t1\tuser=alice@example.test\n"
    assert not played.is_closed


@cuts
@pytest.mark.parametrize("hello", [HELLO, OTHERS_HELLO])
def test_right_and_wrong(cut, hello: bytes) -> None:
    played = stage(judge=True, hello=hello)
    said = auth(1) + auth(2, b64(b"\0alice@example.test\0wrong"))
    assert played.say(said, cut) == (
        b"OK\t1\tuser=alice@example.test\nFAIL\t2\tuser=alice@example.test\treason=Authentication failed.\n"
    )


def test_the_name_that_is_said_back_is_the_accounts_own() -> None:
    played = stage()
    played.say(auth(1, b64(b"\0Alice@EXAMPLE.test\0secret")))
    assert played.answer(Accept(Principal(1, "alice@example.test", None))) == b"OK\t1\tuser=alice@example.test\n"


# ---- what it says of a refusal

CODES = {
    Reason.DISABLED: b"user_disabled",
    Reason.DOMAIN_DISABLED: b"user_disabled",
    Reason.CLIENT_LOGON_OFF: b"user_disabled",
    Reason.SERVICE_OFF: b"user_disabled",
    Reason.SUSPENDED: b"user_disabled",
    Reason.EXPIRED: b"pass_expired",
    Reason.AUTHZID: b"authz_fail",
}


@pytest.mark.parametrize("reason", Reason)
def test_a_refusal_has_one_text_and_the_codes_that_dovecot_knows(reason: Reason) -> None:
    played = stage()
    played.say(auth(7))
    code = b"\tcode=" + CODES[reason] if reason in CODES else b""
    expected = b"FAIL\t7\tuser=alice@example.test" + code + b"\treason=Authentication failed.\n"
    assert played.answer(Reject(reason)) == expected


@pytest.mark.parametrize(
    ("help_line", "said"),
    [
        ("Ask help@example.test.", b"Authentication failed. Ask help@example.test."),
        ("\u8bf7\u8054\u7cfb\u7ba1\u7406\u5458", b"Authentication failed."),
        ("x" * 200, (b"Authentication failed. " + b"x" * 200)[:200]),
    ],
)
def test_the_help_line_stands_in_the_reason_as_far_as_smtp_can_say_it(help_line: str, said: bytes) -> None:
    played = stage(terms={"help_line": help_line})
    played.say(auth(1))
    assert played.answer(REFUSED) == b"FAIL\t1\tuser=alice@example.test\treason=" + said + b"\n"


@pytest.mark.parametrize(
    "login",
    ["a\tb@example.test", "a\nb@example.test", "a\x01b@example.test", "a\x7f@example.test", "x" * 250 + "@e.test"],
)
def test_a_login_that_would_need_an_escape_is_judged_and_not_said_back(login: str) -> None:
    played = stage()
    played.say(auth(1, b64(f"\0{login}\0secret".encode())))
    assert next(iter(played.pending.values())).credential.authcid == login
    assert played.answer(Reject(Reason.UNKNOWN_LOGIN)) == b"FAIL\t1\treason=Authentication failed.\n"


def test_a_login_outside_ascii_is_said_back_in_utf_8() -> None:
    played = stage()
    played.say(auth(1, b64("\0\u738b@example.test\0\u5bc6\u7801".encode())))
    assert next(iter(played.pending.values())).credential.password == "\u5bc6\u7801"
    assert played.answer(REFUSED).startswith(b"FAIL\t1\tuser=" + "\u738b@example.test".encode() + b"\t")


# ---- what is no answer to the password

MALFORMED = {
    "no-base64": (b"###", b"\tcode=invalid_base64\treason=Invalid base64."),
    "wrong-length": (b"YWxpY2U", b"\tcode=invalid_base64\treason=Invalid base64."),
    "tab-behind": (b"YWxp\tfoo=bar", b"\tcode=invalid_base64\treason=Invalid base64."),
    "empty": (b"=", b"\treason=PLAIN is authzid NUL authcid NUL password."),
    "two-parts": (b64(b"a\0b"), b"\treason=PLAIN is authzid NUL authcid NUL password."),
    "empty-password": (b64(b"\0a\0"), b"\treason=Empty login or password."),
    "latin-1": (b64(b"\0a\0caf\xe9"), b"\treason=The password is not UTF-8."),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_malformed_is_not_judged(name: str) -> None:
    response, said = MALFORMED[name]
    played = stage()
    assert played.say(auth(3, response)) == b"FAIL\t3" + said + b"\n"
    assert not played.attempts
    assert played.say(auth(4)) == b""  # and the connection goes on
    assert len(played.pending) == 1


def test_a_mechanism_that_is_not_offered_is_refused() -> None:
    played = stage()
    assert (
        played.say(auth(1, None, mechanism=b"CRAM-MD5")) == b"FAIL\t1\treason=Unsupported authentication mechanism.\n"
    )


def test_a_password_of_a_thousand_octets_is_judged_and_a_line_beyond_all_bounds_is_the_end() -> None:
    played = stage()
    played.say(auth(1, b64(b"\0alice@example.test\0" + b"x" * 1000)))
    assert len(played.attempts[0].credential.password) == 1000
    played = stage()
    played.say(auth(1, b64(b"\0alice@example.test\0" + b"x" * 9000)))
    assert len(played.attempts[0].credential.password) == 9000
    for line in (b"x" * MAX_LINE_BYTES, b"AUTH\t1\tPLAIN\tresp=" + b"A" * MAX_LINE_BYTES + b"\n"):
        for cut in (whole, bytewise):
            played = stage()
            played.say(line, cut)
            assert played.is_closed
            assert played.warnings == ["sent a line longer than the protocol allows"]


@pytest.mark.parametrize("cause", Cause)
def test_not_now_is_the_end_of_the_connection_for_postfix_and_exim(cause: Cause) -> None:
    played = stage()
    played.say(auth(1))
    assert played.answer(Defer(cause)) == b""
    assert played.is_reset


@pytest.mark.parametrize("cause", Cause)
def test_not_now_is_a_code_for_those_who_know_it(cause: Cause) -> None:
    played = stage(hello=OTHERS_HELLO)
    played.say(auth(1) + auth(2))
    assert played.answer(Defer(cause)) == b"FAIL\t1\tuser=alice@example.test\tcode=temp_fail\ttemp\n"
    assert played.answer(Accept(PRINCIPAL)) == b"OK\t2\tuser=alice@example.test\n"
    assert not played.is_closed


@pytest.mark.parametrize(("tempfail", "hello", "resets"), [("close", OTHERS_HELLO, True), ("code", HELLO, False)])
def test_the_operator_may_say_how_not_now_is_told(tempfail: str, hello: bytes, resets: bool) -> None:
    played = stage(hello=hello, tempfail=tempfail)
    played.say(auth(1))
    assert (played.answer(Defer(Cause.STORE)) == b"") is resets
    assert played.is_reset is resets


def test_options_are_checked() -> None:
    with pytest.raises(BadSection, match="auto, close, code"):
        built("dovecot-auth", tempfail="never")
    with pytest.raises(BadSection, match="unknown"):
        built("dovecot-auth", temp_fail="auto")
    with pytest.raises(BadSection, match="unknown"):
        plugins.load("bridges", "dovecot-auth", Section({"terms": 3}, {}))


# ---- for whom it asks


@pytest.mark.parametrize(
    ("told", "service", "peer", "tls"),
    [
        (b"service=imap\trip=192.0.2.1", Service.IMAP, "192.0.2.1", False),
        (b"service=pop3\tsecured=tls\trip=2001:db8::7", Service.POP3, "2001:db8::7", True),
        (b"service=submission\tsecured=secured\trip=::ffff:192.0.2.1", Service.SMTP, "192.0.2.1", False),
        (b"service=Sieve\tsession=x\ttls_cipher=y\tno-penalty\tdebug", Service.IMAP, "bridge:dovecot-auth", False),
        (b"service=smtp\trip=10.0.0.1", Service.SMTP, "bridge:dovecot-auth", False),
        (b"service=smtp\trip=unknown", Service.SMTP, "bridge:dovecot-auth", False),
        (b"service=smtp\trip=fe80::1%eth0", Service.SMTP, "bridge:dovecot-auth", False),
        (b"rip=192.0.2.1\tservice=sm\x01tp", None, "", False),
        (b"service=ldap", None, "", False),
        (b"rip=192.0.2.1", None, "", False),
    ],
)
def test_service_and_client_are_those_that_the_host_names_and_may_name(told, service, peer, tls) -> None:
    clients = tuple(ip_network(text) for text in ("192.0.2.0/24", "2001:db8::/32"))
    played = stage(hello=OTHERS_HELLO, terms={"clients": clients})
    heard = played.say(auth(1, told=told))
    if service is None:
        assert heard == b"FAIL\t1\tcode=temp_fail\ttemp\n"
        assert not played.attempts
        assert "does not serve" in played.warnings[0]
    else:
        (attempt,) = played.attempts
        assert (attempt.service, attempt.peer, attempt.tls) == (service, peer, tls)


def test_a_service_it_does_not_serve_is_deferred_and_one_of_another_name_may_be_given_a_place() -> None:
    played = stage(hello=OTHERS_HELLO, terms={"services": frozenset({Service.SMTP}), "other_service": Service.SMTP})
    played.say(auth(1, told=b"service=imap") + auth(2, told=b"service=xmpp"))
    (attempt,) = played.attempts
    assert attempt.service is Service.SMTP


def test_the_name_that_a_mail_program_gave_itself_arrives() -> None:
    played = stage()
    played.say(auth(1, told=b'service=imap\tclient_id="name" "K-9\x01tMail\x011"'))
    assert played.attempts[0].client == '"name" "K-9Mail"'


# ---- many at once


def test_two_hundred_at_once_are_never_mixed_up() -> None:
    played = stage()
    said = b"".join(auth(n, b64(f"\0user{n}@example.test\0p{n}".encode())) for n in range(1, 201))
    assert played.say(said) == b""
    heard = b""
    for ticket, attempt in sorted(played.pending.items(), key=lambda item: hash(item[1].credential.authcid)):
        number = int(attempt.credential.authcid.removeprefix("user").partition("@")[0])
        verdict = Accept(Principal(number, attempt.credential.authcid, 1)) if number % 2 else REFUSED
        heard += played.answer(verdict, ticket)
    lines = heard.splitlines()
    assert len(lines) == 200
    for line in lines:
        word, number, user, *_ = line.split(b"\t")
        assert word == (b"OK" if int(number) % 2 else b"FAIL")
        assert user == b"user=user%b@example.test" % number


def test_an_id_may_be_used_again_once_it_is_answered_and_not_before() -> None:
    played = stage()
    played.say(auth(1))
    assert played.answer(REFUSED).startswith(b"FAIL\t1\t")
    played.say(auth(1))
    assert played.answer(Accept(PRINCIPAL)) == b"OK\t1\tuser=alice@example.test\n"
    played.say(auth(1) + auth(1))
    assert played.is_closed
    assert played.warnings == ["sent a request that cannot be told from another"]


def test_a_cancelled_request_is_not_answered_and_its_verdict_goes_to_nobody_else() -> None:
    played = stage()
    played.say(auth(1))
    (ticket,) = played.pending
    played.say(b"CANCEL\t1\n" + auth(1, b64(b"\0bob@example.test\0wrong")))
    assert played.answer(Accept(PRINCIPAL), ticket) == b""
    assert played.answer(REFUSED).startswith(b"FAIL\t1\tuser=bob@example.test\t")
    played.say(auth(2, None))
    played.say(b"CANCEL\t2\nCANCEL\t3\nCANCEL\n")
    assert not played.is_closed


def test_exchanges_that_the_client_has_left_are_bounded_in_number_and_time() -> None:
    """Postfix answers a client's `*` itself and tells us nothing."""
    played = stage(hello=OTHERS_HELLO)
    for number in range(1, MAX_PENDING + 2):
        assert played.say(auth(number, None)) == b"CONT\t%d\t\n" % number
    plain = b64(b"\0alice@example.test\0secret")
    assert played.say(b"CONT\t1\t" + plain + b"\n") == b"FAIL\t1\tcode=temp_fail\ttemp\n"  # forgotten, not wrong
    assert played.say(b"CONT\t2\t" + plain + b"\n") == b""
    assert len(played.pending) == 1
    played.now += PENDING_S
    assert played.say(b"CONT\t3\t" + plain + b"\n") == b"FAIL\t3\tcode=temp_fail\ttemp\n"
    assert played.say(b"CONT\t99\t\n") == b"FAIL\t99\tcode=temp_fail\ttemp\n"


def test_what_later_versions_add_is_passed_over() -> None:
    played = stage()
    assert played.say(b"\nUSER\t1\tx\nFOO\nCONT\nREQUEST\t1\t2\t3\nAUTHX\t1\n") == b""
    assert not played.is_closed


@pytest.mark.parametrize(
    "words",
    [b"x\tPLAIN", b"\tPLAIN", b"99999999999\tPLAIN", b"-1\tPLAIN", b"", b"1", b"1\t", b"1\t\tservice=smtp"],
)
def test_a_request_without_a_number_or_a_mechanism_is_the_end(words: bytes) -> None:
    played = stage()
    played.say(b"AUTH\t" + words + b"\n")
    assert played.is_closed
    assert played.warnings == ["sent a request that cannot be told from another"]


def test_who_says_no_more_hears_what_is_still_judged() -> None:
    played = stage()
    played.say(auth(1) + auth(2))
    assert played.eof() == b""
    assert played.answer(Accept(PRINCIPAL)) == b"OK\t1\tuser=alice@example.test\n"
    assert not played.is_closed
    assert played.answer(Accept(PRINCIPAL)) == b"OK\t2\tuser=alice@example.test\n"
    assert played.is_closed
    played = stage()
    played.eof()
    assert played.is_closed


# ---- anything

SESSION = [
    HELLO,
    OTHERS_HELLO,
    auth(1),
    auth(2, b64(b"\0alice@example.test\0wrong")),
    auth(3, None),
    auth(4, b"", mechanism=b"LOGIN"),
    auth(5, b64(b"alice@example.test"), mechanism=b"LOGIN"),
    b"CONT\t3\t" + b64(b"\0alice@example.test\0secret") + b"\n",
    b"CONT\t4\t" + b64(b"alice@example.test") + b"\n",
    b"CONT\t4\t" + b64(b"secret") + b"\n",
    b"CANCEL\t3\n",
    auth(6, told=b"service=ldap"),
    b"\n",
    b"x" * 300 + b"\n",
]
SAYS = re.compile(
    rb"""CONT\t\d+\t[A-Za-z0-9+/=]*
       | OK\t\d+\tuser=alice@example\.test
       | FAIL\t\d+(\tuser=[^\t\x00-\x1f]+)?(\tcode=[a-z0-9_]+)?(\ttemp|\treason=[ -~]{1,200})?""",
    re.VERBOSE,
)
VERDICTS = st.sampled_from([Accept(PRINCIPAL), REFUSED, Reject(Reason.DISABLED), Defer(Cause.STORE)])


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    said = bytearray(b"".join(draw(st.lists(st.sampled_from(SESSION), max_size=12))))
    for _ in range(draw(st.integers(0, 4))):
        if said:
            at = draw(st.integers(0, len(said) - 1))
            said[at : at + draw(st.integers(1, 8))] = draw(st.binary(max_size=8))
    return bytes(said)


@given(said=st.one_of(st.binary(max_size=400), mutated()), verdicts=st.lists(VERDICTS, min_size=1), data=st.data())
@settings(max_examples=300, deadline=None)
def test_whatever_comes_only_the_protocol_goes_out_and_each_request_is_answered_once(said, verdicts, data) -> None:
    bridge = built("dovecot-auth")
    asked = iter(verdicts * 50)
    played = BridgeStage(bridge.dialogue(), lambda attempt: next(asked, REFUSED))
    played.news()
    cut = data.draw(st.sampled_from([whole, bytewise]))
    heard = played.say(said, cut)
    assert not heard or heard.endswith(b"\n")
    for line in heard.splitlines():
        assert SAYS.fullmatch(line), line
        assert len(line) < 1024
        assert line.count(b"\t") < 16


@given(data=st.binary(min_size=1, max_size=64), times=st.integers(1, 600))
@settings(max_examples=60, deadline=None)
def test_what_is_kept_is_bounded(data: bytes, times: int) -> None:
    played = BridgeStage(built("dovecot-auth").dialogue(), lambda attempt: REFUSED)
    for _ in range(times):
        played.say(data)
        if played.is_closed:
            break
        dialogue = played.dialogue
        assert len(dialogue._unread) <= MAX_LINE_BYTES + len(data)  # type: ignore[attr-defined]
        assert len(dialogue._pending) <= MAX_PENDING  # type: ignore[attr-defined]


# ---- logins that come again


def question_of(line: bytes) -> bytes:
    played = stage(terms={"recurring": (), "secret": b"s" * 32})
    played.say(line)
    return played.attempts[0].question


def known_stage(lets_in: Accept | None) -> BridgeStage:
    """One that has met Alice's line before. lets_in: what comes of it now; None: it is judged from the beginning."""
    played = stage(terms={"recurring": {question_of(auth())}, "secret": b"s" * 32})
    played.lets_in = lets_in
    return played


@cuts
def test_a_login_that_comes_again_is_known_by_its_bytes_whatever_its_number(cut) -> None:
    played = known_stage(Accept(PRINCIPAL))
    heard = played.say(auth(7) + auth(8), cut)
    assert heard == b"OK\t7\tuser=alice@example.test\nOK\t8\tuser=alice@example.test\n"
    assert len(played.again) == 2
    assert len(set(played.again)) == 1
    assert played.sessions == ["42", "42"]
    assert not played.pending
    assert played.say(auth(7), cut) == b"OK\t7\tuser=alice@example.test\n"  # its number may be used again


def test_what_is_said_of_one_that_comes_again_has_no_password() -> None:
    action = Again(1, b"a question", "42", b"7", auth(7))
    assert repr(action) == "Again(ticket=1, session='42')"


def test_what_is_to_be_judged_from_the_beginning_after_all_is_read_anew() -> None:
    played = known_stage(None)
    assert played.say(auth(7)) == b""
    assert len(played.again) == 1
    (attempt,) = played.attempts
    assert (attempt.credential.authcid, attempt.credential.password) == ("alice@example.test", "secret")
    assert (attempt.service, attempt.peer, attempt.tls) == (Service.SMTP, "203.0.113.9", True)
    assert attempt.question == question_of(auth())
    assert played.answer(Reject(Reason.REVOKED)).startswith(b"FAIL\t7\tuser=alice@example.test\t")


@pytest.mark.parametrize(
    "other",
    [
        auth(initial=b64(b"\0alice@example.test\0Secret")),
        auth(initial=b64(b"\0alice@example.tesT\0secret")),
        auth(initial=b64(b"bob\0alice@example.test\0secret")),
        auth(told=POSTFIX.replace(b"smtp", b"imap")),
        auth(told=POSTFIX.replace(b"203.0.113.9", b"203.0.113.8")),
        auth(told=POSTFIX.replace(b"\tsecured", b"")),
        auth(mechanism=b"LOGIN"),
        auth(initial=None),
    ],
)
def test_what_differs_in_anything_is_another_question(other: bytes) -> None:
    played = known_stage(None)
    played.say(other)
    assert not played.again
    assert all(attempt.question != question_of(auth()) for attempt in played.attempts)


def test_what_was_shown_in_several_steps_has_no_question() -> None:
    played = stage()
    played.say(auth(initial=None) + b"CONT\t1\t" + b64(b"\0alice@example.test\0secret") + b"\n")
    assert [attempt.question for attempt in played.attempts] == [b""]


def test_two_bridges_have_no_question_in_common() -> None:
    """They may name other networks and services: the same bytes may mean something else."""
    one, other = stage(), stage()
    one.say(auth())
    other.say(auth())
    assert one.attempts[0].question != other.attempts[0].question
    assert b"secret" not in one.attempts[0].question


@pytest.mark.parametrize("lets_in", [Accept(PRINCIPAL), None])
def test_one_that_was_cancelled_or_lost_its_connection_is_not_answered(lets_in: Accept | None) -> None:
    played = known_stage(lets_in)
    assert played.say(auth(7) + b"CANCEL\t7\n") == b""
    assert played.say(auth(9) + auth(9)) == b""
    assert played.is_closed
    assert played.warnings == ["sent a request that cannot be told from another"]
    assert len(played.again) == 2
    assert played.attempts == []


def test_an_id_that_is_used_again_at_once_is_answered_once_and_for_the_later_one() -> None:
    played = known_stage(Accept(PRINCIPAL))
    assert played.say(auth(7) + b"CANCEL\t7\n" + auth(7)) == b"OK\t7\tuser=alice@example.test\n"
    other = auth(8, initial=b64(b"\0bob@example.test\0secret"))
    assert played.say(auth(8) + b"CANCEL\t8\n" + other) == b""
    assert [attempt.credential.authcid for attempt in played.pending.values()] == ["bob@example.test"]
    assert played.say(other + b"CANCEL\t8\n" + auth(8)) == b""  # the id is still to be answered
    assert played.is_closed


def test_the_end_of_input_waits_for_one_that_is_judged_from_the_beginning() -> None:
    played = known_stage(None)
    played.say(auth(7))
    played.eof()
    assert not played.is_closed
    assert played.answer(Accept(PRINCIPAL)) == b"OK\t7\tuser=alice@example.test\n"
    assert played.is_closed
