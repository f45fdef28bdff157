"""The JSON call as bytes, held against its own description."""

from __future__ import annotations

import json
from typing import Any

import pytest
from http_said import OTHER_TOKEN, TOKEN, Heard, heard, posted, stage
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_stage import EVERYWHERE, built
from mailauth.attempt import Service
from mailauth.bridges.bridge import Terms
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject
from stage import PRINCIPAL, bytewise, whole

ATTEMPT = {"login": "alice@example.test", "password": "secret", "service": "imap"}
WHOLE = {
    **ATTEMPT,
    "client_address": "203.0.113.9",
    "client_name": "thunderbird 128",
    "authzid": "alice@example.test",
    "tls": True,
}


def call(said: object, token: bytes = TOKEN) -> bytes:
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    shown = {"Authorization": f"Bearer {token.decode()}"} if token else {}
    return posted("/v1/authenticate", "application/json", body, **shown)


def answer(outcome: object, **terms: object) -> Heard:
    played = stage("http", judge=False, **terms)
    played.say(call(ATTEMPT))
    return heard(played.answer(outcome))  # type: ignore[arg-type]


def description() -> Any:
    return heard(stage("http").say(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")).json


@pytest.mark.parametrize("cut", [whole, bytewise])
def test_a_right_password_and_a_wrong_one(cut) -> None:
    played = stage("http")
    told = heard(played.say(call(ATTEMPT), cut))
    assert (told.status, told.json) == (200, {"verdict": "accept", "login": "alice@example.test", "app_password": 7})
    told = heard(played.say(call({**ATTEMPT, "password": "wrong"}), cut))
    assert (told.status, told.json) == (403, {"verdict": "reject", "text": "Authentication failed."})
    assert not played.is_closed
    assert told.fields["Content-Type"] == "application/json"
    assert told.fields["Cache-Control"] == "no-store"


def test_all_that_is_said_arrives() -> None:
    played = stage("http", judge=False)
    played.say(call(WHOLE))
    (attempt,) = played.attempts
    assert attempt.credential.authcid == attempt.credential.authzid == "alice@example.test"
    assert (attempt.service, attempt.peer, attempt.tls) == (Service.IMAP, "203.0.113.9", True)
    assert attempt.client == "thunderbird 128"


@pytest.mark.parametrize("password", ["密码", "x" * 1000, 'a"\\b', "\0\r\n", " a "])
def test_any_password_arrives(password: str) -> None:
    played = stage("http", judge=False)
    played.say(call({**ATTEMPT, "password": password}))
    assert played.attempts[0].credential.password == password


def test_what_is_too_long_for_an_address_counts_as_the_bridge_and_is_not_remembered() -> None:
    terms = Terms("http", clients=EVERYWHERE)
    long = "fe80::1%" + "x" * 60_000  # an address, but for its length
    assert [terms.peer(named) for named in (long, "fe80::1%eth0")] == ["bridge:http", "fe80::1"]
    assert list(terms._peers) == ["fe80::1%eth0"]


def test_octets_that_are_not_utf8_have_a_way_in() -> None:
    played = stage("http", judge=False)
    played.say(call(b'{"login": "a@b", "password": "\\udcff\\udcfe", "service": "imap"}'))
    assert played.attempts[0].credential.secret == b"\xff\xfe"


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_reads_the_same(reason: Reason) -> None:
    told = answer(Reject(reason, 7), help_line="Ask us.")
    assert (told.status, told.json) == (403, {"verdict": "reject", "text": "Authentication failed. Ask us."})


@pytest.mark.parametrize("cause", Cause)
def test_not_judged_is_neither_yes_nor_no(cause: Cause) -> None:
    told = answer(Defer(cause))
    assert (told.status, told.json) == (503, {"verdict": "defer"})
    told = answer(Defer(cause, 12.3))
    assert (told.json, told.fields["Retry-After"]) == ({"verdict": "defer", "retry_after_s": 13}, "13")


def test_the_web_password_is_no_app_password() -> None:
    assert answer(Accept(Principal(1, "alice@example.test", None))).json["app_password"] is None


MISTAKES = {
    "no JSON": (call(b"login=alice"), 400),
    "no object": (call([ATTEMPT]), 400),
    "no password": (call({"login": "a", "service": "imap"}), 400),
    "no service": (call({"login": "a", "password": "b"}), 400),
    "unknown key": (call({**ATTEMPT, "passwort": "x"}), 400),
    "a number for a password": (call({**ATTEMPT, "password": 12345}), 400),
    "null for a password": (call({**ATTEMPT, "password": None}), 400),
    "text for tls": (call({**ATTEMPT, "tls": "no"}), 400),
    "a number for tls": (call({**ATTEMPT, "tls": 1}), 400),
    "a key twice": (call(b'{"login": "a", "login": "b", "password": "c", "service": "imap"}'), 400),
    "no token": (call(ATTEMPT, b""), 401),
    "wrong token": (call(ATTEMPT, TOKEN[:-1]), 401),
    "basic": (call(ATTEMPT, b"").replace(b"\r\nContent-Type", b"\r\nAuthorization: Basic eDp5\r\nContent-Type"), 401),
    "two tokens": (call(ATTEMPT).replace(b"\r\nContent-Type", b"\r\nAuthorization: Bearer x\r\nContent-Type"), 400),
    "elsewhere": (call(ATTEMPT).replace(b"/v1/authenticate", b"/v1/authenticated"), 404),
    "the way up": (call(ATTEMPT).replace(b"/v1/authenticate", b"/v1/../v1/authenticate"), 404),
    "GET": (b"GET /v1/authenticate HTTP/1.1\r\nHost: x\r\n\r\n", 405),
    "POST to the description": (call(ATTEMPT).replace(b"/v1/authenticate", b"/openapi.json"), 405),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_caller_s_mistake_is_told_as_one_and_judges_nobody(name: str) -> None:
    said, status = MISTAKES[name]
    played = stage("http")
    told = heard(played.say(said))
    assert told.status == status
    assert list(told.json) == ["error"]
    assert not played.attempts
    if status == 401:
        assert told.fields["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("service", ["xmpp", "", "pop3"])
def test_a_service_that_is_not_served_is_deferred(service: str) -> None:
    played = stage("http", services=frozenset({Service.IMAP}))
    assert heard(played.say(call({**ATTEMPT, "service": service}))).status == 503
    assert not played.attempts


def test_two_tokens_are_good_while_one_replaces_the_other() -> None:
    assert heard(stage("http").say(call(ATTEMPT, OTHER_TOKEN))).status == 200


def test_the_description_needs_no_token_and_says_what_is_so() -> None:
    """Every key that it names is taken, every one that it demands is missed, and every answer has its shape."""
    told = description()
    assert told["openapi"].startswith("3.1")
    schemas = told["components"]["schemas"]
    assert set(schemas["Attempt"]["properties"]) == set(WHOLE)
    for key in schemas["Attempt"]["required"]:
        assert heard(stage("http").say(call({k: v for k, v in WHOLE.items() if k != key}))).status == 400
    responses = told["paths"]["/v1/authenticate"]["post"]["responses"]
    for said in (answer(Accept(PRINCIPAL)), answer(Reject(Reason.EXPIRED)), answer(Defer(Cause.STORE, 3.0))):
        assert_described(said, responses, schemas)
    for mistake, status in MISTAKES.values():
        if str(status) in responses:
            assert_described(heard(stage("http").say(mistake)), responses, schemas)


def assert_described(said: Heard, responses: Any, schemas: Any) -> None:
    reference = responses[str(said.status)]["content"]["application/json"]["schema"]["$ref"]
    schema = schemas[reference.rpartition("/")[2]]
    assert set(schema["required"]) <= said.json.keys() <= set(schema["properties"])
    for name, value in said.json.items():
        known = schema["properties"][name]
        assert known.get("const", value) == value
        kinds = {"string": str, "integer": int, "null": type(None)}
        types = known.get("type", "string")
        assert type(value) in [kinds[one] for one in ([types] if isinstance(types, str) else types)]


@given(
    said=st.dictionaries(
        st.sampled_from([*WHOLE, "x"]), st.text(max_size=20) | st.none() | st.booleans() | st.integers(), max_size=8
    )
)
@settings(max_examples=300, deadline=None)
def test_whatever_is_called_is_judged_or_a_mistake(said: dict[str, object]) -> None:
    played = stage("http", judge=False)
    told = played.say(call(said))
    if played.attempts:
        assert played.attempts[0].credential.password == said["password"]
        assert told == b""
    else:
        assert heard(told).status in {400, 503}


def test_the_caller_may_keep_a_refused_client_waiting_itself() -> None:
    terms = {"admits": bool}
    assert built("http", terms).host_waits is False
    assert built("http", terms, host_waits=True).host_waits is True
