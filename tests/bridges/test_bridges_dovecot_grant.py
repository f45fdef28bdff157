"""The password grant as Dovecot 2.3 asks for it, as bytes."""

from __future__ import annotations

import base64

import pytest
from http_said import OTHER_TOKEN, TOKEN, form, heard, posted, stage

from mailauth.attempt import Service
from mailauth.bridges.dovecot_grant import host_of
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject
from stage import bytewise, whole

FORM = "application/x-www-form-urlencoded"
TOLD = {
    "X_Dovecot_Auth_Service": "imap",
    "X_Dovecot_Auth_Local": "127.0.0.1:10993",
    "X_Dovecot_Auth_Remote": "203.0.113.9:53410",
    "Connection": "Keep-Alive",
}


def grant(
    password: str | bytes = "secret", fields: dict[str, str] = TOLD, path: str = "/grant", **values: str
) -> bytes:
    asked = {
        "grant_type": "password",
        "username": "alice@example.test",
        "password": password,
        "client_id": "dovecot",
        "client_secret": TOKEN.decode(),
        **values,
    }
    return posted(path, FORM, form(**{name: value for name, value in asked.items() if value is not None}), **fields)


@pytest.mark.parametrize("cut", [whole, bytewise])
def test_a_right_password_and_a_wrong_one(cut) -> None:
    played = stage("dovecot-grant")
    told = heard(played.say(grant(), cut))
    assert told.status == 200
    assert told.json == {
        "access_token": "none",
        "token_type": "bearer",
        "username": "alice@example.test",
        "active": True,
        "app": "7",
    }
    told = heard(played.say(grant("wrong"), cut))
    assert (told.status, told.json) == (400, {"error": "invalid_grant"})
    assert not played.is_closed


def test_the_name_is_said_back_as_dovecot_knows_it() -> None:
    """It takes another for another user, and nobody would get in by an alias, or spelt with capitals."""
    played = stage("dovecot-grant", judge=False)
    played.say(grant(username="Alias@Example.test"))
    told = heard(played.answer(Accept(Principal(1, "alice@example.test", None)))).json
    assert (told["username"], told["app"]) == ("Alias@Example.test", "web")


def test_who_asks_for_whom_arrives() -> None:
    played = stage("dovecot-grant", judge=False)
    played.say(grant())
    (attempt,) = played.attempts
    assert (attempt.service, attempt.peer, attempt.tls) == (Service.IMAP, "203.0.113.9", False)


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("203.0.113.9:53410", "203.0.113.9"),
        ("203.0.113.9", "203.0.113.9"),
        ("[2001:db8::7]:53410", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("", ""),
        (":993", ":993"),
    ],
)
def test_the_address_is_taken_from_its_port(said: str, address: str) -> None:
    assert host_of(said) == address


@pytest.mark.parametrize("password", [b"a&b=c", b"+ %\"'\\", "密码".encode(), b"\xff\xfe", b"x" * 1000, b"\0\r\n", b""])
def test_any_password_arrives(password: bytes) -> None:
    played = stage("dovecot-grant", judge=False)
    played.say(grant(password))
    assert played.attempts[0].credential.secret == password


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_reads_the_same(reason: Reason) -> None:
    played = stage("dovecot-grant", judge=False)
    played.say(grant())
    told = heard(played.answer(Reject(reason)))
    assert (told.status, told.json) == (400, {"error": "invalid_grant"})


NOT_JUDGED = {
    "another secret": grant(client_secret="a wrong token, as long as it"),
    "no secret": grant(client_secret=None),
    "another grant": grant(grant_type="refresh_token"),
    "no user": grant(username=None),
    "no password": grant(password=None),
    "no service": grant(fields={}),
    "another service": grant(fields={**TOLD, "X_Dovecot_Auth_Service": "doveadm"}),
    "two services": grant().replace(b"\r\nContent-Type", b"\r\nX-Dovecot-Auth-Service: pop3\r\nContent-Type"),
    "two users": grant().replace(b"&password=secret", b"&username=b%40c.d     "),
    "elsewhere": grant(path="/tokeninfo"),
    "by GET": grant().replace(b"POST", b"GET"),
    "no form": grant().replace(FORM.encode(), b"application/json"),
    "no HTTP": b"EHLO there\r\n\r\n",
    "chunked": grant().replace(b"Content-Length", b"Transfer-Encoding"),
    "bad Basic": grant(client_secret=None, fields={**TOLD, "Authorization": "Basic !!!"}),
}


@pytest.mark.parametrize("name", NOT_JUDGED)
def test_whatever_else_keeps_us_from_judging_is_no_wrong_password(name: str) -> None:
    """Dovecot takes every 4xx for one."""
    played = stage("dovecot-grant")
    assert heard(played.say(NOT_JUDGED[name])).status == 503
    assert not played.attempts
    assert len(played.warnings) == 1


@pytest.mark.parametrize("cause", Cause)
def test_a_defer_is_no_wrong_password(cause: Cause) -> None:
    played = stage("dovecot-grant", judge=False)
    played.say(grant())
    assert heard(played.answer(Defer(cause))).status == 503


@pytest.mark.parametrize("token", [TOKEN, OTHER_TOKEN])
def test_the_secret_may_come_by_basic_too(token: bytes) -> None:
    shown = base64.b64encode(b"dovecot:" + form(x=token).removeprefix(b"x=")).decode()
    said = grant(client_secret=None, fields={**TOLD, "Authorization": f"Basic {shown}"})
    assert heard(stage("dovecot-grant").say(said)).status == 200
