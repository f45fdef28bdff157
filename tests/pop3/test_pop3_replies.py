"""POP3's goodbyes; its verdicts are in tests/contracts/test_replies.py."""

from __future__ import annotations

import pytest

from mailauth.dialogue import Ending
from mailauth.pop3 import replies


@pytest.mark.parametrize("cause", Ending)
def test_every_goodbye_is_an_error_and_never_about_a_password(cause: Ending) -> None:
    said = replies.bye(cause)
    assert said.startswith(b"-ERR ")
    assert said.decode().isprintable()
    assert b"[AUTH]" not in said


@pytest.mark.parametrize("cause", [Ending.SHUTDOWN, Ending.CROWDED, Ending.REVOKED])
def test_what_a_client_may_try_again_is_temporary(cause: Ending) -> None:
    assert b"[SYS/TEMP]" in replies.bye(cause)
