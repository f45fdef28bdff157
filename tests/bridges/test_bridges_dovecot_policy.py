"""Dovecot's auth-policy requests as bytes: what may be tried now, and what came of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from http_said import OTHER_TOKEN, TOKEN, Heard, heard, posted, stage

from bridge_stage import BridgeStage, built
from mailauth.attempt import Attempt, Service
from mailauth.factors.section import BadSection
from stage import bytewise, whole

SAID = {
    "device_id": "",
    "login": "alice@example.test",
    "protocol": "imap",
    "pwhash": "0e77",
    "remote": "203.0.113.9",
    "session_id": "x",
    "tls": False,
}


@dataclass
class Listener:
    """Takes reports; wait: what everybody has to."""

    wait: float = 0.0
    asked: list[Attempt] = field(default_factory=list)
    noted: list[tuple[Attempt, bool | None]] = field(default_factory=list)

    def wait_s(self, attempt: Attempt) -> float:
        self.asked.append(attempt)
        return self.wait

    def note(self, attempt: Attempt, accepted: bool | None) -> None:
        self.noted.append((attempt, accepted))


def policy(listener: Listener | None, **options: object) -> BridgeStage:
    return stage("dovecot-policy", options, reported=listener)


def request(command: str, token: bytes = TOKEN, **values: object) -> bytes:
    body = json.dumps({**SAID, **values}).encode()
    return posted(f"/?command={command}", "application/json", body, Authorization=f"Bearer {token.decode()}")


def allowed(wait: float, **options: object) -> Heard:
    return heard(policy(Listener(wait), **options).say(request("allow")))


@pytest.mark.parametrize("cut", [whole, bytewise])
def test_allow_asks_and_counts_nothing(cut) -> None:
    listener = Listener()
    told = heard(policy(listener).say(request("allow"), cut))
    assert (told.status, told.json["status"]) == (200, 0)
    assert not listener.noted
    (attempt,) = listener.asked
    assert (attempt.credential.authcid, attempt.credential.password) == ("alice@example.test", "0e77")
    assert (attempt.service, attempt.peer, attempt.tls) == (Service.IMAP, "203.0.113.9", False)


@pytest.mark.parametrize(("wait", "status"), [(0.0, 0), (0.01, 1), (3.0, 3), (3.2, 4), (3600.0, 8)])
def test_who_has_guessed_too_much_is_held_back(wait: float, status: int) -> None:
    assert allowed(wait).json["status"] == status


def test_the_operator_may_have_it_longer_or_refused() -> None:
    assert allowed(3600.0, longest_wait_s=60).json["status"] == 60
    told = allowed(3600.0, when_throttled="refuse").json
    assert (told["status"], told["msg"]) == (-1, "Too many failed logins, try again later.")
    assert allowed(0.0, when_throttled="refuse").json["status"] == 0


@pytest.mark.parametrize(
    ("said", "accepted"),
    [
        ({"success": True, "policy_reject": False}, True),
        ({"success": False, "policy_reject": False}, False),
        ({"success": False, "policy_reject": True}, None),
        ({"success": "true"}, False),
        ({}, False),
    ],
)
def test_a_report_says_what_came_of_it(said: dict[str, object], accepted: bool | None) -> None:
    listener = Listener(wait=30.0)
    told = heard(policy(listener).say(request("report", device_id="K-9", tls=True, **said)))
    assert told.json["status"] == 0
    ((attempt, noted),) = listener.noted
    assert noted is accepted
    assert (attempt.client, attempt.tls) == ("K-9", True)
    assert not listener.asked


@pytest.mark.parametrize("values", [{"protocol": "doveadm"}, {"protocol": ""}, {"protocol": None}, {"protocol": 7}])
@pytest.mark.parametrize("command", ["allow", "report"])
def test_what_is_no_mail_service_goes_on(command: str, values: dict[str, object]) -> None:
    listener = Listener(wait=30.0)
    assert heard(policy(listener).say(request(command, **values))).json["status"] == 0
    assert not listener.asked
    assert not listener.noted


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (request("allow", token=b"a wrong token, as long as it"), 401),
        (request("forbid"), 404),
        (request("allow").replace(b"?command=allow", b""), 404),
        (request("allow").replace(b"POST", b"GET"), 405),
        (request("allow").replace(b'"login"', b"'login'"), 400),
    ],
)
def test_what_is_no_request_counts_nothing(said: bytes, status: int) -> None:
    listener = Listener()
    assert heard(policy(listener).say(said)).status == status
    assert not listener.asked
    assert not listener.noted


def test_two_tokens_are_good_while_one_replaces_the_other() -> None:
    assert heard(policy(Listener()).say(request("allow", token=OTHER_TOKEN))).json["status"] == 0


def test_values_of_other_types_are_no_values() -> None:
    listener = Listener()
    heard(policy(listener).say(request("allow", login=7, pwhash=None, remote=["x"], device_id={}, tls="yes")))
    (attempt,) = listener.asked
    assert (attempt.credential.authcid, attempt.credential.password, attempt.tls) == ("", "", False)
    assert attempt.peer == "bridge:dovecot-policy"


@pytest.mark.parametrize(
    ("key", "value"), [("when_throttled", "shout"), ("longest_wait_s", 0), ("longest_wait_s", 999)]
)
def test_what_cannot_be_meant_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(BadSection) as caught:
        built("dovecot-policy", {"admits": bool}, **{key: value})
    assert caught.value.key == key
