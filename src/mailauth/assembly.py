"""What judges, and everything it stands on, put together from settings; `compose` serves with it.

Rule: wiring only. Every decision belongs to the room whose object it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from mailauth import config
from mailauth.accounts.throttled import CLEARED as THROTTLE_CLEARED
from mailauth.attempt import Attempt
from mailauth.config import Settings
from mailauth.events import Events
from mailauth.hashing.argon2id import Argon2id
from mailauth.hashing.pool import HashPool
from mailauth.interfaces import Change, WebPasswords
from mailauth.keys import KeyRing
from mailauth.serving.sessions import LiveSessions
from mailauth.serving.sharing import Sharing
from mailauth.store import changes
from mailauth.store.applier import Applier
from mailauth.store.changes import LEASE_S
from mailauth.store.engine import Store, open_store
from mailauth.store.guesses import SharedGuesses
from mailauth.store.highwater import HighWater, require_not_behind
from mailauth.store.keycheck import keys_of
from mailauth.store.livekeys import LiveKeys
from mailauth.store.observations import note_web_password
from mailauth.store.passdb import StorePassdb, open_passdb
from mailauth.store.resealing import Resealing
from mailauth.store.upgrade import require_current
from mailauth.store.upkeep import Retention
from mailauth.store.writebehind import WriteBehind
from mailauth.verify.recognising import Recognising
from mailauth.verify.recurring import Recurring
from mailauth.verify.reported import ReportedLogins
from mailauth.verify.throttle import GuessThrottle
from mailauth.verify.verifier import Verifier
from mailauth.verify.websignin import WebSignIn
from mailauth.websources import open_sources


@dataclass(frozen=True, slots=True)
class Core:
    """What judges, and what it stands on. earlier: the changes that were kept when this began, for bridges."""

    settings: Settings
    store: Store
    passdb: StorePassdb
    verifier: Verifier
    events: Events
    sessions: LiveSessions
    web_passwords: WebPasswords
    reported: ReportedLogins
    pool: HashPool
    keys: LiveKeys
    recurring: Recurring | None
    earlier: Sequence[Change] = ()


def opened_store(settings: Settings) -> tuple[Store, KeyRing]:
    """The store, of this version's schema and this key file's. Raises what says why not, with what to do."""
    secret = settings.store.password_file
    try:
        store = open_store(settings.store.url, None if secret is None else secret.read())
    except ValueError as error:
        raise config.ConfigError(f"{settings.source}: [store] url: {error}") from None
    try:
        require_current(store)
        ring = keys_of(store, settings.key.file)
        store.highwater = HighWater(settings.key.file)
        require_not_behind(store)
    except BaseException:
        store.close()
        raise
    return store, ring


@asynccontextmanager
async def open_core(settings: Settings, *, lets_in: bool = True) -> AsyncIterator[Core]:
    """Open the store and everything a verdict needs; on leaving, what was begun is finished and written.

    lets_in: whether clients get in by these verdicts; otherwise nothing is slowed down, and no change waits for us.
    """
    store, ring = opened_store(settings)
    events = Events()
    async with AsyncExitStack() as stack:
        stack.callback(store.close)
        # Before anything here deletes old ones: what was taken away while nobody served may be long ago.
        earlier = await asyncio.to_thread(changes.kept, store) if lets_in and settings.bridge else ()
        pool = _hash_pool(settings)
        stack.callback(pool.close)
        passdb = _passdb(settings, store, ring)
        stack.push_async_callback(passdb.close)
        keys = LiveKeys(store, settings.key.file, ring, passdb.use_keys)
        behind = _write_behind(settings, store, keys)
        events.subscribe(behind)
        stack.push_async_callback(asyncio.to_thread, behind.close)
        sessions = LiveSessions(passdb, LEASE_S if lets_in else None, keys.orders)
        throttle = GuessThrottle(settings.throttle.trusted_networks) if lets_in and settings.throttle.enabled else None
        recurring = Recurring(passdb, keys, sessions, events, throttle) if lets_in and passdb.reads_at_once else None
        verifier = Verifier(
            *(passdb, keys, pool, events, throttle),
            changes=sessions if lets_in else None,
            recognising=_recognising(store, pool) if lets_in and settings.throttle.recognise_web_passwords else None,
            outside=open_sources(settings, pool, store, passdb if lets_in else None),
            recurring=recurring,
            refusal_delay_s=settings.replies.refusal_delay_s or settings.hashing.queue_deadline_s,
            aliases_log_in=settings.policy.aliases_log_in,
        )
        stack.push_async_callback(verifier.close)
        if lets_in:
            await _share(stack, store, throttle, sessions)
            await _apply_changes(stack, store, sessions, keys, events)
        web_passwords = WebSignIn(passdb, verifier.matching, throttle, sessions)
        reported = ReportedLogins(passdb, throttle, events)
        stack.push_async_callback(reported.close)
        judging = (verifier, events, sessions, web_passwords, reported, pool, keys, recurring)
        yield Core(settings, store, passdb, *judging, earlier)


async def _apply_changes(
    stack: AsyncExitStack, store: Store, sessions: LiveSessions, keys: LiveKeys, events: Events
) -> None:
    """Take part in what the processes of this store tell each other."""
    loop = asyncio.get_running_loop()
    applier = await asyncio.to_thread(Applier, store, sessions.apply, sessions.has_read, loop)
    stack.push_async_callback(asyncio.to_thread, applier.close)
    keys.look_again()  # register, then read: from here on no change is missed
    events.subscribe(keys)
    stack.callback(keys.close)


async def _share(stack: AsyncExitStack, store: Store, throttle: GuessThrottle | None, sessions: LiveSessions) -> None:
    """Count guesses together with the other processes of this store, and with this one before it was started anew."""
    sessions.orders[THROTTLE_CLEARED] = (lambda _: None) if throttle is None else throttle.cleared
    if throttle is None:
        return
    sharing = Sharing(throttle, SharedGuesses(store).exchange)
    await sharing.start()
    stack.push_async_callback(sharing.close)


def _recognising(store: Store, pool: HashPool) -> Recognising:
    async def note(account_id: int, attempt: Attempt, is_web: bool) -> None:
        where = (account_id, attempt.peer, attempt.service, attempt.client)
        await asyncio.to_thread(note_web_password, store, *where, is_web=is_web)

    return Recognising(pool, note)


def _passdb(settings: Settings, store: Store, ring: KeyRing) -> StorePassdb:
    options = settings.store
    return open_passdb(store, ring.ids, deadline_s=options.timeout_s, connections=options.connections)


def _write_behind(settings: Settings, store: Store, keys: LiveKeys) -> WriteBehind:
    keep = settings.retention
    retention = Retention(keep.audit_days, keep.address_days, keep.observation_days)
    return WriteBehind(store, retention, also=lambda: Resealing(store, keys.ring).steps())


def _hash_pool(settings: Settings) -> HashPool:
    hashing = settings.hashing
    return HashPool(
        hashing.threads or None,
        queue_deadline_s=hashing.queue_deadline_s,
        queue_limit=hashing.queue_limit,
        scheme=Argon2id(hashing.time_cost, hashing.memory_kib, hashing.parallelism),
    )
