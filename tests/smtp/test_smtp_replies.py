"""Every outcome has one spelling, and no Defer looks like a wrong password."""

from __future__ import annotations

import re

import pytest

from mailauth.dialogue import Ending
from mailauth.smtp import replies
from mailauth.verdict import Accept, Cause, Defer, Principal, Reason, Reject

CONSTANTS = [value for name, value in vars(replies).items() if name.isupper() and isinstance(value, bytes)]


def test_accepted() -> None:
    assert replies.reply(Accept(Principal(1, "a", None)), b"help") == b"235 2.7.0 Authentication successful"


@pytest.mark.parametrize("reason", Reason)
def test_one_text_for_every_refusal(reason: Reason) -> None:
    assert replies.reply(Reject(reason, 3)) == b"535 5.7.8 Authentication failed."
    assert replies.reply(Reject(reason), b"Call 1234.") == b"535 5.7.8 Authentication failed. Call 1234."


@pytest.mark.parametrize("cause", Cause)
def test_a_defer_is_never_spelled_like_a_wrong_password(cause: Cause) -> None:
    deferred = replies.reply(Defer(cause, 3.0), b"help")
    assert deferred == b"454 4.7.0 Temporary authentication failure, try again later"


@pytest.mark.parametrize("nothing", [None, True, 1, "ok"])
def test_what_is_no_outcome_has_no_spelling(nothing: object) -> None:
    with pytest.raises(AssertionError):
        replies.reply(nothing)  # type: ignore[arg-type]


@pytest.mark.parametrize("cause", Ending)
def test_every_goodbye_is_421(cause: Ending) -> None:
    assert replies.bye(cause).startswith(b"421 4.")


@pytest.mark.parametrize("line", [*CONSTANTS, replies.broken(b"x"), replies.accepted("id"), replies.not_stored("满")])
def test_every_reply_is_one_short_line_with_a_code_of_its_class(line: bytes) -> None:
    assert re.fullmatch(rb"(?:354 |([245])\d\d \1\.\d\.\d{1,2} )[ -~]{1,120}|220 2\.0\.0 [ -~]+", line)
    assert replies.coded(line) == line


@pytest.mark.parametrize(
    ("bare", "coded"),
    [
        (b"250 OK", b"250 2.0.0 OK"),
        (b"501 Syntax: RSET", b"501 5.5.4 Syntax: RSET"),
        (b"503 Error: send HELO first", b"503 5.5.1 Error: send HELO first"),
        (b"552 Error: too big", b"552 5.3.4 Error: too big"),
        (b"555 parameters", b"555 5.5.4 parameters"),
        (b"451 4.3.0 said already", b"451 4.3.0 said already"),
        (b"451 fault", b"451 4.0.0 fault"),
        (b"550 5.7.1", b"550 5.7.1"),
        (b"550-5.7.1 two\r\n550 5.7.1 lines", b"550-5.7.1 two\r\n550 5.7.1 lines"),
        (b"550", b"550 5.0.0"),
        (b"334 VXNlcm5hbWU6", b"334 VXNlcm5hbWU6"),
        (b"354 End data", b"354 End data"),
    ],
)
def test_replies_of_aiosmtpd_s_get_their_enhanced_code(bare: bytes, coded: bytes) -> None:
    assert replies.coded(bare) == coded
