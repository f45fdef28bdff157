"""Every refusal leaves at a time that depends on when the attempt came, and on nothing else; and in the same words.

The doors, the verifier and the clock of refusals are the product's own, in a loop whose time jumps: what a lookup or a
hash takes is a number, and so is the time at which a reply leaves.
"""

from __future__ import annotations

import asyncio
import base64
import math
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

import virtual_time
from doubles import NO_DEMAND, LengthKeys, MemoryPassdb, PlainHashes
from mailauth.attempt import Service
from mailauth.ends import UNKNOWN, End, Ends
from mailauth.events import Events
from mailauth.interfaces import Account, Demand, Lane, PolicyLevel, PoolBusy
from mailauth.serving.census import Census
from mailauth.serving.clock import FACTORS, TICK_S, RefusalClock
from mailauth.serving.house import House, TimeLimits
from mailauth.serving.lines import LineConnection
from mailauth.smtp.house import House as SmtpHouse
from mailauth.smtp.house import Limits
from mailauth.smtp.server import SubmissionProtocol
from mailauth.verify.verifier import Verifier
from servers import imap, lobby, pop3

DELAY_S, LOOKUP_S, HASH_S = 2.0, 0.07, 0.9
NOW, HOUR_S = 1.8e9, 3600.0
PROXIED = Ends(End("192.0.2.7"), UNKNOWN)
WEB, APP, OTHER = "correct horse battery", "abcdefghjkmnpqrs", "zzzzzzzzzzzzzzzz"
CHANCE = "bacdefghjkmnpqrs"  # another secret with the selector of APP
CASES: dict[str, tuple[str, str, str]] = {  # login, password, authzid
    "unknown login": ("nobody@example.test", WEB, ""),
    "unknown domain": ("alice@elsewhere.test", WEB, ""),
    "no login at all": ("no login at all @@", WEB, ""),
    "wrong secret": ("web@example.test", "wrong", ""),
    "wrong secret like an app password": ("web@example.test", OTHER, ""),
    "no web password": ("unset@example.test", WEB, ""),
    "no password": ("web@example.test", " ", ""),
    "an endless password": ("web@example.test", "x" * 2000, ""),
    "one app password": ("one@example.test", OTHER, ""),
    "ten app passwords": ("ten@example.test", OTHER, ""),
    "a selector hit by chance": ("one@example.test", CHANCE, ""),
    "mode on, web password": ("one@example.test", WEB, ""),
    "mode enforced, web password": ("enforced@example.test", WEB, ""),
    "mode on, chance": ("ten@example.test", CHANCE, ""),
    "disabled": ("disabled@example.test", WEB, ""),
    "disabled, app password": ("disabled@example.test", APP, ""),
    "domain disabled": ("domain-disabled@example.test", WEB, ""),
    "client logon off": ("logon-off@example.test", APP, ""),
    "service off": ("service-off@example.test", WEB, ""),
    "service off, app password": ("service-off@example.test", APP, ""),
    "tombstone": ("tombstone@example.test", APP, ""),
    "tombstone, web password as well": ("both@example.test", APP, ""),
    "expired": ("expired@example.test", APP, ""),
    "suspended": ("suspended@example.test", APP, ""),
    "another service's": ("out-of-scope@example.test", APP, ""),
    "another network's": ("elsewhere@example.test", APP, ""),
    "for somebody else": ("web@example.test", WEB, "root@example.test"),
}
RIGHT = {"app password": ("ten@example.test", APP, ""), "web password": ("web@example.test", WEB, "")}


def accounts() -> MemoryPassdb:
    passdb = SlowPassdb()
    add = passdb.add
    add("web@example.test", WEB)
    add("unset@example.test")
    for login, count in (("one@example.test", 1), ("ten@example.test", 10)):
        add(login, WEB, mode_on=True)
        for number in range(count):
            passdb.mint(login, APP if number == 0 else f"{number}" * 16)
    enforced = Demand(PolicyLevel.ENFORCED, None, False, False, None, False)
    add("enforced@example.test", WEB, demands=(NO_DEMAND, enforced, NO_DEMAND))
    add("disabled@example.test", WEB, enabled=False)
    add("domain-disabled@example.test", WEB, domain_enabled=False)
    add("logon-off@example.test", WEB, client_logon=False)
    add("service-off@example.test", WEB, services=frozenset())
    for login in ("disabled", "domain-disabled", "logon-off", "service-off"):
        passdb.mint(f"{login}@example.test", APP)
    for login, terms in {
        "tombstone": {"revoked": True},
        "both": {"revoked": True},
        "expired": {"expires_at": NOW - HOUR_S},
        "suspended": {"suspended": True},
        "out-of-scope": {"services": frozenset()},
        "elsewhere": {"networks": ("198.51.100.0/24",)},
    }.items():
        add(f"{login}@example.test", APP if login == "both" else WEB, mode_on=login != "both")
        passdb.mint(f"{login}@example.test", APP, **terms)
    return passdb


