"""nginx's auth_http as bytes: header fields in, header fields out."""

from __future__ import annotations

import re

import pytest
from http_said import OTHER_TOKEN, TOKEN, Heard, heard, stage

from bridge_stage import built
from mailauth.attempt import Service
from mailauth.factors.section import BadSection
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject
from stage import PRINCIPAL, bytewise, whole

BACKENDS = ["imap 192.0.2.1:143", "pop3 192.0.2.1:110", "smtp [2001:db8::1]:25"]
OPTIONS: dict[str, object] = {"backends": BACKENDS}
ALICE, SECRET = b"alice@example.test", b"secret"
REFUSED = Reject(Reason.WRONG_PASSWORD)

cuts = pytest.mark.parametrize("cut", [whole, bytewise])
protocols = pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp"])


def request(user: bytes = ALICE, password: bytes = SECRET, protocol: str = "imap", **fields: str | None) -> bytes:
    """As nginx 1.22 sends it. fields: others, or None for one that is not sent."""
    told: dict[str, str | None] = {
        "Host": "127.0.0.1",
        "Auth_Method": "plain",
        "Auth_Protocol": protocol,
        "Auth_Login_Attempt": "1",
        "Client_IP": "203.0.113.9",
        "X_Auth_Key": TOKEN.decode(),
        **fields,
    }
    lines = [f"{name.replace('_', '-')}: {value}".encode() for name, value in told.items() if value is not None]
    shown = [b"Auth-User: " + user, b"Auth-Pass: " + password]
    return b"\r\n".join([b"GET /nginx HTTP/1.0", *lines, *shown, b"", b""])


def answer(outcome: object, protocol: str = "imap", options: dict[str, object] = OPTIONS, **fields: str) -> Heard:
    """What is said to this verdict. fields: of the request."""
    played = stage("nginx", options, judge=False, **{key: fields.pop(key) for key in ("help_line",) if key in fields})
    assert played.say(request(protocol=protocol, **fields)) == b""
    said = played.answer(outcome)  # type: ignore[arg-type]
    assert played.is_closed
    return heard(said)


@cuts
def test_a_right_password_leads_to_the_back_end_and_a_wrong_one_nowhere(cut) -> None:
    played = stage("nginx", OPTIONS)
    told = heard(played.say(request(), cut)).fields
    assert (told["Auth-Status"], told["Auth-Server"], told["Auth-Port"]) == ("OK", "192.0.2.1", "143")
    assert told["Auth-User"] == ALICE.decode()
    assert "Auth-Pass" not in told
    assert played.is_closed
    told = heard(stage("nginx", OPTIONS).say(request(password=b"wrong"), cut)).fields
    assert told["Auth-Status"] == "[AUTHENTICATIONFAILED] Authentication failed."
    assert "Auth-Server" not in told


@pytest.mark.parametrize(
    ("sent", "password"),
    [
        (b'a%20b%25+"\\', b'a b%+"\\'),
        ("密码".encode(), "密码".encode()),
        (b"\xff\xfe", b"\xff\xfe"),
        (b"x" * 1000, b"x" * 1000),
        (b"%0D%0AAuth-User:%20bob", b"\r\nAuth-User: bob"),
        (b"pass%20with%20spaces%20", b"pass with spaces "),
        (b"%00%7F%1b", b"\0\x7f\x1b"),
        (b"%", b"%"),
        (b"", b""),
    ],
)
def test_a_password_is_decoded_as_nginx_has_escaped_it(sent: bytes, password: bytes) -> None:
    played = stage("nginx", OPTIONS, judge=False)
    played.say(request(password=sent))
    assert played.attempts[0].credential.secret == password


@protocols
def test_who_asks_for_whom_arrives(protocol: str) -> None:
    played = stage("nginx", OPTIONS, judge=False)
    played.say(request(protocol=protocol))
    played_tls = stage("nginx", OPTIONS, judge=False)
    played_tls.say(request(protocol=protocol, Auth_SSL="on", Client_IP="2001:db8::7"))
    (clear,), (tls,) = played.attempts, played_tls.attempts
    assert (clear.service, clear.peer, clear.tls) == (Service(protocol), "203.0.113.9", False)
    assert (tls.service, tls.peer, tls.tls) == (Service(protocol), "2001:db8::7", True)


def test_a_client_that_the_bridge_may_not_name_counts_as_the_bridge() -> None:
    played = stage("nginx", OPTIONS, judge=False, clients=())
    played.say(request())
    assert played.attempts[0].peer == "bridge:nginx"


SAID = {
    ("imap", "refused"): ("[AUTHENTICATIONFAILED] Authentication failed. Ask us.", "535 5.7.8"),
    ("pop3", "refused"): ("[AUTH] Authentication failed. Ask us.", "535 5.7.8"),
    ("smtp", "refused"): ("Authentication failed. Ask us.", "535 5.7.8"),
    ("imap", "deferred"): ("[UNAVAILABLE] Temporary authentication failure, try again later", "454 4.7.0"),
    ("pop3", "deferred"): ("[SYS/TEMP] Temporary authentication failure, try again later", "454 4.7.0"),
    ("smtp", "deferred"): ("Temporary authentication failure, try again later", "454 4.7.0"),
}


