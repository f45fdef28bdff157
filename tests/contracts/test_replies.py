"""Every outcome at every door: what a client is told, and what it must never be told (contract, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from mailauth.imap import replies as imap
from mailauth.pop3 import replies as pop3
from mailauth.smtp import replies as smtp
from mailauth.verdict import Accept, Cause, Defer, Outcome, Principal, Reason, Reject

HELP = b"Ask help@example.test."


@dataclass(frozen=True)
class Door:
    """How one protocol spells an outcome, and the codes that its clients act on."""

    name: str
    say: Callable[[Outcome, bytes], bytes]
    accepted: bytes
    refused: bytes
    deferred: bytes


DOORS = [
    Door(
        "imap",
        lambda outcome, help_line: imap.reply(outcome, b"IMAP4rev1", help_line),
        b"OK [CAPABILITY IMAP4rev1] ",
        b"NO [AUTHENTICATIONFAILED] ",
        b"NO [UNAVAILABLE] ",
    ),
    Door("pop3", pop3.reply, b"+OK ", b"-ERR [AUTH] ", b"-ERR [SYS/TEMP] "),
    Door("smtp", smtp.reply, b"235 2.7.0 ", b"535 5.7.8 ", b"454 4.7.0 "),
]
REFUSALS = [Reject(reason, credential) for reason in Reason for credential in (None, 7)]
DEFERRALS = [Defer(cause, retry) for cause in Cause for retry in (None, 30.0)]

each_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.name)


@each_door
@pytest.mark.parametrize("credential", [None, 7])
def test_who_is_accepted_is_told_so(door: Door, credential: int | None) -> None:
    assert door.say(Accept(Principal(1, "alice@example.test", credential)), HELP).startswith(door.accepted)


@each_door
def test_every_refusal_has_one_text(door: Door) -> None:
    assert {door.say(refusal, b"") for refusal in REFUSALS} == {door.refused + b"Authentication failed."}
    assert {door.say(refusal, HELP) for refusal in REFUSALS} == {door.refused + b"Authentication failed. " + HELP}


@each_door
@pytest.mark.parametrize("deferral", DEFERRALS, ids=repr)
def test_a_defer_is_never_spelled_like_a_wrong_password(door: Door, deferral: Defer) -> None:
    said = door.say(deferral, HELP)
    assert said.startswith(door.deferred)
    for code in (b"AUTHENTICATIONFAILED", b"[AUTH]", b"535", b"5.7.8", b"Authentication failed", HELP):
        assert code not in said


@each_door
def test_no_reply_tells_why(door: Door) -> None:
    said = b"".join(door.say(outcome, b"") for outcome in (*REFUSALS, *DEFERRALS)).lower()
    for why in (*Reason, *Cause):
        assert why.value.encode() not in said


@each_door
@pytest.mark.parametrize("outcome", [Accept(Principal(1, "a", None)), *REFUSALS, *DEFERRALS], ids=repr)
def test_a_reply_is_one_line_of_ascii(door: Door, outcome: Outcome) -> None:
    said = door.say(outcome, HELP)
    assert said.isascii()
    assert said.decode().isprintable()
