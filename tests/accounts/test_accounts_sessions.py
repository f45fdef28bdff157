"""Who is logged in, asked of every process and told in one list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mailauth.accounts import apppasswords, mailboxes
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.sessions import ASKED, CLOSED, SessionView, close_sessions, live_sessions
from mailauth.interfaces import Answer, Change
from mailauth.serving import session as serving
from mailauth.store import changes
from mailauth.store.applier import Applier
from mailauth.store.engine import open_store

ALICE, ACTOR = "alice@example.test", "cli:root"


class Plain:
    """A hash scheme that is quick."""

    def hash(self, secret: bytes) -> str:
        return "plain"


def told(since: float, *, login: str = ALICE, credential_id: int | None = None, **more: str) -> dict[str, Any]:
    """One session, as a process tells of it."""
    row = {"login": login, "service": "imap", "peer": "192.0.2.7", "client": "Mail"}
    return {**row, "credential_id": credential_id, "since": since, **more}


@asynccontextmanager
async def process(url: str, rows: Sequence[dict[str, Any]], ended: int = 0) -> AsyncIterator[list[Change]]:
    """A process that answers so; the changes that it heard of."""
    heard: list[Change] = []

    async def apply(news: Sequence[Change]) -> Mapping[int, Answer]:
        heard.extend(news)
        return {change.number: Answer(ended, json.dumps(rows) if change.kind == ASKED else "") for change in news}

    store, loop = open_store(url), asyncio.get_running_loop()
    applier = await asyncio.to_thread(Applier, store, apply, lambda _: None, loop)
    try:
        yield heard
    finally:
        await asyncio.to_thread(applier.close)
        store.close()


async def ask(store: Any, login: str | None = None) -> Any:
    return await asyncio.to_thread(lambda: live_sessions(store, login, actor=ACTOR))


def test_both_sides_mean_the_same_by_their_words() -> None:
    assert (ASKED, CLOSED) == (serving.SESSIONS_ASKED, serving.SESSIONS_CLOSED)


async def test_sessions_of_all_processes_are_told_oldest_first(database: Any, ring: Any) -> None:
    store = database.store
    mailboxes.add_account(store, ALICE, None, actor=ACTOR)
    phone = apppasswords.mint(store, ring, Plain(), ALICE, label="Phone", actor=ACTOR)
    old = apppasswords.mint(store, ring, Plain(), ALICE, label="Old", actor=ACTOR)
    apppasswords.revoke(store, ALICE, ids=[old.id], actor=ACTOR)
    first = [told(200.0, credential_id=phone.id), told(100.0)]
    second = [told(150.0, credential_id=old.id, service="smtp", client=""), told(50.0, credential_id=4711)]
    async with process(database.url, first), process(database.url, second):
        found = await ask(store)
    common = (ALICE, "imap", "192.0.2.7", "Mail")
    assert found.silent == ()
    assert found.sessions == (
        SessionView(*common, 4711, None, "1970-01-01T00:00:50Z"),
        SessionView(*common, None, None, "1970-01-01T00:01:40Z"),
        SessionView(ALICE, "smtp", "192.0.2.7", "", old.id, "Old", "1970-01-01T00:02:30Z"),
        SessionView(*common, phone.id, "Phone", "1970-01-01T00:03:20Z"),
    )
    assert database.run("SELECT count(*) FROM answers") == [(0,)]  # they may be long


async def test_a_question_about_one_account_is_put_so(database: Any) -> None:
    mailboxes.add_account(database.store, ALICE, None, actor=ACTOR)
    async with process(database.url, []) as heard:
        await ask(database.store, " Alice@EXAMPLE.test ".strip())
        await ask(database.store)
    ((account_id,),) = database.run("SELECT id FROM accounts")
    assert [(change.kind, change.account_id) for change in heard] == [(ASKED, account_id), (ASKED, None)]


async def test_whoever_is_not_there_has_no_sessions(database: Any) -> None:
    with pytest.raises(NoSuch):
        await ask(database.store, "nobody@example.test")
    with pytest.raises(Refused):
        await ask(database.store, "no address")
    assert (await ask(database.store)).sessions == ()


async def test_a_question_is_nothing_for_the_audit_log_and_an_order_is(database: Any) -> None:
    mailboxes.add_account(database.store, ALICE, None, actor=ACTOR)
    before = database.run("SELECT count(*) FROM audit")
    await ask(database.store)
    assert database.run("SELECT count(*) FROM audit") == before
    async with process(database.url, [], ended=3), process(database.url, [], ended=4):
        effect = await asyncio.to_thread(lambda: close_sessions(database.store, ALICE, actor=ACTOR))
    assert effect.ended == 7
    assert database.run("SELECT actor, login FROM audit WHERE kind = 'sessions-closed'") == [(ACTOR, ALICE)]


async def test_processes_that_do_not_answer_are_named(database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LEASE_S", 0.05)
    monkeypatch.setattr(changes, "MARGIN_S", 0.0)
    store = database.store
    with store.transaction() as tx:
        tx.write(store.sql.ADD_PROCESS, id="mute", host="mail2/boot/1", pid=4711, started_at=0.0, applied=0)
    found = await ask(store)
    assert found.silent == ("process 4711 at mail2",)
    assert found.sessions == ()
