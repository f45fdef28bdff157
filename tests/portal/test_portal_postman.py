"""Mailing what owners are told: over real sockets and into real mailboxes, out of real stores."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiosmtpd.smtp
import pytest

from mailauth.accounts import notices, recovery
from mailauth.accounts.mailboxes import add_account, remove_account
from mailauth.accounts.unit import changing
from mailauth.carriage import Carried
from mailauth.interfaces import StoreUnavailable
from mailauth.mailbox.maildir import MaildirMailboxes
from mailauth.portal import postman as postmen
from mailauth.portal.letters import RESET, Letters
from mailauth.portal.postman import Postman
from mailauth.serving.listen import bind
from mailauth.smtp.carrier import Carrier
from mailauth.smtp.relay import Relay
from mailauth.store.engine import Store
from mailauth.store.passdb import open_passdb
from next_server import NextServer
from servers import client_tls, server_tls

ALICE = "alice@example.test"
OUTSIDE = "alice@elsewhere.test"
NOW = 1.8e9
PASSWORD = "relay-secret"
LETTERS = Letters("Example Mail", "https://mail.example.test")
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"
PATIENCE_S = 30.0


@dataclass
class Elsewhere:
    """A mail server that wants TLS and a login, as relays do. reply: to the message."""

    reply: str = "250 2.0.0 taken"
    taken: list[tuple[str | None, list[str], bytes]] = field(default_factory=list)
    logins: list[bytes] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        assert session.ssl is not None
        if self.reply.startswith("250"):
            self.taken.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return self.reply

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        self.logins.append(data.login)
        return aiosmtpd.smtp.AuthResult(success=data.password == PASSWORD.encode())

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        def protocol() -> aiosmtpd.smtp.SMTP:
            tls = {"tls_context": server_tls(), "require_starttls": True}
            auth = {"authenticator": self.authenticate, "auth_required": True}
            return aiosmtpd.smtp.SMTP(self, hostname="elsewhere.test", **tls, **auth)

        server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()


def starttls(port: int) -> Relay:
    login = {"username": "mailauth", "password": PASSWORD}
    return Relay(host="localhost", port=port, tls="starttls", hostname="mx.example.test", context=client_tls(), **login)


def plain(port: int, timeout_s: float = 5.0) -> Relay:
    return Relay(host="localhost", port=port, tls="off", hostname="mx.example.test", timeout_s=timeout_s)


def whom(unit: Any) -> dict[str, Any]:
    return {"login": ALICE, **unit.tx.row(unit.sql.LOCK_ACCOUNT, login=ALICE)}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """A store with Alice in it, her mailbox, and the ways out."""

    store: Store
    root: Path
    passdb: Any
    mailboxes: MaildirMailboxes
    clock: Clock = field(default_factory=Clock)

    def tell(self, kind: str = "mode-on", **more: Any) -> None:
        with changing(self.store, f"portal:{ALICE}", self.clock.now, peer="192.0.2.1", agent=FIREFOX) as unit:
            unit.record(kind, whom(unit), **more)

    def recover_at(self, address: str | None) -> None:
        with changing(self.store, "cli:root", self.clock.now) as unit:
            recovery.put_recovery_address(unit, whom(unit), address)
        for notice in notices.take_to_mail(self.store, now=self.clock.now):
            notices.done(self.store, notice, None)

    def carrier(self, relay: Relay | None = None, **options: Any) -> Carrier:
        return Carrier(self.passdb, self.mailboxes.deliver, relay, **options)

    @asynccontextmanager
    async def mailing(self, carrier: Any) -> AsyncIterator[Postman]:
        there = Postman(self.store, LETTERS, carrier, clock=self.clock, poll_s=0.01, fault_s=0.02)
        there.start()
        try:
            yield there
        finally:
            await there.close()

    @property
    def delivered(self) -> list[bytes]:
        folder = self.root / "example.test" / "alice" / "new"
        return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.exists() else []

    def rows(self, columns: str = "mail_after, mail_to, mailed_at") -> list[tuple[Any, ...]]:
        """What the store has of all notices that were told by `tell`."""
        with self.store.reading() as tx:
            statement = f"SELECT {columns} FROM notices WHERE actor != 'cli:root' ORDER BY id"
            return [tuple(row.values()) for row in tx.rows(statement)]


@pytest.fixture
async def world(store: Store, ring: Any, tmp_path: Path) -> AsyncIterator[World]:
    add_account(store, ALICE, None, actor="cli:root", now=NOW)
    passdb = open_passdb(store, ring.ids)
    root = tmp_path / "mail"
    yield World(store, root, passdb, MaildirMailboxes(root))
    await passdb.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait for what is about to be so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await asyncio.to_thread(condition):
                return
            await asyncio.sleep(0.01)


def done(world: World) -> Callable[[], bool]:
    return lambda: all(after is None for after, _, _ in world.rows())


async def test_a_notice_is_mailed_to_the_mailbox_and_to_the_recovery_address(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.recover_at(OUTSIDE)
    world.tell("app-password-added", label="Phone")
    elsewhere = Elsewhere()
    async with elsewhere.listening() as port:
        relay = starttls(port)
        async with world.mailing(world.carrier(relay)):
            await until(done(world))
        relay.close()
    assert world.rows() == [(None, None, NOW)]
    (here,) = world.delivered
    assert here.startswith(b"Return-Path: <>\r\nDelivered-To: alice@example.test\r\nDate: ")
    ((sender, recipients, there),) = elsewhere.taken
    assert (sender, recipients) == ("<>", [OUTSIDE])
    assert elsewhere.logins == [b"mailauth"]
    first, second = [email.message_from_bytes(each, policy=email.policy.default) for each in (here, there)]
    assert first["To"] == ALICE and second["To"] == OUTSIDE
    assert "Phone" in first["Subject"] == second["Subject"]
    assert OUTSIDE not in here.decode()  # whoever reads the mailbox does not learn of it
    assert "192.0.2.1, Firefox · Linux" in first.get_content()
    assert "By whom: you" in second.get_content()
    assert first["Message-ID"] != second["Message-ID"]
    assert "alice" not in caplog.text and PASSWORD not in caplog.text


async def test_what_the_relay_wants_later_is_mailed_later_and_nobody_gets_it_twice(world: World) -> None:
    world.recover_at(OUTSIDE)
    world.tell()
    async with NextServer(rcpt="450 4.2.0 greylisted").listening() as beyond:
        relay = plain(beyond.port)
        async with world.mailing(world.carrier(relay)):
            waits_s = []
            for _ in range(4):
                await until(lambda: world.rows()[0][1] == OUTSIDE and world.rows()[0][0] > world.clock.now)
                ((again_at, left, mailed_at),) = world.rows()
                assert (left, mailed_at) == (OUTSIDE, NOW)
                waits_s.append(again_at - world.clock.now)
                tries = beyond.heard.count(f"rcpt TO:<{OUTSIDE}>")
                world.clock.now = again_at
                await until(lambda tries=tries: beyond.heard.count(f"rcpt TO:<{OUTSIDE}>") > tries)
                await until(lambda: world.rows()[0][0] not in {world.clock.now, world.clock.now + 600})
            assert waits_s == [60.0, 60.0, 120.0, 240.0]  # after 0, 60, 120 and 240 seconds
            beyond.answers["rcpt"] = "250 ok"
            world.clock.now = world.rows()[0][0]
            await until(done(world))
        relay.close()
    assert len(world.delivered) == len(beyond.messages) == 1
    assert world.rows()[0][2] > NOW


async def test_what_is_refused_for_good_is_not_tried_again(world: World) -> None:
    world.recover_at(OUTSIDE)
    world.tell()
    async with NextServer(rcpt="550 5.1.1 nobody").listening() as beyond:
        relay = plain(beyond.port)
        async with world.mailing(world.carrier(relay)):
            await until(done(world))
        relay.close()
    assert world.rows() == [(None, None, NOW)]  # the mailbox has it
    assert beyond.heard.count(f"rcpt TO:<{OUTSIDE}>") == 1


async def test_what_nobody_takes_is_not_mailed_and_stays_on_the_portal(world: World) -> None:
    world.tell()
    carrier = Carrier(world.passdb, None, None)
    async with world.mailing(carrier):
        await until(done(world))
    assert world.rows() == [(None, None, None)]
    assert world.rows("seen_at") == [(None,)]


@pytest.mark.parametrize("way", ["end", "data"])
async def test_a_connection_that_breaks_off_is_tried_again_under_the_same_id(world: World, way: str) -> None:
    world.tell()
    async with NextServer(**{way: None}).listening() as beyond:
        relay = plain(beyond.port)
        async with world.mailing(Carrier(world.passdb, None, relay)):
            await until(lambda: world.rows()[0][0] == NOW + 60)
            beyond.answers[way] = NextServer().answers[way]
            world.clock.now += 60
            await until(done(world))
        relay.close()
    ids = [email.message_from_bytes(message)["Message-ID"] for message in beyond.messages]
    assert len(ids) == (2 if way == "end" else 1)
    assert len(set(ids)) == 1


async def test_a_relay_that_keeps_silent_holds_up_no_mailbox_for_good(world: World) -> None:
    world.recover_at(OUTSIDE)
    for _ in range(3):
        world.tell()
    with bind("127.0.0.1", 0) as silent:
        relay = plain(silent.getsockname()[1], timeout_s=0.3)
        async with world.mailing(world.carrier(relay)):
            await until(lambda: [row[:2] for row in world.rows()] == [(NOW + 60, OUTSIDE)] * 3)
        relay.close()
    assert len(world.delivered) == 3


async def test_two_processes_mail_each_once(world: World) -> None:
    for number in range(20):
        world.tell("app-password-added", label=f"n{number}")
    async with world.mailing(world.carrier()), world.mailing(world.carrier()):
        await until(done(world))
    subjects = [email.message_from_bytes(each, policy=email.policy.default)["Subject"] for each in world.delivered]
    assert len(subjects) == 20 == len(set(subjects))


async def test_a_store_that_is_away_is_said_once_and_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.tell()
    take, faults = notices.take_to_mail, iter(range(3))

    def sometimes(*given: Any, **more: Any) -> Any:
        if next(faults, None) is not None:
            raise StoreUnavailable("gone")
        return take(*given, **more)

    monkeypatch.setattr(notices, "take_to_mail", sometimes)
    async with world.mailing(world.carrier()):
        await until(done(world))
        await until(lambda: "owners are mailed again" in caplog.text)
    assert caplog.text.count("owners are mailed nothing at the moment: gone") == 1
    assert len(world.delivered) == 1


async def test_what_is_mailed_and_cannot_be_written_down_is_not_mailed_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tell()
    write, fault = notices.done, asyncio.Event()

    def sometimes(*given: Any, **more: Any) -> Any:
        if not fault.is_set():
            fault.set()
            world.clock.now += 601  # and it is nobody's any more
            raise StoreUnavailable("gone")
        return write(*given, **more)

    monkeypatch.setattr(notices, "done", sometimes)
    async with world.mailing(world.carrier()):
        await until(done(world))
        world.tell()
        await until(done(world))
    assert len(world.delivered) == 2


async def test_after_three_days_it_is_given_up(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.tell()
    world.clock.now += 3 * 86400
    world.tell("mode-off")
    async with world.mailing(world.carrier()):
        await until(done(world))
    assert [row[2] for row in world.rows()] == [None, world.clock.now]
    assert "1 notices could not be mailed for three days and stay on the portal alarm" in caplog.text


async def test_where_nothing_can_be_mailed_it_is_said_once_and_nothing_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notices, "take_to_mail", None)
    world.tell()
    async with world.mailing(None) as there:
        assert not await there.post(OUTSIDE, "en", RESET, login=ALICE, link="https://mail.example.test/reset")
    assert caplog.text.count("owners are told of changes on the portal only") == 1
    assert world.rows() == [(NOW, None, None)]


class Slow:
    """A carrier that takes as long as it is let."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()

    async def carry(self, to: str, content: bytes) -> Carried:
        self.asked.append(to)
        self.begun.set()
        await self.let_go.wait()
        return Carried.TAKEN


