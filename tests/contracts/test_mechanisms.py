"""What every SASL mechanism in the folder keeps to, whoever wrote it."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mailauth.sasl
from mailauth import plugins
from mailauth.attempt import Credential
from mailauth.dialogue import Dialogue
from mailauth.imap.offer import Offer as ImapOffer
from mailauth.imap.protocol import ImapDialogue
from mailauth.pop3.protocol import Offer as Pop3Offer
from mailauth.pop3.protocol import Pop3Dialogue
from mailauth.sasl.mechanism import Challenge, Factory, Malformed
from stage import Stage

MAX_TURNS = 10  # more questions than any mechanism asks


def found() -> list[str]:
    """The names of all mechanisms, as a configuration would name them."""
    modules = (module.name for module in pkgutil.iter_modules(mailauth.sasl.__path__))
    plug_ins = [name for name in modules if hasattr(importlib.import_module(f"mailauth.sasl.{name}"), "build")]
    return [name.replace("_", "-") for name in plug_ins]


def imap(mechanism: Factory) -> Dialogue:
    return ImapDialogue(ImapOffer({mechanism.name: mechanism}, starttls=False))


def pop3(mechanism: Factory) -> Dialogue:
    return Pop3Dialogue(Pop3Offer({mechanism.name: mechanism}, starttls=False))


def test_there_are_some() -> None:
    assert {"plain", "login"} <= set(found())


@pytest.mark.parametrize("name", found())
def test_the_name_is_one_that_iana_would_register(name: str) -> None:
    registered = plugins.load("sasl", name).name
    assert registered == registered.upper() == name.upper()
    assert 1 <= len(registered) <= 20  # RFC 4422 section 3.1
    assert set(registered) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@pytest.mark.parametrize("name", found())
def test_it_is_advertised_and_begun_at_every_door(name: str) -> None:
    mechanism = plugins.load("sasl", name)
    stage = Stage(imap(mechanism))
    assert f" AUTH={mechanism.name}]".encode() in stage.news()
    assert stage.say(f"a AUTHENTICATE {mechanism.name.lower()}\r\n".encode()).startswith(b"+ ")
    stage = Stage(pop3(mechanism))
    assert stage.news() == b"+OK POP3 ready.\r\n"
    assert f"\r\nSASL {mechanism.name}\r\n".encode() in stage.say(b"CAPA\r\n")
    assert stage.say(f"AUTH {mechanism.name.lower()}\r\n".encode()).startswith(b"+ ")


@pytest.mark.parametrize("name", found())
@given(responses=st.lists(st.none() | st.binary(max_size=40), min_size=1, max_size=MAX_TURNS))
def test_whatever_comes_it_asks_or_knows_or_says_malformed(name: str, responses: list[bytes | None]) -> None:
    exchange = plugins.load("sasl", name).start()
    for response in responses:
        try:
            turn = exchange.step(response)
        except Malformed as malformed:
            assert str(malformed).isascii()
            assert str(malformed).isprintable()
            return
        assert isinstance(turn, Challenge | Credential)
        if isinstance(turn, Credential):
            assert turn.authcid
            assert turn.password
            assert "\0" not in turn.authcid + turn.password + turn.authzid
            return


@pytest.mark.parametrize("name", found())
@given(response=st.binary(min_size=4, max_size=40))
def test_an_error_never_quotes_the_client(name: str, response: bytes) -> None:
    exchange = plugins.load("sasl", name).start()
    exchange.step(None)
    try:
        exchange.step(response)
    except Malformed as malformed:
        assert response.decode(errors="replace") not in str(malformed)


@pytest.mark.parametrize("name", found())
def test_exchanges_share_nothing(name: str) -> None:
    mechanism = plugins.load("sasl", name)
    first = mechanism.start()
    first.step(None)
    assert mechanism.start().step(None) == mechanism.start().step(None)
