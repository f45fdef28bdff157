"""Where the Lua script asks, as bytes; the script itself is tried in a real Dovecot (test_hosts_dovecot.py)."""

from __future__ import annotations

import re
from importlib import resources

import pytest
from http_said import OTHER_TOKEN, TOKEN, form, heard, posted, stage

from mailauth.attempt import Service
from mailauth.bridges.dovecot_lua import SWITCHED_OFF
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject
from stage import PRINCIPAL, bytewise, whole

FORM = "application/x-www-form-urlencoded"
TOLD = {"service": "imap", "rip": "203.0.113.9", "secured": "TLS", "session": "x", "client_id": '"name" "K-9"'}


def login(password: str | bytes = "secret", token: bytes = TOKEN, **values: str) -> bytes:
    body = form(user="alice@example.test", password=password, **{**TOLD, **values})
    return posted("/login", FORM, body, Authorization=f"Bearer {token.decode()}")


def answer(outcome: object) -> bytes:
    played = stage("dovecot-lua", judge=False)
    played.say(login())
    told = heard(played.answer(outcome))  # type: ignore[arg-type]
    assert told.status == 200
    return told.body


@pytest.mark.parametrize("cut", [whole, bytewise])
def test_a_right_password_and_a_wrong_one(cut) -> None:
    played = stage("dovecot-lua")
    assert heard(played.say(login(), cut)).body == b"result=ok\nuser=alice@example.test\nuser_app=7\n"
    assert heard(played.say(login("wrong"), cut)).body == b"result=mismatch\n"
    assert not played.is_closed


def test_the_web_password_is_no_app_password() -> None:
    assert answer(Accept(Principal(1, "alice@example.test", None))).endswith(b"\nuser_app=web\n")


@pytest.mark.parametrize("reason", Reason)
def test_expired_and_switched_off_are_told_apart(reason: Reason) -> None:
    word = b"expired" if reason is Reason.EXPIRED else b"disabled" if reason in SWITCHED_OFF else b"mismatch"
    assert answer(Reject(reason)) == b"result=" + word + b"\n"


@pytest.mark.parametrize("cause", Cause)
def test_a_defer_is_later(cause: Cause) -> None:
    assert answer(Defer(cause)) == b"result=later\n"


@pytest.mark.parametrize(("secured", "tls"), [("TLS", True), ("tls", True), ("secured", False), ("", False)])
def test_who_asks_for_whom_arrives(secured: str, tls: bool) -> None:
    played = stage("dovecot-lua", judge=False)
    played.say(login(service="pop3", secured=secured))
    (attempt,) = played.attempts
    assert (attempt.service, attempt.peer, attempt.tls) == (Service.POP3, "203.0.113.9", tls)
    assert attempt.client == '"name" "K-9"'


@pytest.mark.parametrize("password", [b"a&b=c", b"+ %\"'\\", "密码".encode(), b"\xff\xfe", b"x" * 1000, b"\0\r\n", b""])
def test_any_password_arrives(password: bytes) -> None:
    played = stage("dovecot-lua", judge=False)
    played.say(login(password))
    assert played.attempts[0].credential.secret == password


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (login(token=TOKEN[:-1]), 401),
        (login().replace(b"POST /login", b"POST /grant"), 404),
        (login().replace(b"POST", b"PUT"), 404),
        (login().replace(FORM.encode(), b"text/plain"), 400),
        (login().replace(b"&rip=", b"&user="), 400),
    ],
)
def test_what_is_no_answer_has_another_status(said: bytes, status: int) -> None:
    played = stage("dovecot-lua")
    told = heard(played.say(said))
    assert (told.status, told.body) == (status, b"")
    assert not played.attempts


def test_a_service_that_is_not_served_is_told_later() -> None:
    assert heard(stage("dovecot-lua").say(login(service="doveadm"))).body == b"result=later\n"


def test_two_tokens_are_good_while_one_replaces_the_other() -> None:
    assert heard(stage("dovecot-lua").say(login(token=OTHER_TOKEN))).body.startswith(b"result=ok\n")


def test_the_script_knows_every_word() -> None:
    script = (resources.files("mailauth.bridges") / "dovecot.lua").read_text()
    known = set(re.findall(r"^  (\w+) = dovecot\.auth\.PASSDB_RESULT_", script, re.MULTILINE)) | {"ok", "later"}
    outcomes = [Accept(PRINCIPAL), *map(Reject, Reason), *map(Defer, Cause)]
    assert {answer(outcome).split(b"\n")[0].decode() for outcome in outcomes} == {f"result={word}" for word in known}
    assert "require" not in script