async def test_who_stops_finishes_what_is_begun_and_leaves_the_rest_to_others(world: World) -> None:
    world.recover_at(OUTSIDE)
    world.tell()
    slow = Slow()
    async with world.mailing(slow):
        await slow.begun.wait()
        asyncio.get_running_loop().call_later(0.1, slow.let_go.set)
    assert slow.asked == [ALICE]
    assert world.rows() == [(NOW, OUTSIDE, NOW)]  # at once
    async with world.mailing(slow):
        await until(done(world))
    assert slow.asked == [ALICE, OUTSIDE]


async def test_who_is_stopped_in_the_middle_has_it_still_handed_over_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postmen, "CLOSE_S", 0.05)
    world.tell()
    slow = Slow()
    async with world.mailing(slow):
        await slow.begun.wait()
    assert world.rows() == [(NOW + 600, None, None)]


async def test_no_address_is_begun_when_it_may_be_anothers_soon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmen, "HELD_S", -1.0)
    world.tell()
    slow = Slow()
    async with world.mailing(slow):
        await until(lambda: world.rows() == [(NOW + 60, ALICE, None)])
    assert slow.asked == []


async def test_a_fault_of_our_own_is_an_alarm(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def carry(self, to: str, content: bytes) -> Carried:
            raise RuntimeError(to)

    world.tell()
    async with world.mailing(Broken()):
        await until(lambda: "owners are mailed nothing any more: RuntimeError" in caplog.text)
    assert "alice" not in caplog.text


async def test_an_account_that_is_gone_meanwhile_is_no_fault(world: World) -> None:
    world.tell()
    slow = Slow()
    async with world.mailing(slow):
        await slow.begun.wait()
        await asyncio.to_thread(remove_account, world.store, ALICE, actor="cli:root")
        slow.let_go.set()
    assert world.rows() == []


async def test_another_recovery_address_is_told_to_the_one_that_was_there(world: World) -> None:
    world.recover_at(OUTSIDE)
    with changing(world.store, f"portal:{ALICE}", world.clock.now) as unit:
        account = whom(unit)
        recovery.put_recovery_address(unit, account, "eve@elsewhere.test")
    slow = Slow()
    slow.let_go.set()
    async with world.mailing(slow):
        await until(done(world))
    assert slow.asked == [ALICE, OUTSIDE, "eve@elsewhere.test"]


# --- letters that are not stored -------------------------------------------------------------------------------------

LINK = "https://mail.example.test/reset?code=abcdef-ghjkmn-pqrstu-vwxyz2"


async def test_a_link_is_mailed_at_once_and_kept_nowhere(
    world: World, database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = Elsewhere()
    async with elsewhere.listening() as port:
        relay = starttls(port)
        there = Postman(world.store, LETTERS, world.carrier(relay), clock=world.clock)
        assert await there.post(OUTSIDE, "zh", RESET, login=ALICE, link=LINK, expires_at=repr(NOW + 86400))
        elsewhere.reply = "550 5.7.1 no"
        assert not await there.post(OUTSIDE, "zh", RESET, login=ALICE, link=LINK)
        elsewhere.reply = "451 4.3.0 later"
        assert not await there.post(OUTSIDE, "zh", RESET, login=ALICE, link=LINK)
        relay.close()
    ((_, recipients, content),) = elsewhere.taken
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert recipients == [OUTSIDE]
    assert LINK in message.get_content().splitlines()
    assert database.run("SELECT count(*) FROM notices") == [(0,)]
    assert "abcdef" not in caplog.text and "elsewhere.test" not in caplog.text.replace("localhost", "")


async def test_who_has_a_letter_posted_does_not_wait_for_ever(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postmen, "POST_S", 0.05)
    there = Postman(world.store, LETTERS, Slow(), clock=world.clock)
    assert not await there.post(OUTSIDE, "en", RESET, login=ALICE, link=LINK)
    with pytest.raises(KeyError):
        await there.post(OUTSIDE, "en", "another")
