"""TLS on real sockets: started, begun with, given up, and given a new certificate."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from doors import Words, greeted, secured
from doubles import Doorman
from mailauth.dialogue import Ending
from mailauth.serving import tls
from mailauth.serving.house import TimeLimits
from mailauth.serving.lines import LineConnection
from servers import authority, listening
from wire import Wire, eventually

pytestmark = pytest.mark.usefixtures("nothing_left_behind")


async def test_a_client_logs_in_after_starttls(words: Words) -> None:
    doorman = Doorman()
    async with listening(words.dialogue(), doorman) as running:
        wire = await secured(running.port, words)
        await wire.send(words.login + words.logout)
        assert await wire.rest() == words.asked + words.accepted + words.logout_done
        wire.close()
    assert doorman.attempts[0].tls
    assert doorman.attempts[0].peer == "127.0.0.1"


async def test_a_client_logs_in_on_implicit_tls(words: Words) -> None:
    doorman = Doorman()
    async with listening(words.dialogue(starttls=False), doorman, tls="implicit") as running:
        wire = await greeted(running.port, tls=True)
        await wire.send(words.login + words.logout)
        assert await wire.rest() == words.asked + words.accepted + words.logout_done
        wire.close()
    assert doorman.attempts[0].tls


@pytest.mark.parametrize("cut", [1000, 3], ids=["whole", "partial"])
async def test_what_comes_in_one_segment_with_starttls_is_never_acted_on(words: Words, cut: int) -> None:
    async with listening(words.dialogue(), Doorman()) as running:
        wire = await greeted(running.port)
        await wire.send(words.starttls + words.logout[:cut])
        assert b"OK" in await wire.line()
        await wire.start_tls()
        assert await wire.exchange(words.noop) == words.noop_done
        wire.close()


async def test_what_comes_in_clear_before_the_handshake_ends_the_connection(words: Words) -> None:
    async with listening(words.dialogue(), Doorman()) as running:
        wire = await greeted(running.port)
        await wire.exchange(words.starttls)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await wire.start_tls(before=words.noop)
        wire.close()
        await eventually(lambda: len(running.census) == 0)


async def test_what_comes_between_the_command_and_the_handshake_is_lost(words: Words) -> None:
    """The moment that no client can hit at will: the command has been read, start_tls has not yet been called."""

    class Injecting(LineConnection):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if data == words.starttls:
                super().data_received(words.login)

    doorman = Doorman()
    async with listening(words.dialogue(), doorman, connection=Injecting) as running:
        wire = await secured(running.port, words)
        assert await wire.exchange(words.noop) == words.noop_done
        wire.close()
    assert doorman.attempts == []


async def test_what_comes_in_tls_with_the_end_of_the_handshake_is_acted_on(words: Words) -> None:
    doorman = Doorman()
    async with listening(words.dialogue(), doorman) as running:
        wire = await greeted(running.port)
        await wire.exchange(words.starttls)
        await wire.start_tls(behind=words.login + words.logout)
        assert await wire.rest() == words.asked + words.accepted + words.logout_done
        wire.close()
    assert len(doorman.attempts) == 1


async def test_tls_is_neither_offered_nor_started_twice(words: Words) -> None:
    async with listening(words.dialogue(), Doorman()) as running:
        wire = await secured(running.port, words)
        await wire.send({"imap": b"c CAPABILITY\r\n", "pop3": b"CAPA\r\n"}[words.name])
        capabilities = await wire.until({"imap": b"completed.\r\n", "pop3": b"\r\n.\r\n"}[words.name])
        assert b"STARTTLS" not in capabilities
        assert b"STLS" not in capabilities
        assert b"TLS is on already" in await wire.exchange(words.starttls)
        assert await wire.exchange(words.noop) == words.noop_done
        wire.close()


async def test_no_password_is_judged_in_clear(words: Words) -> None:
    doorman = Doorman()
    async with listening(words.dialogue(), doorman) as running:
        wire = await greeted(running.port)
        await wire.send(words.login + words.logout)
        heard = await wire.rest()
        assert heard.startswith((b"a NO [PRIVACYREQUIRED] ", b"-ERR Start TLS first"))
        wire.close()
    assert doorman.attempts == []


@pytest.mark.parametrize(
    "before", [b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"], ids=["nothing", "half", "garbage"]
)
@pytest.mark.parametrize("kind", ["implicit", "starttls"])
async def test_a_handshake_has_its_time(words: Words, kind: str, before: bytes) -> None:
    async with listening(words.dialogue(), Doorman(), tls=kind, limits=TimeLimits(handshake_s=0.05)) as running:
        if kind == "implicit":
            wire = await Wire.to(running.port)
        else:
            wire = await greeted(running.port)
            await wire.exchange(words.starttls)
        await wire.send_raw(before)
        await wire.rest()  # an alert, or nothing: what counts is that it ends
        wire.close()
        await eventually(lambda: len(running.census) == 0)


async def test_a_client_that_leaves_its_handshake_leaves_nothing(words: Words) -> None:
    async with listening(words.dialogue(), Doorman()) as running:
        for leave in (Wire.reset, Wire.close):
            wire = await greeted(running.port)
            await wire.exchange(words.starttls)
            await wire.send_raw(b"\x16\x03\x01")
            leave(wire)
            await eventually(lambda: len(running.census) == 0)


@pytest.mark.parametrize("cause", [Ending.SHUTDOWN, Ending.CROWDED])
async def test_a_handshake_can_be_ended(words: Words, cause: Ending) -> None:
    async with listening(words.dialogue(), Doorman()) as running:
        wire = await greeted(running.port)
        await wire.exchange(words.starttls)
        for connection in running.census.everyone():
            connection.end(cause)
        assert len(running.census) == 0
        assert await wire.rest() == b""
        wire.close()


async def test_a_certificate_is_replaced_while_a_session_goes_on(words: Words, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def issue() -> None:
        leaf = authority().issue_cert("localhost")
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.write_bytes(leaf.private_key_pem.bytes())

    issue()
    context = tls.server_context(certificate, key)
    async with listening(words.dialogue(), Doorman(), tls="implicit", context=context) as running:
        old = await greeted(running.port, tls=True)
        issue()
        tls.reload(context, certificate, key)
        new = await greeted(running.port, tls=True)
        assert old.tls is not None
        assert new.tls is not None
        assert old.tls.getpeercert(True) != new.tls.getpeercert(True)
        assert await old.exchange(words.noop) == words.noop_done
        assert await new.exchange(words.noop) == words.noop_done
        old.close()
        new.close()


@pytest.mark.parametrize("result", [None, OSError("no"), EOFError()], ids=repr)
async def test_a_handshake_that_comes_to_nothing_leaves_nothing(
    words: Words, result: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def comes_to_nothing(*_: object, **__: object) -> None:
        if result is not None:
            raise result

    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", comes_to_nothing)
    async with listening(words.dialogue(), Doorman()) as running:
        wire = await greeted(running.port)
        await wire.send(words.starttls)
        assert words.noop_done not in await wire.rest()
        assert len(running.census) == 0
        wire.close()
