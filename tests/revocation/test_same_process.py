"""Sessions of the process in which something is taken away, wherever a client stands; on both event loops."""

from __future__ import annotations

import asyncio
import base64
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import postgres
from mailauth.accounts import apppasswords, mailboxes
from mailauth.accounts.changes import AccountChange
from mailauth.attempt import Service
from mailauth.compose import open_core
from mailauth.listeners import Doors
from mailauth.mailbox import maildir
from mailauth.mailbox import wire as mailbox_wire
from mailauth.mailbox.delivery import DeliveryFailed
from mailauth.serving.census import Census
from mailauth.serving.inherited import Inherited
from mailauth.serving.listen import Server
from mailauth.serving.sessions import LiveSessions
from mailauth.store.changes import Effect
from site_of_tests import ACTOR, Site
from wire import Wire

ALICE = "alice@example.test"
WITHDRAWN = b"This session was ended: its password or its access was withdrawn"
QUICKLY_S = 10.0  # a hundred times as long as it takes
HUGE_BYTES = 30_000_000  # more than all buffers between server and client


class Running:
    """A site served within the test's own loop."""

    def __init__(self, site: Site, live: LiveSessions) -> None:
        self.site, self.live = site, live
        self.phone, self.laptop = (site.mint(ALICE, label=label) for label in ("phone", "laptop"))

    async def connected(self, service: Service, **options: Any) -> Wire:
        client = await Wire.to(self.site.ports[service, "off"], **options)
        assert await client.line()
        return client

    async def imap(self, password: str, **options: Any) -> Wire:
        client = await self.connected(Service.IMAP, **options)
        assert b"a OK" in await client.exchange(b"a LOGIN %b %b\r\n" % (ALICE.encode(), password.encode()))
        return client

    async def pop3(self, password: str, **options: Any) -> Wire:
        client = await self.connected(Service.POP3, **options)
        assert b"+OK" in await client.exchange(b"USER %b\r\n" % ALICE.encode())
        assert b"+OK" in await client.exchange(b"PASS %b\r\n" % password.encode())
        return client

    async def smtp(self, password: str) -> Wire:
        client = await self.connected(Service.SMTP)
        await client.send(b"EHLO program.example.test\r\n")
        await client.until(b"250 ")
        await client.line()
        assert b"334" in await client.exchange(b"AUTH LOGIN\r\n")
        assert b"334" in await client.exchange(b64(ALICE))
        assert b"235" in await client.exchange(b64(password))
        return client

    def message(self, size_bytes: int) -> None:
        """One in Alice's mailbox."""
        content = b"Subject: huge\r\n\r\n" + b"x" * 998 + b"\r\n"
        content += (b"y" * 998 + b"\r\n") * (size_bytes // 1000)
        inbox = self.site.folder / "mail" / "example.test" / "alice" / "new"
        for folder in ("cur", "new", "tmp"):
            (inbox.parent / folder).mkdir(parents=True, exist_ok=True)
        (inbox / "1.M1P1.host").write_bytes(content)

    async def revoke(self) -> tuple[Effect, float]:
        """Revoke the phone's app password; with the time at which that had been asked."""
        effect, began = Effect(), time.monotonic()
        await asyncio.to_thread(
            lambda: apppasswords.revoke(self.site.store, ALICE, ids=[self.phone.id], actor=ACTOR, effect=effect)
        )
        return effect, began


def b64(text: str) -> bytes:
    return base64.b64encode(text.encode()) + b"\r\n"


@asynccontextmanager
async def running(folder: Path, url: str = "") -> AsyncIterator[Running]:
    site = Site(folder, url=url.replace("postgres:@", "postgres@"), tls_off=True)
    site.add(ALICE)
    census = Census(1000, 1000)
    async with open_core(site.settings) as core:
        doors = Doors(site.settings, core.verifier, core.passdb, census, None, sessions=core.sessions)
        listeners = [door for door in doors.open(Inherited({})) if door.name.endswith("tls=off") or door.sock.close()]
        server = Server(census, listeners)
        await server.start()
        try:
            yield Running(site, core.sessions)
        finally:
            await server.stop()
            site.store.close()


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as here:
        yield here


@pytest.fixture(params=["sqlite", "postgresql"])
async def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Running]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("empty_postgres")
    async with running(tmp_path, url) as here:
        yield here


@pytest.fixture
def empty_postgres(postgres_server: str) -> Any:
    with postgres.database(postgres_server) as url:
        yield url


async def test_sessions_end_at_once(anywhere: Running) -> None:
    here = anywhere
    password = here.phone.password
    clients = [await here.imap(password) for _ in range(3)]
    await clients[1].send(b"s SELECT INBOX\r\n")
    await clients[1].until(b"s OK")
    await clients[2].send(b"s SELECT INBOX\r\ni IDLE\r\n")
    await clients[2].until(b"+ Idling.\r\n")
    await clients[1].until(b"\r\n")
    clients += [await here.pop3(password), await here.smtp(password)]
    stays = await here.imap(here.laptop.password)
    ends = [asyncio.ensure_future(client.rest()) for client in clients]
    effect, began = await here.revoke()
    heard = await asyncio.gather(*ends)
    assert time.monotonic() - began < QUICKLY_S
    assert effect.ended == 5
    assert [said for said in heard if WITHDRAWN not in said] == []
    assert b"n OK" in await stays.exchange(b"n NOOP\r\n")
    assert len(here.live) == 1
    for client in (*clients, stays):
        client.close()


