"""IMAP with a server behind us that takes over at login: what is offered before, what is said, what is handed on."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable

import pytest

from mailauth.imap.offer import ALONE, Offer
from mailauth.imap.protocol import ImapDialogue
from mailauth.verdict import Cause, Defer
from servers import MECHANISMS
from stage import PRINCIPAL, REFUSED, Stage, bytewise, whole

BEHIND = ("IMAP4rev1", "IDLE", "LITERAL+")
IN = b"a OK [CAPABILITY IMAP4rev1 IDLE LITERAL+] Logged in.\r\n"
PLAIN = base64.b64encode(b"\0alice@example.test\0secret")
LOGINS = {
    "login": b"a LOGIN alice@example.test secret\r\n",
    "quoted": b'a LOGIN "alice@example.test" "secret"\r\n',
    "literals": b"a LOGIN {18}\r\nalice@example.test {6}\r\nsecret\r\n",
    "literals that do not wait": b"a LOGIN {18+}\r\nalice@example.test {6+}\r\nsecret\r\n",
    "sasl, initial response": b"a AUTHENTICATE PLAIN " + PLAIN + b"\r\n",
    "sasl": b"a AUTHENTICATE PLAIN\r\n" + PLAIN + b"\r\n",
}
AFTER = {
    "nothing": b"",
    "a command": b"b SELECT INBOX\r\n",
    "ours elsewhere": b"b CAPABILITY\r\nc NOOP\r\nd ID NIL\r\ne LOGOUT\r\nf STARTTLS\r\n",
    "half a command": b"b SEL",
    "a literal": b"b APPEND INBOX {3+}\r\n\0\r\n\r\n",
    "another login": b"a LOGIN bob@example.test secret\r\n",
    "no protocol at all": bytes(range(256)) * 100,
}


def stage(**options: object) -> Stage:
    dialogue = ImapDialogue(Offer(MECHANISMS, starttls=True, always=ALONE, mailbox_capabilities=()))
    opened = Stage(dialogue, behind=BEHIND, **options)  # type: ignore[arg-type]
    opened.news()
    return opened


@pytest.mark.parametrize("cut", [whole, bytewise])
@pytest.mark.parametrize("after", AFTER)
@pytest.mark.parametrize("login", LOGINS)
def test_all_behind_a_login_is_handed_on_unread(
    login: str, after: str, cut: Callable[[bytes], Iterable[bytes]]
) -> None:
    client = stage()
    heard = client.say(LOGINS[login] + AFTER[after], cut)
    assert heard.replace(b"+ Ready\r\n", b"").replace(b"+ \r\n", b"") == IN
    assert client.entered is not None
    assert (client.entered.principal, client.entered.leftover) == (PRINCIPAL, AFTER[after])


def test_nothing_is_offered_before_login_that_the_server_behind_may_lack() -> None:
    client = stage()
    assert client.say(b"c CAPABILITY\r\n").startswith(b"* CAPABILITY IMAP4rev1 ID SASL-IR AUTH=PLAIN AUTH=LOGIN\r\n")
    in_clear = stage(tls=False)
    assert in_clear.say(b"c CAPABILITY\r\n").startswith(b"* CAPABILITY IMAP4rev1 ID SASL-IR STARTTLS LOGINDISABLED\r\n")


@pytest.mark.parametrize("outcome", [REFUSED, Defer(Cause.BACKEND)], ids=["refused", "deferred"])
def test_who_is_not_let_in_stays_with_us(outcome: object) -> None:
    client = stage(judge=lambda _: outcome)
    assert client.say(LOGINS["login"] + b"n NOOP\r\n").endswith(b"\r\nn OK NOOP completed.\r\n")
    assert client.entered is None
