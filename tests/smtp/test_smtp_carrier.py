"""Where our own messages go, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes_smtp import ALICE, AddressBook, Postbox

from mailauth.carriage import Carried
from mailauth.mailbox.delivery import DeliveryFailed
from mailauth.serving.listen import bind
from mailauth.smtp import carrier as carriers
from mailauth.smtp.carrier import Carrier
from mailauth.smtp.relay import Relay
from next_server import NextServer

OUTSIDE = "alice@elsewhere.test"
LETTER = b"Subject: hello\r\n\r\nhello\r\n"


@asynccontextmanager
async def beyond(deliver: Any = None, timeout_s: float = 5.0, **answers: str | None) -> AsyncIterator[Any]:
    """A carrier, and the server that its relay is."""
    async with NextServer(**answers).listening() as there:
        relay = Relay(host="localhost", port=there.port, tls="off", hostname="mail.example.test", timeout_s=timeout_s)
        try:
            yield Carrier(AddressBook(), deliver, relay), there
        finally:
            relay.close()


async def test_mail_for_a_mailbox_here_is_delivered_with_no_return_path() -> None:
    postbox = Postbox()
    async with beyond(postbox) as (carrier, there):
        assert await carrier.carry("ali@example.test", LETTER) is Carried.TAKEN
        assert await carrier.carry("nobody@example.test", LETTER) is Carried.REFUSED
    assert postbox.delivered == [(ALICE, LETTER, "")]
    assert there.heard == []


async def test_mail_for_others_goes_to_the_relay_with_no_return_path() -> None:
    async with beyond(Postbox()) as (carrier, there):
        assert await carrier.carry(OUTSIDE, LETTER) is Carried.TAKEN
    assert there.heard[1:3] == ["mail FROM:<> SIZE=25", f"rcpt TO:<{OUTSIDE}>"]
    assert there.messages == [LETTER + b".\r\n"]


async def test_where_no_mailboxes_are_all_goes_to_the_relay() -> None:
    async with beyond(None) as (carrier, there):
        assert await carrier.carry(ALICE, LETTER) is Carried.TAKEN
    assert f"rcpt TO:<{ALICE}>" in there.heard


async def test_without_a_relay_there_is_no_way_out() -> None:
    carrier = Carrier(AddressBook(), Postbox(), None)
    assert await carrier.carry(OUTSIDE, LETTER) is Carried.NOWHERE
    assert await carrier.carry(ALICE, LETTER) is Carried.TAKEN
    assert await Carrier(AddressBook(), None, None).carry(ALICE, LETTER) is Carried.NOWHERE


async def test_an_address_that_is_not_ascii_is_said_to_be() -> None:
    async with beyond(ehlo="250-next\r\n250-8BITMIME\r\n250 SMTPUTF8") as (carrier, there):
        assert await carrier.carry("用户@elsewhere.test", "To: 用户\r\n\r\n".encode()) is Carried.TAKEN
    assert "mail FROM:<> BODY=8BITMIME SMTPUTF8" in there.heard
    async with beyond() as (carrier, _):
        assert await carrier.carry("用户@elsewhere.test", LETTER) is Carried.REFUSED


@pytest.mark.parametrize("command", ["mail", "rcpt", "data", "end"])
async def test_what_is_refused_for_good_is_logged_by_its_code_alone(
    command: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with beyond(**{command: f"550 5.1.1 <{OUTSIDE}> is nobody"}) as (carrier, _):
        assert await carrier.carry(OUTSIDE, LETTER) is Carried.REFUSED
    assert "letters: refused by the relay: 550 5.1.1" in caplog.text
    assert "elsewhere" not in caplog.text


@pytest.mark.parametrize(
    "answers",
    [{"rcpt": "450 4.2.0 greylisted"}, {"end": None}, {"data": "421 bye"}, {"greeting": "554 no"}, {"mail": "530 no"}],
)
async def test_what_may_go_later_may(answers: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    async with beyond(**answers) as (carrier, there):
        assert await carrier.carry(OUTSIDE, LETTER) is Carried.LATER
        there.answers = NextServer().answers
        assert await carrier.carry(OUTSIDE, LETTER) is Carried.TAKEN  # who answers is asked again at once
    assert "elsewhere" not in caplog.text


async def test_who_keeps_silent_is_left_alone_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriers, "SILENT_S", 0.1)
    with bind("127.0.0.1", 0) as silent:
        relay = Relay(host="127.0.0.1", port=silent.getsockname()[1], tls="off", hostname="x", timeout_s=0.2)
        carrier = Carrier(AddressBook(), None, relay)
        assert await carrier.carry(OUTSIDE, LETTER) is Carried.LATER
        monkeypatch.setattr(relay, "send", None)  # not called
        assert await carrier.carry(OUTSIDE, LETTER) is Carried.LATER
        relay.close()


async def test_nothing_takes_for_ever() -> None:
    postbox = Postbox(gate=asyncio.Event())
    with bind("127.0.0.1", 0) as silent:
        relay = Relay(host="127.0.0.1", port=silent.getsockname()[1], tls="off", hostname="x", timeout_s=5.0)
        carrier = Carrier(AddressBook(), postbox, relay, deadline_s=0.1)
        assert await carrier.carry(OUTSIDE, LETTER) is Carried.LATER
        assert await carrier.carry(ALICE, LETTER) is Carried.LATER
        relay.close()


async def test_a_mailbox_or_a_store_that_cannot_now_can_later(caplog: pytest.LogCaptureFixture) -> None:
    postbox, book = Postbox(faults={ALICE: DeliveryFailed("no space left")}), AddressBook()
    carrier = Carrier(book, postbox, None)
    assert await carrier.carry(ALICE, LETTER) is Carried.LATER
    assert "letters: delivery failed: no space left" in caplog.text
    book.is_down = True
    assert await carrier.carry(OUTSIDE, LETTER) is Carried.LATER