@pytest.mark.parametrize("service", ["imap", "pop3"])
async def test_a_client_that_is_being_sent_a_long_reply_gets_no_more_of_it(
    here: Running, service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads slowly, or not at all: nobody waits for it to take what it has asked for."""
    monkeypatch.setattr(mailbox_wire, "GOODBYE_S", 3600.0)
    here.message(HUGE_BYTES)
    client = await getattr(here, service)(here.phone.password, receive_bytes=4096)
    if service == "imap":
        await client.send(b"s SELECT INBOX\r\nf FETCH 1 BODY.PEEK[]\r\n")
        await client.until(b"BODY[]")
    else:
        await client.send(b"RETR 1\r\n")
        await client.until(b"+OK")
    effect, began = await here.revoke()
    assert effect.ended == 1
    assert len(await client.rest()) < HUGE_BYTES
    assert time.monotonic() - began < QUICKLY_S
    client.close()


@pytest.mark.parametrize("outcome", ["delivered", "failed"])
async def test_a_message_that_is_being_delivered_gets_its_answer_and_is_the_last(
    here: Running, monkeypatch: pytest.MonkeyPatch, outcome: str
) -> None:
    """It was sent, whole, before its password was revoked; the next one is not taken."""
    delivering, may_go_on, taken = threading.Event(), threading.Event(), []

    def deliver(maildir: str, login: str, content: bytes, envelope_from: str) -> None:
        taken.append(login)
        delivering.set()
        assert may_go_on.wait(QUICKLY_S)
        if outcome == "failed":
            raise DeliveryFailed("no room")

    monkeypatch.setattr(maildir, "deliver_file", deliver)
    client = await here.smtp(here.phone.password)
    one = b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n" % (ALICE.encode(), ALICE.encode())
    await client.send(one)
    await client.until(b"354")
    await client.send(b"Subject: x\r\n\r\nx\r\n.\r\n" + one)
    assert await asyncio.to_thread(delivering.wait, QUICKLY_S)
    effect, _ = await here.revoke()
    assert effect.ended == 1
    may_go_on.set()
    heard = (await client.rest()).splitlines()
    assert heard[-2].startswith(b"250" if outcome == "delivered" else b"451")
    assert heard[-1].startswith(b"421 4.7.0 " + WITHDRAWN)
    assert taken == [ALICE]
    client.close()


async def test_what_came_behind_the_revocation_is_not_acted_on(here: Running) -> None:
    """A whole message in the server's buffers when its password is revoked: too late."""
    client = await here.smtp(here.phone.password)
    await client.send(b"MAIL FROM:<%b>\r\nRCPT TO:<%b>\r\nDATA\r\n" % (ALICE.encode(), ALICE.encode()))
    await client.until(b"354")
    await client.line()
    effect, _ = await here.revoke()
    await client.send(b"Subject: too late\r\n\r\nx\r\n.\r\n")
    assert (await client.rest()).startswith(b"421 4.7.0 " + WITHDRAWN)
    assert effect.ended == 1
    assert [file for file in (here.site.folder / "mail").rglob("*") if file.is_file()] == []
    client.close()


async def test_hundreds_of_sessions_end_and_others_are_served_meanwhile(here: Running) -> None:
    count = 300
    clients = [await here.imap(here.phone.password) for _ in range(count)]
    stays = await here.imap(here.laptop.password)
    revoking = asyncio.ensure_future(here.revoke())
    answered = 0
    while not revoking.done():
        assert b"n OK" in await stays.exchange(b"n NOOP\r\n")
        answered += 1
    effect, _ = await revoking
    assert effect.ended == count
    assert answered
    for client in clients:
        assert (await client.rest()).startswith(b"* BYE " + WITHDRAWN)
        client.close()
    stays.close()
    assert len(here.live) == 1


async def test_sessions_that_are_left_are_not_remembered(here: Running) -> None:
    """Whoever goes, goes from the list too: politely, without a word, or in the middle of something."""
    ways: list[tuple[Any, bytes, Callable[[Wire], None]]] = [
        (here.imap, b"o LOGOUT\r\n", Wire.close),
        (here.imap, b"s SELECT INBOX\r\n", Wire.close),
        (here.imap, b"s SELECT INBOX\r\ni IDLE\r\n", Wire.reset),
        (here.imap, b"", Wire.reset),
        (here.pop3, b"QUIT\r\n", Wire.close),
        (here.pop3, b"STAT\r\n", Wire.reset),
        (here.smtp, b"QUIT\r\n", Wire.close),
        (here.smtp, b"MAIL FROM:<alice@example.test>\r\n", Wire.reset),
    ]
    for log_in, said, leave in ways:
        client = await log_in(here.phone.password)
        assert len(here.live) == 1
        if said:
            await client.exchange(said)
        leave(client)
        async with asyncio.timeout(QUICKLY_S):
            while len(here.live):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    await asyncio.to_thread(mailboxes.set_account, here.site.store, ALICE, AccountChange(enabled=False), actor=ACTOR)
