"""Any bytes from a server, cut anywhere: a login ends or waits, and keeps no more than it may."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from mailauth.backends.exchange import MOST_LINE_BYTES, Done, Exchange, Failed, Login, Script
from mailauth.backends.imap_login import imap_login
from mailauth.backends.pop3_login import pop3_login
from mailauth.backends.smtp_login import common_offer, smtp_login, smtp_offer
from mailauth.dialogue import Send, StartTLS
from mailauth.ends import End, Ends

EXAMPLES = settings(max_examples=300, deadline=None)
SECRET = base64.b64encode(b"alice@example.test\0proxy\0m4ster")
ENDS = st.builds(End, st.sampled_from(["", "192.0.2.7", "2001:db8::7"]), st.integers(0, 65535))
LOGINS = st.builds(
    Login,
    authcid=st.just("proxy"),
    password=st.just("m4ster"),
    authzid=st.sampled_from(["", "alice@example.test"]),
    starttls=st.booleans(),
    ends=st.builds(Ends, ENDS, ENDS),
    name=st.text(max_size=20),
)
SCRIPTS = st.sampled_from(
    [imap_login, pop3_login, smtp_login, smtp_offer, lambda login: smtp_login(login, by_xclient=True)]
)
WORDS = st.sampled_from(
    [
        *(b"* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN] ready\r\n", b"* CAPABILITY AUTH=PLAIN\r\n", b"+ \r\n"),
        *(b"a1 OK\r\n", b"a2 OK\r\n", b"a3 OK\r\n", b"a4 OK [CAPABILITY X] in\r\n", b"a4 NO [X] \r\n", b"a5 OK\r\n"),
        *(b"* BYE\r\n", b"* ", b"a4 ", b"[CAPABILITY ", b"\r\n", b"\n", b"\r", b"\0", b".", b".\r\n"),
        *(b"+OK\r\n", b"+OK [XCLIENT] hello\r\n", b"SASL PLAIN\r\n", b"USER\r\n", b"XCLIENT\r\n", b"-ERR [AUTH]\r\n"),
        *(
            b"220 mx\r\n",
            b"250-mx\r\n",
            b"250-AUTH PLAIN\r\n",
            b"250 XCLIENT ADDR PORT LOGIN DESTADDR DESTPORT\r\n",
            b"250 \r\n",
        ),
        *(b"235 in\r\n", b"501 5.5.4 \r\n", b"334 \r\n", b"250-", b"250", SECRET, b"x" * MOST_LINE_BYTES),
    ]
)
HEARD = st.lists(st.one_of(WORDS, st.binary(max_size=40)), max_size=40)


def run(script: Script, heard: Sequence[bytes]) -> None:
    exchange = Exchange(script)
    over = False
    for piece in (b"", *heard):
        actions = exchange.received(piece)
        while actions and actions[-1] == StartTLS():
            actions = exchange.received(b"")
        assert not (over and actions)
        for action in actions:
            match action:
                case Send(data):
                    assert data.endswith(b"\r\n")
                    assert data.count(b"\r") == data.count(b"\n") == 1
                case StartTLS():
                    raise AssertionError("TLS is waited for")
                case Done(capabilities):
                    over = True
                    assert all(" " <= c <= "~" for one in capabilities for c in one)
                case Failed(text):
                    over = True
                    assert text.isprintable()
                    assert "m4ster" not in text
                    assert SECRET.decode() not in text
        assert over or len(exchange._heard) < MOST_LINE_BYTES


@EXAMPLES
@given(SCRIPTS, LOGINS, HEARD)
def test_any_server_is_lived_through(script, login: Login, heard: list[bytes]) -> None:
    run(script(login), heard)


@EXAMPLES
@given(SCRIPTS, LOGINS, HEARD)
def test_any_server_is_lived_through_bytewise(script, login: Login, heard: list[bytes]) -> None:
    run(script(login), [bytes([octet]) for octet in b"".join(heard)[:2000]])


LINES = st.lists(
    st.one_of(
        st.sampled_from(
            ["SIZE", "SIZE 0", "SIZE 100", "SIZE 2000", "SIZE x", "8BITMIME", "AUTH PLAIN LOGIN", "AUTH PLAIN"]
        ),
        st.text("ABC123 ", min_size=1).map(str.strip).filter(bool),
    ),
    max_size=6,
)


@EXAMPLES
@given(st.lists(LINES, min_size=1, max_size=4))
def test_what_is_common_is_in_every_offer(offers: list[list[str]]) -> None:
    keywords = [{line.split()[0] for line in offer} for offer in offers]
    common = common_offer(offers)
    assert {line.split()[0] for line in common} == set.intersection(*keywords)
    for line in common:
        keyword, *arguments = line.split()
        if keyword != "SIZE":
            said = [[words[1:] for words in map(str.split, offer) if words[0] == keyword] for offer in offers]
            assert all(any(word in words for words in one) for one in said for word in arguments)
