"""What a page of the portal costs: requests a second of one process, and how long one takes, among many accounts.

    .venv/bin/python bench/portal.py [--accounts 100000] [--seconds 5] [--connections 8]

A site is made in a temporary folder and served as it is. Its accounts are rows copied from one real account, so that
100,000 are there in seconds. Somebody signs in as browsers do; then connections that are kept ask for one page again
and again. First comes each page alone on one connection: that is the time of the server for a first paint.
Rule: what is measured is the product as it is served, session and account read from the store at each request.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from mailauth.accounts import apppasswords, mailboxes, roleholders
from mailauth.accounts.roles import Role
from mailauth.attempt import Service
from mailauth.founding.site import found
from mailauth.hashing.argon2id import Argon2id
from mailauth.keys import KeyRing
from mailauth.store.engine import open_store
from processes import HOST, Server, free_ports

ADMIN, WEB, ACTOR, LABEL = "admin@example.test", "correct horse battery", "bench", "device"
GOAL_S, GOAL_RATE = 0.1, 200
ALONE = 50
PAGES = {
    "sign-in": "/signin",
    "overview": "/",
    "client passwords": "/passwords",
    "security": "/security",
    "activity": "/activity",
    "accounts (search)": "/admin/accounts?text=user5",
    "account (administration)": "/admin/accounts/user50@example.test",
}
CONFIGURATION = """\
[store]
url = "sqlite:///{layout.store.name}"
[key]
file = "{layout.keys.name}"
[log]
file = "login.log"
[portal]
address = "127.0.0.1:{port}"
public_url = "http://localhost:{port}"
"""


@dataclass(frozen=True)
class Site:
    """A running portal, and the cookies of who is signed in to it."""

    server: Server
    port: int
    cookies: str


def main() -> int:
    """Measure and print; 1 if a goal is not reached or an answer is not 200."""
    parser = argparse.ArgumentParser(prog="bench/portal.py", description="What a page of the portal costs.")
    parser.add_argument("--accounts", type=int, default=100_000, help="in the store (%(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load, for each page (%(default)s)")
    parser.add_argument("--connections", type=int, default=8, help="at the same time (%(default)s)")
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory(prefix="mailauth-portal-") as name, _served(Path(name), options.accounts) as site:
        print(f"{options.accounts} accounts, {options.connections} connections, {os.cpu_count()} processors")
        print("| page | alone p50 ms | alone p99 ms | requests/s | p99 ms | CPU ms/request |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        for page, path in PAGES.items():
            alone, rate, loaded, cpu_s = asyncio.run(_measure(site, path, options.seconds, options.connections))
            times = [_ms(at) for at in (alone[len(alone) // 2], alone[-1])]
            print(f"| {page} | {' | '.join(times)} | {rate:,.0f} | {_ms(loaded)} | {cpu_s * 1000:.2f} |", flush=True)
            missed += statistics.median(alone) > GOAL_S or (page.startswith("account (") and rate < GOAL_RATE)
    print(f"goals: a first paint in {GOAL_S * 1000:g} ms, {GOAL_RATE} requests/s on the account page")
    return 1 if missed else 0


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


@contextmanager
def _served(folder: Path, accounts: int) -> Iterator[Site]:
    layout = found(folder / "site")
    (port,) = free_ports(1)
    layout.config.write_text(CONFIGURATION.format(layout=layout, port=port))
    _fill(layout.store, layout.keys, accounts)
    command = [sys.executable, "-m", "mailauth", "serve", "--config", layout.config]
    with Server(command, [port], folder / "server.log") as server:
        cookies = asyncio.run(_sign_in(port))
        with closing(sqlite3.connect(layout.store)) as database, database:  # as if a strong factor had been shown
            database.execute("UPDATE portal_sessions SET factor = 'totp'")
        yield Site(server, port, cookies)


def _fill(path: Path, keys: Path, accounts: int) -> None:
    store, ring, quick = open_store(f"sqlite:///{path}"), KeyRing.load(keys), Argon2id(1, 8, 1)
    try:
        mailboxes.add_account(store, "user0@example.test", quick.hash(WEB.encode()), actor=ACTOR)
        mailboxes.add_account(store, ADMIN, quick.hash(WEB.encode()), actor=ACTOR)
        roleholders.set_role(store, ADMIN, Role.SITE_ADMIN, actor=ACTOR)
        for number in range(10):
            apppasswords.mint(
                store, ring, quick, ADMIN, label=f"{LABEL} {number}", services=tuple(Service), actor=ACTOR
            )
    finally:
        store.close()
    with closing(sqlite3.connect(path)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(accounts)") if row[1] not in {"id", "login"}]
        names = ", ".join(columns)
        database.execute(
            f"INSERT INTO accounts (login, {names}) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
            f" WHERE i < ?) SELECT 'user' || i || '@example.test', {names} FROM n, accounts"
            " WHERE login = 'user0@example.test'",
            (accounts,),
        )


async def _sign_in(port: int) -> str:
    async with httpx2.AsyncClient(base_url=f"http://localhost:{port}") as browser:
        page = await browser.get("/signin")
        token = re.search(r'name="csrf" value="([^"]*)"', page.text)
        assert token
        fields = {"csrf": token[1], "address": ADMIN, "password": WEB}
        answer = await browser.post("/signin", data=fields)
        assert answer.status_code == 303, answer.text
        return "; ".join([f"{name}={value}" for name, value in browser.cookies.items()])


async def _measure(site: Site, path: str, seconds: float, connections: int) -> tuple[list[float], float, float, float]:
    """Times of requests alone, sorted; then, of many: requests a second, p99, CPU seconds of each."""
    cookies = "" if path == "/signin" else site.cookies
    alone = sorted(await _asked(site.port, path, cookies, count=ALONE))
    cpu_s, began = site.server.cpu_s(), time.monotonic()
    until = began + seconds
    done = await asyncio.gather(*[_asked(site.port, path, cookies, until=until) for _ in range(connections)])
    times = sorted([one for each in done for one in each])
    took = time.monotonic() - began
    return alone, len(times) / took, times[len(times) * 99 // 100], (site.server.cpu_s() - cpu_s) / len(times)


async def _asked(port: int, path: str, cookies: str, *, count: int = 10**9, until: float = float("inf")) -> list[float]:
    reader, writer = await asyncio.open_connection(HOST, port)
    cookie = f"Cookie: {cookies}\r\n" if cookies else ""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nAccept-Language: en\r\n{cookie}\r\n".encode()
    times: list[float] = []
    while len(times) < count and time.monotonic() < until:
        began = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        body = await reader.readexactly(int(length[1]) if length else 0)
        times.append(time.monotonic() - began)
        if b" 200 " not in head[:20]:
            raise SystemExit(f"{path}: {head.decode()}{body[:500].decode()}")
    writer.close()
    return times


if __name__ == "__main__":
    sys.exit(main())
