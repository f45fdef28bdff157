"""IMAP's goodbyes; its verdicts are in tests/contracts/test_replies.py."""

from __future__ import annotations

import pytest

from mailauth.dialogue import Ending
from mailauth.imap import replies


@pytest.mark.parametrize("cause", Ending)
def test_every_goodbye_is_a_bye_and_never_about_a_password(cause: Ending) -> None:
    said = replies.bye(cause)
    assert said.startswith(b"* BYE ")
    assert said.decode().isprintable()
    assert b"AUTHENTICATIONFAILED" not in said


@pytest.mark.parametrize("cause", [Ending.SHUTDOWN, Ending.CROWDED])
def test_what_passes_is_unavailable(cause: Ending) -> None:
    assert b"[UNAVAILABLE]" in replies.bye(cause)
