"""The portal for tests: the whole application over a real store, and a browser without a screen."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pyotp
from outside_world import PLACES, Outside

from mailauth.accounts import mailboxes
from mailauth.accounts.changes import AccountChange
from mailauth.accounts.means import Means, Rules
from mailauth.factors.factor import Hashing
from mailauth.interfaces import WebMatch
from mailauth.keys import KeyRing
from mailauth.portal.app import portal
from mailauth.portal.house import House, MailServer
from mailauth.portal.rendering import Rendering
from mailauth.store.engine import Store

ORIGIN = "http://localhost:8080"
ALICE = "alice@example.test"
BOB = "bob@example.test"
PASSWORD = "correct horse battery"
PEER = "192.0.2.7"
ACTOR = "test"
START = 1_800_000_000.0
FIELD = re.compile(r'<input type="hidden" name="csrf" value="([^"]*)">')


def plain_hash(secret: bytes) -> str:
    return "plain:" + secret.hex()


SERVERS = (
    MailServer("imap", "mail.example.test", 993, True),
    MailServer("pop3", "mail.example.test", 995, True),
    MailServer("smtp", "mail.example.test", 587, False),
)
PLAIN = Hashing(plain_hash, lambda record, secret: record == plain_hash(secret))


class Plain:
    """A hash scheme that is quick."""

    def hash(self, secret: bytes) -> str:
        return plain_hash(secret)


class Passwords:
    """interfaces.WebPasswords over a dict. outcome: answers everybody, if set; asked: all but the secrets."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.known: dict[str, tuple[int, str]] = {}
        self.outcome: WebMatch | float | Exception | None = None
        self.asked: list[tuple[str, str, str]] = []

    async def check(self, login: str, password: str, peer: str, device: str = "") -> WebMatch | float | None:
        self.asked.append((login, peer, device))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if self.outcome is not None:
            return self.outcome
        account_id, right = self.known.get(login, (0, ""))
        with self._store.reading() as tx:
            row = tx.row(self._store.sql.ACCOUNT, login=login)
        changed_at = None if row is None else row["web_changed_at"]
        return WebMatch(account_id, login, changed_at) if right and password == right else None


class Connections:
    """portal.house.MailConnections with a list."""

    def __init__(self) -> None:
        self.open: Mapping[int | None, int] | None = {}

    async def open_now(self, account_id: int, login: str) -> Mapping[int | None, int] | None:
        return self.open


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """One portal."""

    store: Store
    ring: KeyRing
    kinds: tuple[str, ...] = ()
    rules: Rules = field(default_factory=Rules)
    origin: str = ORIGIN
    places: Mapping[str, str] = field(default_factory=lambda: PLACES)
    proxies: Any = ()
    clock: Any = field(default_factory=Clock)
    hashing: Hashing = PLAIN
    servers: tuple[MailServer, ...] = SERVERS
    passwords: Any = None
    connections: Any = field(default_factory=Connections)

    def __post_init__(self) -> None:
        self.passwords = self.passwords or Passwords(self.store)
        self.outside = Outside(self.origin, self.clock, self.places)
        factors = self.outside.factors(*self.kinds) if self.kinds else {}
        self.means = Means(self.store, lambda: self.ring, factors, self.hashing, self.rules)
        self.house = House(
            means=self.means,
            web_passwords=self.passwords,
            connections=self.connections,
            send=self.outside.send,
            rendering=Rendering("UTC", "Example Mail"),
            origin=self.origin,
            servers=self.servers,
            clock=self.clock,
        )
        self.app = portal(self.house, self.proxies)

    def add(self, login: str = ALICE, password: str = PASSWORD, **changes: object) -> str:
        mailboxes.add_account(self.store, login, plain_hash(password.encode()), actor=ACTOR, now=self.clock() - 1e6)
        if changes:
            self.change(login, **changes)
        self.passwords.known[login] = (self.account_id(login), password)
        return login

    def change(self, login: str = ALICE, **changes: object) -> None:
        change = AccountChange(**changes)  # type: ignore[arg-type]
        mailboxes.set_account(self.store, login, change, actor=ACTOR, now=self.clock() - 1e6)

    def account_id(self, login: str = ALICE) -> int:
        with self.store.reading() as tx:
            row = tx.row(self.store.sql.ACCOUNT, login=login)
        assert row is not None
        return int(row["id"])

    async def enrol_totp(self, login: str = ALICE, password: str = PASSWORD) -> pyotp.TOTP:
        """Set up an authenticator app for somebody who has no second factor yet."""
        browser = self.browser()
        await browser.sign_in(login, password)
        await browser.get("/security")
        proof = await browser.follow(await browser.post("/security/totp/add"))
        asked = await browser.post(proof.path, way="web-password", password=password)
        page = await browser.follow(asked)
        found = re.search(r"<p class=\"mono\">([A-Z2-7 ]+)</p>", page.html)
        assert found, page.text
        app = pyotp.TOTP(found[1].replace(" ", ""))
        code = app.at(self.clock())
        done = await browser.post(page.path, question=page.hidden("question"), code=code)
        assert done.to == "/security", done.text
        if isinstance(self.clock, Clock):
            self.clock.now += 60  # the next code
        return app

    def browser(self, *, peer: str = PEER, language: str = "en", bugs: bool = False, **headers: str) -> Browser:
        """bugs: they are answered, as to a real browser; else they are raised here."""
        transport = httpx2.ASGITransport(app=self.app, raise_app_exceptions=not bugs, client=(peer, 40000))
        sent = {"Accept-Language": language, "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Test/1.0", **headers}
        return Browser(httpx2.AsyncClient(transport=transport, base_url=self.origin, headers=sent))


