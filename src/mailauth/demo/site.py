"""The demo site: made at the first start, gone on with at every later one.

Rule: what is there is kept as it is, whatever the user did with it in between. Only what the demo could not print
any more is replaced: an app password that was revoked, an account that was removed.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

from mailauth import compose, config
from mailauth.accounts import apppasswords, mailboxes
from mailauth.accounts.changes import AccountChange
from mailauth.apppassword import clean
from mailauth.attempt import Service
from mailauth.config import Settings
from mailauth.demo import welcome
from mailauth.demo.memory import Memory
from mailauth.demo.passphrase import passphrase
from mailauth.founding.ports import LISTENERS, LOOPBACK
from mailauth.founding.site import Layout, found
from mailauth.hashing import records
from mailauth.hashing.argon2id import Argon2id
from mailauth.interfaces import Account
from mailauth.keys import KeyRing
from mailauth.mailbox.maildir import MaildirMailboxes
from mailauth.store.engine import Store
from mailauth.store.passdb import open_passdb

ACCOUNT = "alice@example.test"
LABEL = "Demo"
ACTOR = "demo"


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that can be served. web_password_holds: whether memory's web password is still the account's."""

    settings: Settings
    memory: Memory
    web_password_holds: bool


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
    try:
        memory, holds = _account(store, ring, settings, Memory.read(folder), layout)
    finally:
        store.close()
    memory.write(folder)
    return Demo(settings, memory, holds)


def _account(
    store: Store, ring: KeyRing, settings: Settings, kept: Memory | None, layout: Layout
) -> tuple[Memory, bool]:
    """What can be printed of the account, and whether the web password of it still holds."""
    hashing = settings.hashing
    hasher = Argon2id(hashing.time_cost, hashing.memory_kib, hashing.parallelism)
    web = kept.web_password if kept else passphrase()
    account = asyncio.run(_lookup(store, ring, kept))
    if account is None:
        mailboxes.add_account(store, ACCOUNT, hasher.hash(web.encode()), actor=ACTOR)
        mailboxes.set_account(store, ACCOUNT, AccountChange(mode=True), actor=ACTOR)
        asyncio.run(_welcome(settings, layout))
    elif kept is None:  # demo.json is gone, and what it held nobody knows any more
        mailboxes.set_web_password(store, ACCOUNT, hasher.hash(web.encode()), True, actor=ACTOR)
    if kept and account and _opens(account, kept.app_password):
        minted = kept.app_password
    else:
        minted = apppasswords.mint(
            store, ring, hasher, ACCOUNT, label=LABEL, alphabet=settings.policy.app_password_alphabet, actor=ACTOR
        ).password
    holds = account is None or kept is None or _is_web_password(account, web)
    return Memory(ACCOUNT, web, minted, _ports(settings), str(layout.authority)), holds


async def _lookup(store: Store, ring: KeyRing, kept: Memory | None) -> Account | None:
    """The account, with the app password that was kept, if it is still there."""
    passdb = open_passdb(store, ring.ids)
    cleaned = clean(kept.app_password.encode()) if kept else None
    try:
        return await passdb.lookup(ACCOUNT, ring.selectors(ACCOUNT, cleaned) if cleaned else ())
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


def _is_web_password(account: Account, web: str) -> bool:
    return account.web_record is not None and records.verify(account.web_record, web.encode())


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
    draft = path.with_name(path.name + ".new")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