class SlowPassdb(MemoryPassdb):
    """A lookup takes its time, and what is found takes more."""

    async def lookup(self, login: str, selectors: Any) -> Account | None:
        account = await super().lookup(login, selectors)
        await asyncio.sleep(LOOKUP_S * (1 if account is None else 2 + len(account.hits)))
        return account


class SlowHashes(PlainHashes):
    """A hash takes its time. busy: there is no place for another."""

    def __init__(self, hash_s: float = HASH_S) -> None:
        super().__init__()
        self.hash_s = hash_s
        self.busy = False

    async def verify(self, record: str, secret: bytes, lane: Lane = Lane.ORDINARY) -> bool:
        if self.busy:
            raise PoolBusy("full")
        await asyncio.sleep(self.hash_s)
        return await super().verify(record, secret, lane)


@dataclass
class Site:
    """All three doors in front of one verifier."""

    hashes: SlowHashes = field(default_factory=SlowHashes)
    delay_s: float = DELAY_S

    def __post_init__(self) -> None:
        self.census = Census(1000, 1000)
        self.clock = RefusalClock(self.delay_s)
        self.verifier = Verifier(
            accounts(), LengthKeys(), self.hashes, Events(), refusal_delay_s=self.delay_s, clock=lambda: NOW
        )
        self.doors: Mapping[Service, Callable[[], asyncio.Protocol]] = {
            Service.IMAP: partial(LineConnection, self._house(imap(clear=True, max_failures=100)), PROXIED),
            Service.POP3: partial(LineConnection, self._house(pop3(clear=True, max_failures=100)), PROXIED),
            Service.SMTP: partial(
                SubmissionProtocol,
                SmtpHouse(
                    hostname="mail.example.test",
                    authenticator=self.verifier,
                    handler=object(),
                    census=self.census,
                    tls="off",
                    hold=self.clock.hold,
                    limits=Limits(max_failures=100),
                ),
                PROXIED,
            ),
        }

    def _house(self, dialogue: Any) -> House:
        return House(dialogue, self.verifier, self.census, self.clock, TimeLimits(login_s=600), None, lobby)

    @asynccontextmanager
    async def client(self, service: Service) -> AsyncIterator[Client]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        await loop.connect_accepted_socket(self.doors[service], theirs)
        reader, writer = await asyncio.open_connection(sock=ours)
        client = Client(service, reader, writer)
        await client.greeted()
        yield client
        writer.close()
        await writer.wait_closed()


@dataclass
class Client:
    service: Service
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def greeted(self) -> None:
        await self.reader.readline()
        if self.service is Service.SMTP:
            await self.say(b"EHLO x")
            while (await self.reader.readline())[3:4] == b"-":
                pass

    async def say(self, line: bytes) -> None:
        self.writer.write(line + b"\r\n")
        await self.writer.drain()

    async def log_in(self, login: str, password: str, authzid: str) -> tuple[float, float, bytes]:
        """When the attempt came, when the answer left, and what it was."""
        verb = {Service.IMAP: b"a AUTHENTICATE PLAIN ", Service.POP3: b"AUTH PLAIN ", Service.SMTP: b"AUTH PLAIN "}
        message = base64.b64encode(f"{authzid}\0{login}\0{password}".encode())
        arrived = virtual_time.now()
        await self.say(verb[self.service] + message)
        reply = await self.reader.readline()
        return arrived, virtual_time.now(), reply


REFUSED = {
    Service.IMAP: b"a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n",
    Service.POP3: b"-ERR [AUTH] Authentication failed.\r\n",
    Service.SMTP: b"535 5.7.8 Authentication failed.\r\n",
}
DEFERRED = {
    Service.IMAP: b"a NO [UNAVAILABLE] Temporary authentication failure, try again later.\r\n",
    Service.POP3: b"-ERR [SYS/TEMP] Temporary authentication failure, try again later.\r\n",
    Service.SMTP: b"454 4.7.0 Temporary authentication failure, try again later\r\n",
}
ACCEPTED = {Service.IMAP: b"a OK ", Service.POP3: b"+OK ", Service.SMTP: b"235 "}


