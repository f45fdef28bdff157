"""Administrators of a portal for tests: each with an authenticator app, signed in with it, and proving with it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pyotp
from portal_site import ALICE, Browser, Reply, Site

from mailauth.accounts import roleholders
from mailauth.accounts.domains import add_domain
from mailauth.accounts.roles import Role
from mailauth.guessing import ACCOUNT, NETWORK, SOURCE
from mailauth.store import observations
from mailauth.store.observations import Kind

EVE = "eve@other.test"
ACTOR = "test"
LOGINS = {
    Role.SITE_ADMIN: "root@example.test",
    Role.DOMAIN_ADMIN: "chief@example.test",
    Role.AUDITOR: "auditor@example.test",
}


@dataclass
class Admin:
    """One of them, at his browser."""

    site: Site
    login: str
    browser: Browser
    app: pyotp.TOTP

    def code(self) -> str:
        """Of a period that no code was used of."""
        self.site.clock.now += 60
        return self.app.at(self.site.clock())

    async def get(self, path: str) -> Reply:
        return await self.browser.get(path)

    async def proof(self, path: str, **fields: Any) -> Reply:
        """Post a form of this page; the page of the proof, or what else is answered."""
        page = await self.get(path)
        assert page.status in {200, 405}, f"{path}: {page.status} {page.text}"
        return await self.browser.follow(await self.browser.post(path.partition("?")[0], **fields))

    async def do(self, path: str, **fields: Any) -> Reply:
        """The same, proven; and on to where that leads."""
        return await self.prove(await self.proof(path, **fields))

    async def prove(self, page: Reply) -> Reply:
        assert page.path.startswith("/proof/"), f"{page.path}: {page.status} {page.text}"
        return await self.browser.follow(await self.browser.post(page.path, way="totp", code=self.code()))


async def administrator(site: Site, role: Role, login: str = "", *, domains: tuple[str, ...] = (), **kw: Any) -> Admin:
    """Somebody with this role, signed in."""
    login = login or LOGINS[role]
    site.add(login)
    app = await site.enrol_totp(login)
    roleholders.set_role(site.store, login, role, domains, actor=ACTOR)
    return await signed_in(site, login, app, **kw)


async def signed_in(site: Site, login: str, app: pyotp.TOTP, **kw: Any) -> Admin:
    admin = Admin(site, login, site.browser(**kw), app)
    page = await admin.browser.sign_in(login)
    assert page.path == "/signin/second/totp", page.text
    done = await admin.browser.follow(await admin.browser.post(page.path, way="totp", code=admin.code()))
    assert done.status == 200, done.text
    return admin


@dataclass
class Letters:
    """portal.house.Post that keeps what it is given."""

    is_well: bool = True
    sent: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)

    async def __call__(self, to: str, language: str, kind: str, **values: str) -> bool:
        self.sent.append((to, language, kind, values))
        return self.is_well


def with_post(site: Site, letters: Letters) -> Letters:
    object.__setattr__(site.house, "post", letters)
    return letters


def populated(site: Site) -> None:
    """A user in each of two domains."""
    add_domain(site.store, "other.test", actor=ACTOR)
    site.add(ALICE)
    site.add(EVE)


def slow_down(site: Site, *subjects: tuple[str, str]) -> None:
    """Have these spent all that they may guess. subjects: kind and subject."""
    limits = {limit.kind: limit for limit in (SOURCE, NETWORK, ACCOUNT)}
    with site.store.transaction() as tx:
        for kind, subject in subjects:
            limit = limits[kind]
            spent = {"added": limit.guesses * 2.0, "most": limit.guesses * 2.0, "refill_s": limit.refill_s}
            tx.write(site.store.sql.ADD_GUESSES, kind=kind, subject=subject, now=site.clock(), **spent)


def observed(site: Site, *logins: str, client: str = "Outlook", at: float | None = None) -> None:
    """Programs of these get in with the web password, and would not if that were enforced."""
    at = site.clock() if at is None else at
    seen = {"kind": str(Kind.WOULD_BREAK), "network": "192.0.2.0/24", "service": "imap", "client": client}
    rest = {"credential_id": 0, "first_at": at - 86400, "last_at": at, "count": 7}
    rows = [{"account_id": site.account_id(login), **seen, **rest} for login in logins]
    with site.store.transaction() as tx:
        observations.write(site.store, tx, rows)


def secret_of(page: Reply) -> str:
    """What is shown once."""
    (secret,) = re.findall(r'data-plain="([^"]*)"', page.html)
    return str(secret)