@protocols
@pytest.mark.parametrize("outcome", [*map(Reject, Reason), *map(Defer, Cause)], ids=repr)
def test_every_verdict_has_the_words_of_its_protocol(protocol: str, outcome: Reject | Defer) -> None:
    told = answer(outcome, protocol, help_line="Ask us.").fields
    text, code = SAID[protocol, "refused" if isinstance(outcome, Reject) else "deferred"]
    assert (told["Auth-Status"], told["Auth-Error-Code"]) == (text, code)


def test_a_help_line_that_is_not_ascii_is_not_said_in_smtp() -> None:
    assert answer(REFUSED, "imap", help_line="问管理员").fields["Auth-Status"].endswith(" 问管理员")
    assert answer(REFUSED, "smtp", help_line="问管理员").fields["Auth-Status"] == "Authentication failed."


@pytest.mark.parametrize("outcome", [REFUSED, Defer(Cause.STORE)], ids=repr)
@pytest.mark.parametrize(
    ("tries", "wait"), [("1", "2"), ("2", "2"), ("3", "4"), ("4", "8"), ("5", None), ("9999999", None), ("x", "2")]
)
def test_a_client_waits_longer_each_time_and_is_left_in_the_end(outcome, tries: str, wait: str | None) -> None:
    assert answer(outcome, Auth_Login_Attempt=tries).fields.get("Auth-Wait") == wait


@pytest.mark.parametrize(
    ("login", "protocol", "place"),
    [
        ("alice@example.test", "imap", ("192.0.2.1", "143")),
        ("alice@example.test", "smtp", ("2001:db8::1", "25")),
        ("bob@example.org", "imap", ("192.0.2.2", "143")),
        ("bob@example.org", "pop3", ("192.0.2.1", "110")),
        ("carol@example.org", "imap", ("192.0.2.3", "1143")),
    ],
)
def test_a_back_end_is_the_account_s_or_the_domain_s_or_everybody_s(login: str, protocol: str, place: tuple) -> None:
    backends = [*BACKENDS, "example.org imap 192.0.2.2:143", "Carol@example.org imap 192.0.2.3:1143"]
    told = answer(Accept(Principal(1, login, 7)), protocol, {"backends": backends}).fields
    assert (told["Auth-Server"], told["Auth-Port"]) == place
    assert told["Auth-User"] == login


@protocols
def test_without_a_back_end_nobody_is_told_a_wrong_password(protocol: str) -> None:
    told = answer(Accept(PRINCIPAL), protocol, {"backends": ["example.org imap 192.0.2.2:143"]}).fields
    assert told["Auth-Status"] == SAID[protocol, "deferred"][0]


@pytest.mark.parametrize(
    ("master", "shown"),
    [
        ({"master_login": "{login}*proxy"}, ("alice@example.test*proxy", "of the proxy")),
        ({}, ("alice@example.test", "of the proxy")),
        ({"master_for": ["example.test"]}, ("alice@example.test", "of the proxy")),
        ({"master_for": ["alice@example.test"]}, ("alice@example.test", "of the proxy")),
        ({"master_login": "{login}*proxy", "master_for": ["example.org"]}, ("alice@example.test", None)),
    ],
)
def test_the_back_end_is_told_what_it_opens_to(master: dict[str, object], shown: tuple[str, str | None]) -> None:
    told = answer(Accept(PRINCIPAL), "imap", {"backends": BACKENDS, "password": "of the proxy", **master}).fields
    assert (told["Auth-User"], told.get("Auth-Pass")) == shown


UNSAFE = ["a*b@example.test", "a%b@example.test", "a b@example.test", "a\r\nb@example.test", "a\0b@x", "a\x85b@x"]


@protocols
@pytest.mark.parametrize("login", UNSAFE)
def test_a_login_that_a_back_end_could_take_for_another_goes_nowhere(protocol: str, login: str) -> None:
    played = stage("nginx", OPTIONS, judge=False)
    played.say(request(protocol=protocol))
    told = heard(played.answer(Accept(Principal(1, login, 7)))).fields
    assert "Auth-Server" not in told
    assert "Auth-User" not in told
    assert "Authentication failed." in told["Auth-Status"]
    assert len(played.warnings) == 1


def test_xclient_would_read_a_plus_and_two_digits_as_a_letter() -> None:
    assert "Auth-Server" not in answer(Accept(Principal(1, "bob+41@example.test", 7)), "smtp").fields
    assert "Auth-Server" in answer(Accept(Principal(1, "bob+41@example.test", 7)), "imap").fields
    assert "Auth-Server" in answer(Accept(Principal(1, "bob+lists@example.test", 7)), "smtp").fields