def leaves_at(arrived: float, earlier_count: int = 0, delay_s: float = DELAY_S) -> float:
    """The one function of the arrival."""
    factor = FACTORS[min(earlier_count, len(FACTORS) - 1)]
    return math.ceil((arrived + factor * delay_s) / TICK_S) * TICK_S


PHASES_S = (0.0, 0.013, 0.05, 0.0999, 0.371)  # of the arrival, between two ticks


def at_all_doors(main: Callable[[Service], Any]) -> None:
    for service in Service:
        virtual_time.run(main(service))


@pytest.mark.parametrize("case", CASES)
def test_a_refusal_leaves_at_its_tick_whatever_it_is_for(case: str) -> None:
    async def main(service: Service) -> None:
        site = Site()
        for phase_s in PHASES_S:
            async with site.client(service) as client:
                await asyncio.sleep(phase_s)
                arrived, left, reply = await client.log_in(*CASES[case])
                assert reply == REFUSED[service]
                assert left == pytest.approx(leaves_at(arrived), abs=1e-6)

    at_all_doors(main)


def test_refusals_of_every_class_that_come_together_leave_together() -> None:
    async def main(service: Service) -> None:
        site = Site()

        async def refused(case: tuple[str, str, str]) -> float:
            async with site.client(service) as client:
                await asyncio.sleep(3.456 - virtual_time.now() % 1.0)
                arrived, left, reply = await client.log_in(*case)
                assert reply == REFUSED[service]
                assert left == pytest.approx(leaves_at(arrived), abs=1e-6)
                return left

        together = set(await asyncio.gather(*map(refused, CASES.values())))
        assert len(together) == 1

    at_all_doors(main)


@pytest.mark.parametrize("hash_s", [0.0, 0.3, DELAY_S - 0.5])
def test_whatever_a_hash_takes_it_does_not_show(hash_s: float) -> None:
    async def main(service: Service) -> None:
        site = Site(SlowHashes(hash_s))
        for case in CASES.values():
            async with site.client(service) as client:
                arrived, left, reply = await client.log_in(*case)
                assert (reply, left) == (REFUSED[service], pytest.approx(leaves_at(arrived), abs=1e-6))

    at_all_doors(main)


def test_refusals_on_one_connection_slow_down_alike_for_every_class() -> None:
    async def main(service: Service) -> None:
        site = Site()
        for case in CASES.values():
            async with site.client(service) as client:
                for earlier_count in range(len(FACTORS) + 2):
                    arrived, left, reply = await client.log_in(*case)
                    assert reply == REFUSED[service]
                    assert left == pytest.approx(leaves_at(arrived, earlier_count), abs=1e-6)

    at_all_doors(main)


@pytest.mark.parametrize("busy", [False, True], ids=["slow", "no place"])
def test_with_the_pool_held_full_every_refusal_is_deferred_in_the_same_words(busy: bool) -> None:
    async def main(service: Service) -> None:
        site = Site()
        site.hashes.full, site.hashes.busy = True, busy
        heard = set()
        for case in CASES.values():
            async with site.client(service) as client:
                heard.add((await client.log_in(*case))[2])
        assert heard == {DEFERRED[service]}
        for right in RIGHT.values():
            async with site.client(service) as client:
                _, _, reply = await client.log_in(*right)
                assert reply == DEFERRED[service] if busy else reply.startswith(ACCEPTED[service])

    at_all_doors(main)


def test_a_refusal_that_missed_its_tick_is_none_and_slows_nothing_down() -> None:
    """The next one leaves as the first on a connection does: or its wait would tell what was computed before."""

    async def main(service: Service) -> None:
        hashes = SlowHashes(DELAY_S + 2 * TICK_S)
        site = Site(hashes)
        async with site.client(service) as client:
            for number in range(len(FACTORS)):
                arrived, left, reply = await client.log_in("web@example.test", f"wrong {number}", "")
                assert reply == DEFERRED[service]
                assert left > leaves_at(arrived)
            hashes.hash_s = 0.0
            arrived, left, reply = await client.log_in(*CASES["unknown login"])
            assert (reply, left) == (REFUSED[service], pytest.approx(leaves_at(arrived), abs=1e-6))

    at_all_doors(main)


@pytest.mark.parametrize("right", RIGHT)
def test_who_gets_in_waits_for_no_tick(right: str) -> None:
    async def main(service: Service) -> None:
        site = Site()
        async with site.client(service) as client:
            arrived, left, reply = await client.log_in(*RIGHT[right])
            assert reply.startswith(ACCEPTED[service])
            assert left - arrived < leaves_at(arrived) - arrived

    at_all_doors(main)