@dataclass
class Reply:
    """What came back. text: of the page, its entities resolved."""

    response: httpx2.Response

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def html(self) -> str:
        return self.response.text

    @property
    def text(self) -> str:
        words = re.sub(r"<(script|style).*?</\1>|<[^>]*>", " ", self.html, flags=re.DOTALL)
        return " ".join(html.unescape(words).split())

    @property
    def to(self) -> str:
        return self.response.headers.get("location", "")

    @property
    def path(self) -> str:
        return self.response.url.path

    @property
    def csrf(self) -> str:
        found = FIELD.findall(self.html)
        assert found, f"{self.status}: no form in {self.text[:500]}"
        return html.unescape(found[-1])

    def hidden(self, name: str) -> str:
        """The value of a field of this name."""
        found = re.findall(rf'<input type="hidden" name="{name}" value="([^"]*)">', self.html)
        assert found, f"no field {name}"
        return html.unescape(found[-1])


@dataclass
class Browser:
    """Keeps cookies, and the last page. It follows no redirect by itself."""

    client: httpx2.AsyncClient
    page: Reply | None = None

    async def get(self, path: str, **headers: str) -> Reply:
        self.page = Reply(await self.client.get(path, headers=headers))
        return self.page

    async def follow(self, answer: Reply) -> Reply:
        """Go where one is sent, until one has arrived."""
        for _ in range(5):
            if answer.status not in {302, 303, 307}:
                return answer
            answer = await self.get(answer.to)
        raise AssertionError(f"sent on and on to {answer.to}")

    async def send(self, path: str, fields: Mapping[str, Any], **headers: str) -> Reply:
        """Post these fields and no others. headers: a name's underscores are hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return Reply(await self.client.post(path, data=dict(fields), headers=sent))

    async def post(self, path: str, **fields: Any) -> Reply:
        """Post a form with the token of the last page."""
        if self.page is None:
            await self.get(path)
        assert self.page is not None
        answer = await self.send(path, {"csrf": self.page.csrf, **fields})
        if "text/html" in answer.response.headers.get("content-type", "") and FIELD.search(answer.html):
            self.page = answer
        return answer

    async def sign_in(self, login: str = ALICE, password: str = PASSWORD) -> Reply:
        """The web password; and on to where that leads."""
        await self.get("/signin")
        return await self.follow(await self.post("/signin", address=login, password=password))