@protocols
@pytest.mark.parametrize("key", [None, "", "a wrong token, as long as it", TOKEN.decode()[:-1], TOKEN.decode() + "x"])
def test_without_the_token_nobody_is_judged_and_nobody_told_a_wrong_password(protocol: str, key: str | None) -> None:
    played = stage("nginx", OPTIONS)
    told = heard(played.say(request(protocol=protocol, X_Auth_Key=key))).fields
    assert told["Auth-Status"] == SAID[protocol, "deferred"][0]
    assert not played.attempts
    assert len(played.warnings) == 1


def test_two_tokens_are_good_while_one_replaces_the_other() -> None:
    assert stage("nginx", OPTIONS).say(request(X_Auth_Key=OTHER_TOKEN.decode())).count(b"Auth-Status: OK") == 1
    told = stage("nginx", OPTIONS | {"token_header": "X-Mail"}).say(request(X_Auth_Key=None, X_Mail=TOKEN.decode()))
    assert b"Auth-Status: OK" in told


@pytest.mark.parametrize("method", ["apop", "cram-md5", "external", ""])
def test_a_method_without_a_password_is_told_later(method: str) -> None:
    played = stage("nginx", OPTIONS)
    assert heard(played.say(request(Auth_Method=method))).fields["Auth-Status"].startswith("[UNAVAILABLE] ")
    assert not played.attempts


def test_who_does_not_log_in_sends_nothing() -> None:
    told = heard(stage("nginx", OPTIONS).say(request(protocol="smtp", Auth_Method="none"))).fields
    assert (told["Auth-Error-Code"], told["Auth-Status"]) == ("530 5.7.0", "Authentication required")


@pytest.mark.parametrize("protocol", ["imap", "pop3", "smtp", "xmpp"])
def test_a_service_that_is_not_served_is_told_later(protocol: str) -> None:
    served = frozenset(Service) - {protocol}
    told = heard(stage("nginx", OPTIONS, services=served).say(request(protocol=protocol))).fields
    assert told["Auth-Status"] == SAID.get((protocol, "deferred"), SAID["smtp", "deferred"])[0]


@pytest.mark.parametrize(
    "name", ["Auth_User", "Auth_Pass", "Auth_Protocol", "Auth_Method", "Client_IP", "X_Auth_Key", "Auth_Login_Attempt"]
)
def test_a_field_that_comes_twice_is_nobody_s(name: str) -> None:
    """What a client could have slipped in counts for nothing: nginx itself sends each once."""
    twice = f"{name.replace('_', '-')}: bob@example.test\r\nAuth-Method".encode()
    played = stage("nginx", OPTIONS)
    assert heard(played.say(request().replace(b"Auth-Method", twice, 1))).status == 400
    assert not played.attempts


WRONG = [
    ({}, "backends"),
    ({"backends": []}, "backends"),
    ({"backends": ["imap mail.example.org:143"]}, "backends"),
    ({"backends": ["imap 192.0.2.1"]}, "backends"),
    ({"backends": ["imap 192.0.2.1:0"]}, "backends"),
    ({"backends": ["imap 192.0.2.1:65536"]}, "backends"),
    ({"backends": ["ldap 192.0.2.1:143"]}, "backends"),
    ({"backends": ["imap 192.0.2.1:143", "imap 192.0.2.2:143"]}, "backends"),
    ({"backends": BACKENDS, "master_login": "{login}*proxy"}, "master_login"),
    ({"backends": BACKENDS, "master_login": "proxy", "password": "x"}, "master_login"),
    ({"backends": BACKENDS, "master_login": "{login}\r\nX: y", "password": "x"}, "master_login"),
    ({"backends": BACKENDS, "password": "x\r\nAuth-Server: 192.0.2.66"}, "password_file"),
    ({"backends": BACKENDS, "token_header": "X:Y"}, "token_header"),
    ({"backends": BACKENDS, "wait_s": 0}, "wait_s"),
]


@pytest.mark.parametrize(("options", "key"), WRONG)
def test_what_cannot_be_meant_is_refused_by_its_key(options: dict[str, object], key: str) -> None:
    with pytest.raises(BadSection) as caught:
        built("nginx", {"admits": bool}, **options)
    assert caught.value.key == key


@pytest.mark.parametrize("kind", ["nginx", "http", "dovecot-grant", "dovecot-lua", "dovecot-policy"])
def test_every_bridge_by_http_wants_a_token(kind: str) -> None:
    with pytest.raises(BadSection) as caught:
        built(kind, **(OPTIONS if kind == "nginx" else {}))
    assert caught.value.key == "token_file"


def test_no_answer_has_a_line_that_is_not_ours() -> None:
    known = r"Auth-(Status|Server|Port|User|Pass|Error-Code|Wait)|Content-(Type|Length)|Cache-Control|Connection"
    for outcome in (Accept(PRINCIPAL), REFUSED, Defer(Cause.LATE)):
        assert all(re.fullmatch(known, name) for name in answer(outcome, help_line="Ask us.").fields)
