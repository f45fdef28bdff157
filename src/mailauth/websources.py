"""The sources of web passwords that the configuration names, put together.

Rule: wiring only, like `assembly`. What holds for every source is read here; the rest of a table is its plug-in's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailauth import names, plugins
from mailauth.accounts.newcomers import make_account
from mailauth.config import ConfigError, Settings
from mailauth.config.plugged import Plugged
from mailauth.factors import section
from mailauth.factors.section import BadSection, Section, option
from mailauth.interfaces import Account, PasswordSource
from mailauth.plugins import NoSuchPlugin
from mailauth.store.engine import Store
from mailauth.store.passdb import StorePassdb
from mailauth.verify.outside import Asked, Outside
from mailauth.verify.proofs import Hashes


def _domains(value: tuple[str, ...]) -> str | None:
    for domain in value:
        try:
            names.fold_domain(domain)
        except names.NotALogin as bad:
            return str(bad)
    return None


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every source."""

    kind: str = option("", doc="ldap, sql, imap or file; when it is not written, NAME is the kind")
    domains: tuple[str, ...] = option(
        (), doc="it is asked about the logins of these domains only; none: about all", check=_domains
    )
    create: bool = option(
        False, doc="an account of a domain that is in the store is made at its first good login; otherwise you add it"
    )
    timeout_s: float = option(
        5.0, doc="for one answer; when it does not come, the login is deferred", check=section.between(0.1, 60)
    )
    at_once: int = option(
        16, doc="questions at the same time, by one process; more wait for their turn", check=section.between(1, 1000)
    )


class StoreNewcomers:
    """verify.outside.Newcomers over the store."""

    def __init__(self, store: Store, passdb: StorePassdb) -> None:
        self._store = store
        self._passdb = passdb

    async def prospect(self, login: str) -> Account | None:
        """See verify.outside.Newcomers."""
        return await self._passdb.prospect(login)

    async def make(self, login: str, source: str) -> None:
        """See verify.outside.Newcomers."""
        await asyncio.to_thread(make_account, self._store, login, source)


def open_sources(settings: Settings, hashes: Hashes, store: Store, passdb: StorePassdb | None) -> Outside | None:
    """The sources, none of them connected to; None: the configuration names none. Raises ConfigError.

    passdb: None makes no accounts.
    """
    if not settings.sources:
        return None
    newcomers = None if passdb is None else StoreNewcomers(store, passdb)
    return Outside(
        [_asked(plugged, settings, hashes) for plugged in settings.sources],
        newcomers,
        alphabet=settings.policy.app_password_alphabet,
        refusal_delay_s=settings.replies.refusal_delay_s,
    )


def check_sources(settings: Settings) -> None:
    """Raise ConfigError unless every source can be built. Asks none of them."""
    for plugged in settings.sources:
        _asked(plugged, settings, None)


def _asked(plugged: Plugged, settings: Settings, hashes: Hashes | None) -> Asked:
    values = plugged.values()
    own = {key: values.pop(key) for key in Terms.__dataclass_fields__ if key in values}
    try:
        terms: Terms = section.read(Terms, own)
        source = _built(terms.kind or plugged.name, values, {"hashes": hashes, "folder": settings.source.parent})
    except BadSection as bad:
        raise ConfigError(f"{plugged.where} {bad.key}: {bad}") from None
    except NoSuchPlugin as missing:
        raise ConfigError(f"{plugged.where}: {missing}") from None
    domains = frozenset(map(names.fold_domain, terms.domains))
    turns = asyncio.Semaphore(terms.at_once)
    return Asked(plugged.name, source, turns, terms.timeout_s, domains, terms.create)


def _built(kind: str, values: Mapping[str, object], wired: Mapping[str, Any]) -> PasswordSource:
    source: PasswordSource = plugins.load("sources", kind, Section(values, wired))
    return source
