"""Attacks on a served site, and what the owner sees meanwhile: `python bench/attack.py [--seconds 60]`.

Guesses come over IMAP from addresses of 127.0.0.0/8, each of which is a source of its own (Linux lets a client choose).
Refusals leave at once here (`refusal_delay_s = 0`), so that it is the throttle that holds guessing back, and nothing
else. A guess is judged when it was refused as wrong; what was deferred says nothing about the password.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mailauth.accounts.changes import AccountChange
from mailauth.accounts.mailboxes import set_account, set_web_password
from mailauth.hashing.argon2id import Argon2id
from mailauth.store.engine import open_store
from testsite import ACTOR, Site, make

GUESSERS = 8  # connections that guess at the same time
OWNER_EVERY_S = 1.0
VICTIM = "user0001@example.test"
WEB_PASSWORD = "correct horse battery staple"
ACCOUNTS = 20


@dataclass
class Seen:
    """What came of the tries of one party. waits: seconds from connect to verdict."""

    verdicts: Counter[str] = field(default_factory=Counter)
    waits: list[float] = field(default_factory=list)


async def ask(port: int, source: str, login: str, password: str) -> str:
    """One login: accepted, wrong, deferred, or closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    try:
        await reader.readline()
        writer.write(b'a LOGIN "%b" "%b"\r\n' % (login.encode(), password.encode()))
        answer = await reader.readline()
    finally:
        writer.close()
    if answer.startswith(b"a OK"):
        return "accepted"
    return {b"[AUTHENTICATIONFAILED]": "wrong", b"[UNAVAILABLE]": "deferred"}.get(answer.split()[2:3][0], "closed")


async def guess(port: int, until: float, seen: Seen, tries: Iterator[tuple[str, str, str]]) -> None:
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            seen.verdicts[await ask(port, *next(tries))] += 1
        except (OSError, IndexError):
            seen.verdicts["closed"] += 1
        seen.waits.append(time.monotonic() - began)


async def own(port: int, until: float, seen: Seen, source: str, password: str) -> None:
    while time.monotonic() < until:
        began = time.monotonic()
        seen.verdicts[await ask(port, source, VICTIM, password)] += 1
        seen.waits.append(time.monotonic() - began)
        await asyncio.sleep(OWNER_EVERY_S)


def one_source() -> Iterator[tuple[str, str, str]]:
    return (("127.9.0.1", VICTIM, f"guess number {n}") for n in itertools.count())


def many_sources() -> Iterator[tuple[str, str, str]]:
    return ((f"127.{20 + n % 200}.{n // 200 % 250}.1", VICTIM, f"guess number {n}") for n in itertools.count())


def spray() -> Iterator[tuple[str, str, str]]:
    return (("127.8.0.1", f"name{n}@example.test", "Spring2027!") for n in itertools.count())


def many_sources_many_accounts() -> Iterator[tuple[str, str, str]]:
    return (
        (f"127.{20 + n % 200}.{n // 200 % 250}.2", f"user{n % ACCOUNTS:04}@example.test", f"guess number {n}")
        for n in itertools.count()
    )


ATTACKS: dict[str, Callable[[], Iterator[tuple[str, str, str]]]] = {
    "one source, one account": one_source,
    "one source, one password, many names": spray,
    "many sources, one account": many_sources,
    "many sources, many accounts": many_sources_many_accounts,
}


async def attack(site: Site, name: str, seconds: float) -> list[str]:
    """One attack on a server of its own; the lines that tell of it."""
    guesses, by_app, by_web, elsewhere = Seen(), Seen(), Seen(), Seen()
    app_password = next(account.passwords[0] for account in site.accounts if account.login == VICTIM)
    with site.serve(throttled=True, refusal_delay_s=0.0) as running:
        port = running.ports["imap"]
        # The owner was here before: the web password from home, the phone from anywhere.
        assert await ask(port, "127.5.0.1", VICTIM, WEB_PASSWORD) == "accepted"
        until = time.monotonic() + seconds
        tries = ATTACKS[name]()
        await asyncio.gather(
            *[guess(port, until, guesses, tries) for _ in range(GUESSERS)],
            own(port, until, by_app, "127.6.0.1", app_password),
            own(port, until, by_web, "127.5.0.1", WEB_PASSWORD),
            own(port, until, elsewhere, "127.7.0.1", WEB_PASSWORD),
        )
    minutes = seconds / 60
    judged, deferred = guesses.verdicts["wrong"], guesses.verdicts["deferred"]
    return [
        (
            f"{name}: {sum(guesses.verdicts.values()) / minutes:,.0f} tries a minute, "
            f"{judged / minutes:,.0f} judged, {deferred / minutes:,.0f} deferred"
        ),
        *[
            f"    the owner's {whose}: {_told(seen)}"
            for whose, seen in (
                ("app password, from a new address", by_app),
                ("web password, from home", by_web),
                ("web password, from a new address", elsewhere),
            )
        ],
    ]


def _told(seen: Seen) -> str:
    waits = sorted(seen.waits)
    got_in = seen.verdicts["accepted"]
    return f"{got_in} of {len(waits)} accepted, p95 {waits[int(len(waits) * 0.95)] * 1000:.0f} ms"


def main() -> None:
    """Run all attacks, one after another, each on a store of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each attack lasts")
    options = parser.parse_args()
    for number, name in enumerate(ATTACKS):
        with tempfile.TemporaryDirectory(prefix="mailauth-attack-") as folder:
            site = make(Path(folder) / str(number), ACCOUNTS, lambda _: None)
            store = open_store(f"sqlite:///{site.layout.store}")
            for account in site.accounts:
                set_account(store, account.login, AccountChange(mode=False), actor=ACTOR)
                record = Argon2id().hash(WEB_PASSWORD.encode())
                set_web_password(store, account.login, record, keep_app_passwords=True, actor=ACTOR)
            print(*asyncio.run(attack(site, name, options.seconds)), sep="\n", flush=True)


if __name__ == "__main__":
    main()
