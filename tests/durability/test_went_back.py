"""A store that is older than what is known of it: nothing starts on it, and what runs lets nobody in."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from backups import configured

from mailauth import config, open_authenticator
from mailauth.accounts import apppasswords, mailboxes
from mailauth.accounts.restored import take_away_again
from mailauth.assembly import open_core
from mailauth.attempt import Attempt, Credential, Service
from mailauth.demo.site import prepare
from mailauth.hashing.argon2id import Argon2id
from mailauth.serving import sessions
from mailauth.store.applier import LOOK_S
from mailauth.store.changes import Effect
from mailauth.store.engine import open_store
from mailauth.store.highwater import HighWater, StoreBehind
from mailauth.verdict import Accept, Cause, Defer, Reason, Reject

ALICE = "alice@example.test"
BY = {"actor": "test"}
QUICK = Argon2id(1, 8, 1)
PATIENCE_S = 30.0


@pytest.fixture
def settings(database, key_file, tmp_path):
    return config.load(configured(tmp_path, database.url.replace("postgres:@", "postgres@"), key_file))


@pytest.fixture
def phone(store, ring, highwater):
    mailboxes.add_account(store, ALICE, None, **BY)
    return apppasswords.mint(store, ring, QUICK, ALICE, label="Phone", **BY)


async def judged(core, minted):
    credential = Credential(ALICE, minted.password)
    return await core.verifier.authenticate(Attempt(credential, Service.IMAP, "192.0.2.1", True))


async def until(holds):
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


async def test_a_running_process_lets_nobody_in_until_it_was_said_what_became_of_the_store(
    settings, database, store, ring, phone, backup, caplog, monkeypatch
):
    monkeypatch.setattr(sessions, "CURRENT_S", 0.1)
    tablet = apppasswords.mint(store, ring, QUICK, ALICE, label="Tablet", **BY)
    restore = backup()
    async with open_core(settings) as core:
        assert isinstance(await judged(core, phone), Accept)
        await asyncio.to_thread(apppasswords.revoke, store, ALICE, ids=[phone.id], **BY, effect=Effect())
        assert await judged(core, phone) == Reject(Reason.REVOKED, phone.id)
        store.close()
        with caplog.at_level(logging.ERROR):
            await asyncio.to_thread(restore)

            async def is_said():
                return "was a backup put in its place?" in caplog.text

            await until(is_said)
        for minted in (phone, tablet):
            outcome = await judged(core, minted)
            assert isinstance(outcome, Defer), outcome
            assert outcome.cause is Cause.STORE
        effect = Effect()
        await asyncio.to_thread(take_away_again, store, store.highwater, keep=False, **BY, effect=effect)
        assert effect.silent == []

        async def is_judged():
            return not isinstance(await judged(core, tablet), Defer)

        await until(is_judged)
        assert await judged(core, phone) == Reject(Reason.REVOKED, phone.id)
        assert await judged(core, tablet) == Reject(Reason.SUSPENDED, tablet.id)
        apppasswords.confirm(store, ALICE, every=True, **BY)
        assert isinstance(await judged(core, tablet), Accept)


async def test_a_process_that_serves_notes_what_others_changed(settings, database, store, phone, highwater):
    """Also what was changed from a machine without this file."""
    elsewhere = open_store(database.url)
    async with open_core(settings):
        mailboxes.remove_account(elsewhere, ALICE, **BY)

        async def is_noted():
            with store.reading() as tx:
                level, number = HighWater(settings.key.file).standing(store, tx)
            return level.number == number == 3

        await until(is_noted)
        mailboxes.add_account(elsewhere, ALICE, None, **BY)  # and, at its end, what was not noted yet
    elsewhere.close()
    with store.reading() as tx:
        assert HighWater(settings.key.file).standing(store, tx)[0].number == 4


async def test_a_login_notes_nothing(settings, phone, highwater):
    before = highwater.path.stat()
    async with open_core(settings) as core:
        assert isinstance(await judged(core, phone), Accept)
    after = highwater.path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_a_missing_file_is_made(settings, phone, highwater):
    highwater.path.unlink()
    async with open_core(settings):
        pass
    assert highwater.path.exists()


async def test_nothing_starts_on_an_older_store(settings, store, phone, backup):
    restore = backup()
    apppasswords.revoke(store, ALICE, ids=[phone.id], **BY)
    store.close()
    restore()
    for opening in (open_core(settings), open_core(settings, lets_in=False), open_authenticator(settings.source)):
        with pytest.raises(StoreBehind, match="1 behind what"):
            async with opening:
                pass
    take_away_again(store, store.highwater, keep=False, **BY)
    async with open_core(settings) as core:
        assert await judged(core, phone) == Reject(Reason.REVOKED, phone.id)


def test_the_demo_does_not_go_on_with_an_older_store(tmp_path):
    demo = prepare(tmp_path / "demo", 0)
    database = tmp_path / "demo" / "mailauth.db"
    store = open_store(f"sqlite:///{database}")
    before = database.read_bytes()
    apppasswords.revoke(store, demo.memory.account, every=True, **BY)
    store.highwater = HighWater(demo.settings.key.file)
    assert store.highwater.rise(store)
    for suffix in ("-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
    database.write_bytes(before)
    with pytest.raises(StoreBehind):
        prepare(tmp_path / "demo", None)


async def test_a_disk_that_takes_its_time_keeps_nobody_out(settings, phone, monkeypatch):
    """The file is written by a thread of its own: the process goes on applying changes, and so keeps its lease."""
    is_let_go, was_asked = threading.Event(), threading.Event()

    def rise(self, store):
        was_asked.set()
        return is_let_go.wait(PATIENCE_S)

    monkeypatch.setattr(HighWater, "rise", rise)
    async with open_core(settings) as core:
        await asyncio.to_thread(was_asked.wait, PATIENCE_S)
        read_until = core.sessions._read_until

        async def is_read_again():
            return core.sessions._read_until > read_until + LOOK_S

        await until(is_read_again)
        assert isinstance(await judged(core, phone), Accept)
        is_let_go.set()
