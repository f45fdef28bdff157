"""What a mail program calls itself, before it logs in and after (RFC 2971)."""

from __future__ import annotations

import pytest

from mailauth.attempt import MAX_CLIENT_CHARS, client_name
from mailauth.dialogue import Named
from mailauth.imap.offer import Offer
from mailauth.imap.protocol import ImapDialogue
from servers import MECHANISMS
from stage import Stage

LOGIN = b"a LOGIN alice@example.test secret\r\n"


class Listening(Stage):
    """A stage that hears names too."""

    def __init__(self) -> None:
        self.named: list[str] = []
        super().__init__(ImapDialogue(Offer(MECHANISMS, starttls=False)))

    def _do(self, actions):
        self.named += [action.client for action in actions if isinstance(action, Named)]
        super()._do(actions)


@pytest.fixture
def stage() -> Listening:
    return Listening()


def test_a_name_said_before_login_goes_with_the_attempt(stage: Listening) -> None:
    stage.say(b'x ID ("name" "Mail" "version" "1.0")\r\n' + LOGIN)
    assert stage.attempts[0].client == "Mail 1.0"
    assert stage.named == []


def test_a_name_said_after_login_is_told(stage: Listening) -> None:
    said = stage.say(LOGIN + b'x ID ("name" "Mail")\r\ny ID NIL\r\n')
    assert stage.attempts[0].client == ""
    assert stage.named == ["Mail", ""]
    assert said.endswith(b'* ID ("name" "mailauth")\r\ny OK ID completed.\r\n')


def test_a_name_that_cannot_be_read_is_not_told(stage: Listening) -> None:
    stage.say(LOGIN + b'x ID ("name"\r\n')
    assert stage.named == []


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({}, ""),
        ({b"name": b"Mail"}, "Mail"),
        ({b"version": b"2"}, "2"),
        ({b"name": b"Mail", b"version": b"2", b"os": b"none"}, "Mail 2"),
        ({b"name": b"a\r\nb\0\x1b[31m"}, "ab[31m"),
        ({b"name": "邮件".encode()}, "邮件"),
        ({b"name": b"\xff\xfe"}, "\ufffd\ufffd"),
        ({b"name": b"x" * 1000}, "x" * MAX_CLIENT_CHARS),
    ],
)
def test_a_name_is_fit_to_be_shown(said: dict[bytes, bytes], name: str) -> None:
    assert client_name(said) == name
