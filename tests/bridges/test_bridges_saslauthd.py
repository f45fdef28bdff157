"""saslauthd's protocol as bytes: four fields in, one answer or none out."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge_stage import BridgeStage, built
from mailauth.attempt import Service
from mailauth.bridges.saslauthd import MAX_REQUEST_BYTES
from mailauth.verdict import Accept, Cause, Defer, Reason, Reject
from stage import PRINCIPAL, bytewise, whole

OK = b"\0\x02OK"
NO = b"\0\x18NO authentication failed"

cuts = pytest.mark.parametrize("cut", [whole, bytewise])


def request(*fields: bytes) -> bytes:
    return b"".join(struct.pack(">H", len(field)) + field for field in fields)


def stage(judge=True, **terms: object) -> BridgeStage:
    dialogue = built("saslauthd", terms).dialogue()
    return BridgeStage(dialogue) if judge else BridgeStage(dialogue, None)


RIGHT = request(b"alice", b"secret", b"smtp", b"example.test")


@cuts
@pytest.mark.parametrize("behind", [b"", b"more"])
def test_a_right_password_and_a_wrong_one(cut, behind: bytes) -> None:
    played = stage()
    assert played.say(RIGHT + behind, cut) == OK
    assert played.is_closed
    played = stage()
    assert played.say(request(b"alice", b"wrong", b"smtp", b"example.test") + behind, cut) == NO
    assert played.is_closed
    assert not played.is_reset


@pytest.mark.parametrize(
    ("user", "realm", "login"),
    [
        (b"alice", b"example.test", "alice@example.test"),
        (b"alice@example.test", b"", "alice@example.test"),
        (b"alice", b"", "alice"),
        (b"a@b", b"example.test", "a@b@example.test"),  # which no account has
        ("\u738b".encode(), b"example.test", "\u738b@example.test"),
        (b"", b"", ""),
    ],
)
def test_the_login_is_put_together_as_it_was_typed(user: bytes, realm: bytes, login: str) -> None:
    played = stage(judge=False)
    played.say(request(user, b"secret", b"imap", realm))
    (attempt,) = played.attempts
    assert attempt.credential.authcid == login
    assert (attempt.service, attempt.peer, attempt.tls) == (Service.IMAP, "bridge:saslauthd", False)


@pytest.mark.parametrize("password", [b"x" * 1000, "\u5bc6\u7801".encode(), b"\xff\xfe", b" with spaces ", b"nul\0nul"])
def test_any_octets_of_a_password_arrive(password: bytes) -> None:
    played = stage(judge=False)
    played.say(request(b"alice", password, b"pop", b"example.test"))
    assert played.attempts[0].credential.secret == password
    assert played.attempts[0].service is Service.POP3


@pytest.mark.parametrize("cause", Cause)
def test_not_now_is_the_end_without_an_answer(cause: Cause) -> None:
    played = stage(judge=False)
    played.say(RIGHT)
    assert played.answer(Defer(cause)) == b""
    assert played.is_closed


@pytest.mark.parametrize("reason", Reason)
def test_every_refusal_sounds_the_same(reason: Reason) -> None:
    played = stage(judge=False)
    played.say(RIGHT)
    assert played.answer(Reject(reason)) == NO


@pytest.mark.parametrize("named", [b"ldap", b"", b"\xff"])
def test_a_service_that_is_not_served_gets_no_answer(named: bytes) -> None:
    played = stage()
    assert played.say(request(b"alice", b"secret", named, b"example.test")) == b""
    assert played.is_closed
    assert not played.attempts
    assert "does not serve" in played.warnings[0]


def test_ldap_may_be_given_a_place() -> None:
    played = stage(judge=False, other_service=Service.IMAP)
    played.say(request(b"alice", b"secret", b"ldap", b"example.test"))
    assert played.attempts[0].service is Service.IMAP


@cuts
def test_a_request_without_an_end_is_ended(cut) -> None:
    played = stage()
    played.say(b"\xff\xff" + b"x" * (MAX_REQUEST_BYTES + 2), cut)
    assert played.is_closed
    assert played.warnings == ["sent a request longer than the protocol allows"]


def test_a_longest_request_is_judged() -> None:
    played = stage(judge=False)
    played.say(request(b"alice", b"x" * (MAX_REQUEST_BYTES - 60), b"smtp", b"example.test"))
    assert len(played.attempts) == 1


def test_who_leaves_in_the_middle_is_left() -> None:
    played = stage()
    played.say(RIGHT[:-1])
    played.eof()
    assert played.is_closed
    assert played.heard == b""


def test_who_only_stops_talking_hears_the_answer() -> None:
    played = stage(judge=False)
    played.say(RIGHT)
    played.eof()
    assert not played.is_closed
    assert played.answer(Accept(PRINCIPAL)) == OK
    assert played.is_closed


@given(
    said=st.one_of(
        st.binary(max_size=200), st.lists(st.binary(max_size=20), min_size=4, max_size=5).map(lambda f: request(*f))
    )
)
@settings(max_examples=300, deadline=None)
def test_whatever_comes_the_answer_is_one_of_two_or_none(said: bytes) -> None:
    for cut in (whole, bytewise):
        played = stage()
        assert played.say(said, cut) in {b"", OK, NO}
        assert bool(played.heard) <= played.is_closed
