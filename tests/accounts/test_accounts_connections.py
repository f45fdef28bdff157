"""How many mail connections an account has open: in this process alone, or in all that there are."""

from __future__ import annotations

from collections import Counter

import pytest

from mailauth.accounts import connections
from mailauth.accounts.connections import MailConnections
from mailauth.accounts.sessions import Sessions, SessionView
from mailauth.interfaces import StoreUnavailable

ALICE = "alice@example.test"


class Here:
    """The sessions of this process."""

    def counts(self, account_id: int) -> dict[int | None, int]:
        return {7: 2, None: 1} if account_id == 1 else {}


@pytest.fixture
def several(store) -> None:
    """Two processes on this store."""
    with store.transaction() as tx:
        for number in range(2):
            row = {"id": f"p{number}", "host": "h", "pid": number, "started_at": 1.0, "applied": 0}
            tx.write(store.sql.ADD_PROCESS, **row)


def view(app_password: int | None) -> SessionView:
    return SessionView(ALICE, "imap", "192.0.2.7", "", app_password, None, "2026-01-01T00:00:00Z")


async def test_a_process_that_is_alone_asks_nobody(store, monkeypatch):
    monkeypatch.setattr(connections, "live_sessions", lambda *a, **k: pytest.fail("asked"))
    assert await MailConnections(store, Here()).open_now(1, ALICE) == {7: 2, None: 1}


async def test_of_several_all_are_asked_and_not_again_at_once(store, several, monkeypatch):
    asked = []

    def live(store, login, *, actor):
        asked.append((login, actor))
        return Sessions((view(7), view(7), view(None)), ())

    monkeypatch.setattr(connections, "live_sessions", live)
    mail = MailConnections(store, Here())
    for _ in range(3):
        assert await mail.open_now(1, ALICE) == Counter({7: 2, None: 1})
    assert asked == [(ALICE, "portal")]
    monkeypatch.setattr(connections, "FRESH_S", 0.0)
    await mail.open_now(1, ALICE)
    assert len(asked) == 2


async def test_what_not_everybody_answers_is_not_known(store, several, monkeypatch):
    monkeypatch.setattr(connections, "live_sessions", lambda *a, **k: Sessions((view(7),), ("h 1",)))
    assert await MailConnections(store, Here()).open_now(1, ALICE) is None


async def test_a_store_that_is_away_is_not_known_either(store, several, monkeypatch):
    def away(*args, **more):
        raise StoreUnavailable("away")

    monkeypatch.setattr(connections, "live_sessions", away)
    assert await MailConnections(store, Here()).open_now(1, ALICE) is None


async def test_no_more_is_kept_than_there_is_room_for(store, several, monkeypatch):
    monkeypatch.setattr(connections, "live_sessions", lambda *a, **k: Sessions((), ()))
    monkeypatch.setattr(connections, "MOST_KEPT", 3)
    mail = MailConnections(store, Here())
    for account_id in range(10):
        await mail.open_now(account_id, ALICE)
    assert len(mail._kept) <= 3
