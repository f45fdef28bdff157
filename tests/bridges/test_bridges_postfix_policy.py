"""Postfix's policy requests as bytes: what is asked about whom, and what Postfix is told to do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_stage import BridgeStage, built
from mailauth.attempt import Service
from mailauth.bridges.postfix_policy import MAX_REQUEST_BYTES
from mailauth.verdict import Accept, Cause, Defer, Reason, Reject
from stage import PRINCIPAL, bytewise, whole

ALICE = "alice@example.test"
GO_ON = b"action=DUNNO\n\n"
ENDED = b"action=421 4.7.0 This session was ended: its password or its access was withdrawn.\n\n"
LATER = b"action=DEFER_IF_PERMIT 4.3.0 Try again later.\n\n"

cuts = pytest.mark.parametrize("cut", [whole, bytewise])


def request(**changes: str) -> bytes:
    said = {
        "request": "smtpd_access_policy",
        "protocol_state": "END-OF-MESSAGE",
        "protocol_name": "ESMTP",
        "helo_name": "some.domain.test",
        "sender": "foo@bar.test",
        "client_address": "192.0.2.1",
        "sasl_method": "plain",
        "sasl_username": ALICE,
        "sasl_sender": "",
        "instance": "1e240.67a.5f.0",
        **changes,
    }
    return "".join(f"{name}={value}\n" for name, value in said.items()).encode("utf-8", "surrogateescape") + b"\n"


def stage(**terms: object) -> BridgeStage:
    return BridgeStage(built("postfix-policy", terms).dialogue(), None)


@cuts
def test_what_is_asked(cut) -> None:
    played = stage()
    assert played.say(request(), cut) == b""
    (asked,) = played.rechecks
    assert (asked.login, asked.service, asked.peer, asked.session) == (ALICE, Service.SMTP, "192.0.2.1", "123456")
    assert played.answer(Accept(PRINCIPAL)) == GO_ON
    assert not played.is_closed


@pytest.mark.parametrize("reason", Reason)
def test_who_would_not_be_let_in_again_is_told_goodbye(reason: Reason) -> None:
    played = stage()
    played.say(request())
    assert played.answer(Reject(reason)) == ENDED
    assert not played.is_closed  # it is the client's connection that Postfix closes


@pytest.mark.parametrize("cause", Cause)
def test_a_fault_puts_the_message_off_and_ends_nothing(cause: Cause) -> None:
    played = stage()
    played.say(request())
    assert played.answer(Defer(cause)) == LATER


@cuts
def test_mail_without_a_login_is_none_of_ours(cut) -> None:
    played = stage()
    assert played.say(request(sasl_username="") + request(sasl_username=""), cut) == GO_ON * 2
    assert not played.rechecks


def test_smtp_that_is_not_served_is_put_off() -> None:
    played = stage(services=frozenset({Service.IMAP}))
    assert played.say(request()) == LATER
    assert "does not serve" in played.warnings[0]


def test_one_after_the_other() -> None:
    played = stage()
    played.say(request() + request(sasl_username="bob@example.test", instance="2.1.1.0") + request(sasl_username=""))
    assert [asked.login for asked in played.rechecks] == [ALICE]
    assert played.answer(Reject(Reason.REVOKED)) == ENDED
    assert played.rechecks[-1].session == "2"
    assert played.answer(Accept(PRINCIPAL)) == GO_ON * 2


@pytest.mark.parametrize(
    ("instance", "session"), [("", ""), ("x.1", ""), ("123456789.1", ""), ("ff", ""), ("ff.", "255")]
)
def test_an_instance_that_says_no_process_names_no_session(instance: str, session: str) -> None:
    played = stage()
    played.say(request(instance=instance))
    assert played.rechecks[0].session == session


def test_a_client_that_may_not_be_named_is_the_bridge() -> None:
    played = stage(clients=())
    played.say(request())
    assert played.rechecks[0].peer == "bridge:postfix-policy"


@cuts
@pytest.mark.parametrize(
    "said",
    [
        b"\n\n",
        b"request=something_else\n\n",
        request().replace(b"client_address=", b"sasl_username="),
        b"no sign\n" + request(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\n\n",
    ],
)
def test_what_is_no_request_ends_the_connection(cut, said: bytes) -> None:
    played = stage()
    assert played.say(said, cut) == b""
    assert played.is_closed
    assert played.warnings == ["sent what is no policy request"]


@cuts
def test_a_request_without_an_end_is_ended(cut) -> None:
    played = stage()
    played.say(b"request=smtpd_access_policy\n", cut)
    played.say(b"x" * MAX_REQUEST_BYTES)
    assert played.is_closed
    assert "longer" in played.warnings[0]


def test_who_sends_on_and_on_without_listening_is_ended() -> None:
    played = stage()
    for _ in range(2 + MAX_REQUEST_BYTES // len(request())):
        played.say(request())
    assert played.is_closed
    assert len(played.rechecks) == 1


def test_who_only_stops_talking_hears_the_answer() -> None:
    played = stage()
    played.say(request())
    played.eof()
    assert not played.is_closed
    assert played.answer(Accept(PRINCIPAL)) == GO_ON
    assert played.is_closed
    played = stage()
    played.eof()
    assert played.is_closed


@given(said=st.lists(st.one_of(st.binary(max_size=50), st.just(request()), st.just(b"\n\n")), max_size=6))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_nobody_is_told_to_go_unasked(said: list[bytes]) -> None:
    for cut in (whole, bytewise):
        played = stage()
        played.say(b"".join(said), cut)
        assert ENDED not in played.heard
        assert len(played.pending) <= 1
