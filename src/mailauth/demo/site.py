"""The demo site: made at the first start, gone on with at every later one.

Rule: what is there is kept as it is, whatever the user did with it in between. Only what the demo could not print
any more is replaced: an app password that was revoked, an account that was removed.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from pathlib import Path

from mailauth import compose, config
from mailauth.accounts import apppasswords, mailboxes, roleholders
from mailauth.accounts.changes import AccountChange
from mailauth.accounts.roles import Role
from mailauth.apppassword import clean
from mailauth.attempt import Service
from mailauth.config import Settings
from mailauth.demo import welcome
from mailauth.demo.memory import Memory
from mailauth.demo.passphrase import passphrase
from mailauth.founding.ports import LISTENERS, LOOPBACK, PORTAL
from mailauth.founding.site import Layout, found
from mailauth.hashing import records
from mailauth.hashing.argon2id import Argon2id
from mailauth.interfaces import Account, Selectors
from mailauth.keys import KeyRing
from mailauth.mailbox.maildir import MaildirMailboxes
from mailauth.store.engine import Store
from mailauth.store.passdb import open_passdb

ACCOUNT = "alice@example.test"
ADMINISTRATOR = "admin@example.test"
LABEL = "Demo"
ACTOR = "demo"


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that can be served. changed: whose web password is another by now than memory's."""

    settings: Settings
    memory: Memory
    changed: frozenset[str]


def prepare(folder: Path, port_offset: int | None) -> Demo:
    """Make the demo site, or go on with the one in this folder.

    port_offset: None: as it is there, 0 at first. Raises what founding, config, compose and accounts raise.
    """
    layout = Layout(folder)
    if not layout.config.exists():
        found(folder, port_offset or 0)
    elif port_offset is not None:
        _move_ports(layout.config, port_offset)
    settings = config.load(layout.config)
    store, ring = compose.opened_store(settings)
    hashing = settings.hashing
    hasher = Argon2id(hashing.time_cost, hashing.memory_kib, hashing.parallelism)
    people = _People(store, ring, hasher, settings.policy.app_password_alphabet)
    try:
        memory = _memory(people, settings, layout, Memory.read(folder))
    finally:
        store.close()
    memory.write(folder)
    return Demo(settings, memory, frozenset(people.changed))


def _memory(people: _People, settings: Settings, layout: Layout, kept: Memory | None) -> Memory:
    """Everybody of the demo, made if they are not there, and what can be printed of them."""
    web, account = people.person(ACCOUNT, kept.web_password if kept else None)
    if account is None:
        mailboxes.set_account(people.store, ACCOUNT, AccountChange(mode=True), actor=ACTOR)
        asyncio.run(_welcome(settings, layout))
    administrator, there = people.person(ADMINISTRATOR, kept.administrator_password if kept else None)
    if there is None:
        roleholders.set_role(people.store, ADMINISTRATOR, Role.SITE_ADMIN, actor=ACTOR)
    minted = people.app_password(kept.app_password if kept and account else None)
    portal = "" if settings.portal is None else settings.portal.public_url
    alice = (ACCOUNT, web, minted, _ports(settings), str(layout.authority))
    return Memory(*alice, ADMINISTRATOR, administrator, portal)


@dataclass(frozen=True, slots=True)
class _People:
    """Makes and finds accounts. changed: whose web password is another than the one that was kept."""

    store: Store
    ring: KeyRing
    hasher: Argon2id
    alphabet: str
    changed: set[str] = field(default_factory=set)

    def person(self, login: str, kept: str | None) -> tuple[str, Account | None]:
        """The web password of an account, and the account as it was: None: it has just been made."""
        web = kept or passphrase()
        account = asyncio.run(_lookup(self.store, self.ring, login, ()))
        if account is None:
            mailboxes.add_account(self.store, login, self.hasher.hash(web.encode()), actor=ACTOR)
        elif kept is None:  # demo.json is gone, and what it held nobody knows any more
            mailboxes.set_web_password(self.store, login, self.hasher.hash(web.encode()), True, actor=ACTOR)
        elif account.web_record is None or not records.verify(account.web_record, web.encode()):
            self.changed.add(login)
        return web, account

    def app_password(self, kept: str | None) -> str:
        """The one that was kept, if it still opens everything; else a new one."""
        cleaned = clean(kept.encode()) if kept else None
        if kept and cleaned:
            account = asyncio.run(_lookup(self.store, self.ring, ACCOUNT, self.ring.selectors(ACCOUNT, cleaned)))
            if account is not None and _opens(account, kept):
                return kept
        return apppasswords.mint(
            self.store, self.ring, self.hasher, ACCOUNT, label=LABEL, alphabet=self.alphabet, actor=ACTOR
        ).password


async def _lookup(store: Store, ring: KeyRing, login: str, selectors: Selectors) -> Account | None:
    passdb = open_passdb(store, ring.ids)
    try:
        return await passdb.lookup(login, selectors)
    finally:
        await passdb.close()


def _opens(account: Account, kept: str) -> bool:
    """Whether this is an app password of the account that opens everything from here, as when it was minted."""
    return any(
        not (hit.revoked or hit.suspended or hit.networks or hit.expires_at is not None)
        and hit.services == frozenset(Service)
        and records.verify(hit.record, kept.encode())
        for hit in account.hits
    )


async def _welcome(settings: Settings, layout: Layout) -> None:
    message = welcome.message(ACCOUNT, str(layout.config))
    await MaildirMailboxes(settings.mailbox.path).deliver(ACCOUNT, message, "")


def _ports(settings: Settings) -> dict[str, dict[str, int]]:
    """By service and tls; of several, the first."""
    ports: dict[str, dict[str, int]] = {}
    for listen in settings.listen:
        ports.setdefault(str(listen.service), {}).setdefault(listen.tls, listen.address.port)
    return ports


def _move_ports(path: Path, offset: int) -> None:
    """Write other ports into the addresses that `found` wrote, and leave everything else in the file alone."""
    text = path.read_text(encoding="utf-8")
    for service, tls, port in LISTENERS:
        address = (
            rf'(service = "{service}"(?:\n#.*)*\naddress = )"{re.escape(LOOPBACK)}:\d+"((?:\n#.*)*\ntls = "{tls}")'
        )
        text = re.sub(address, rf'\g<1>"{LOOPBACK}:{port + offset}"\2', text)
    portal = rf'(address = )"{re.escape(LOOPBACK)}:\d+"((?:\n#.*)*\npublic_url = )"http://localhost:\d+"'
    text = re.sub(portal, rf'\g<1>"{LOOPBACK}:{PORTAL + offset}"\g<2>"http://localhost:{PORTAL + offset}"', text)
    draft = path.with_name(path.name + ".new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
