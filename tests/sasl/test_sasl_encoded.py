"""An exchange as the three protocols carry it: base64, `=`, `*`."""

from __future__ import annotations

import base64

import pytest

from mailauth.attempt import Credential
from mailauth.sasl import login, plain
from mailauth.sasl.encoded import Broken, EncodedExchange, Prompt

ALICE = Credential("alice", "secret")
MESSAGE = base64.b64encode(b"\0alice\0secret")


def test_plain_with_an_initial_response() -> None:
    assert EncodedExchange(plain.build({})).begin(MESSAGE) == ALICE


def test_plain_without_one() -> None:
    exchange = EncodedExchange(plain.build({}))
    assert exchange.begin(None) == Prompt(b"")
    assert exchange.answer(MESSAGE) == ALICE


def test_login() -> None:
    exchange = EncodedExchange(login.build({}))
    assert exchange.begin(None) == Prompt(b"VXNlcm5hbWU6")
    assert exchange.answer(b"YWxpY2U=") == Prompt(b"UGFzc3dvcmQ6")
    assert exchange.answer(b"c2VjcmV0") == ALICE


@pytest.mark.parametrize("start", [None, b"YWxpY2U="])
def test_a_star_cancels_wherever_the_exchange_stands(start: bytes | None) -> None:
    exchange = EncodedExchange(login.build({}))
    assert isinstance(exchange.begin(start), Prompt)
    assert exchange.answer(b"*") == Broken(b"Authentication cancelled.")


def test_an_equals_sign_is_the_empty_initial_response_and_no_more() -> None:
    for mechanism in (plain.build({}), login.build({})):  # empty is base64, but no message and no login
        turn = EncodedExchange(mechanism).begin(b"=")
        assert isinstance(turn, Broken)
        assert turn != Broken(b"Invalid base64.")
    exchange = EncodedExchange(login.build({}))
    exchange.begin(None)
    assert exchange.answer(b"=") == Broken(b"Invalid base64.")


@pytest.mark.parametrize(
    "encoded",
    [
        b"!",
        b"A",
        b"AA",
        b"AAA",
        b"AA=",
        b"====",
        b"A===",
        b"AAAA=",
        b"AAAA====",
        b"AA==AAAA",
        b"AB==",  # bits behind the last octet
        b"AAAA AAAA",
        b"AAAA\r",
        b" AAAA",
        b"AA-_",
        b"\xff\xff\xff\xff",
        b"**",
        MESSAGE + b"\t",
        MESSAGE + b"=",
    ],
)
def test_what_is_not_base64_is_malformed_whatever_a_lenient_decoder_makes_of_it(encoded: bytes) -> None:
    assert EncodedExchange(plain.build({})).begin(encoded) == Broken(b"Invalid base64.")
    exchange = EncodedExchange(plain.build({}))
    exchange.begin(None)
    assert exchange.answer(encoded) == Broken(b"Invalid base64.")


def test_each_exchange_is_its_own() -> None:
    mechanism = login.build({})
    one, other = EncodedExchange(mechanism), EncodedExchange(mechanism)
    one.begin(b"YWxpY2U=")
    assert other.begin(b"Ym9i") == Prompt(b"UGFzc3dvcmQ6")
    assert one.answer(b"c2VjcmV0") == ALICE
    assert other.answer(b"c2VjcmV0") == Credential("bob", "secret")
