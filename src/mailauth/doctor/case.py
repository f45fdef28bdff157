"""What is examined: a site's configuration, its store, and the mail servers around it, each read once."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mailauth.attempt import Service
from mailauth.config import Settings
from mailauth.config.bridge import Bridge
from mailauth.doctor import hosts
from mailauth.doctor.hosts.host import MX_PORT, CannotRead, Door, Host, is_loopback, reachable
from mailauth.doctor.rights import User, user_with
from mailauth.interfaces import StoreUnavailable
from mailauth.store.changes import this_host
from mailauth.store.engine import Store

HOSTS = tuple(sorted(module.name for module in pkgutil.iter_modules(hosts.__path__) if module.name != "host"))
OURS = "mailauth"


@dataclass
class Case:
    """settings, store: of the site. actor: who examines, for the audit log.

    login: whose account is tried, "" for none. places: of configurations, by the name of the host. named: doors that
    who examines wants tried. clock_from: a URL whose server's clock is asked, "" for none.
    tell: is told what goes on.
    """

    settings: Settings
    store: Store
    actor: str
    login: str = ""
    places: Mapping[str, str] = field(default_factory=dict)
    named: tuple[Door, ...] = ()
    clock_from: str = ""
    tell: Callable[[str], None] = lambda _: None

    @cached_property
    def hosts(self) -> tuple[tuple[str, Host | CannotRead], ...]:
        """The mail servers whose configuration was named, or, where bridges are configured, that are installed."""
        found: list[tuple[str, Host | CannotRead]] = []
        for name in HOSTS:
            if not (name in self.places or (self.settings.bridge and not self.places)):
                continue
            try:
                host = importlib.import_module(f"mailauth.doctor.hosts.{name}").read(self.places.get(name, ""))
                if host is None and name in self.places:
                    host = CannotRead(f"{name} is not installed; install it, or do not name it")
            except CannotRead as error:
                host = error
            if host is not None:
                found.append((name, host))
        return tuple(found)

    @cached_property
    def known(self) -> tuple[Host, ...]:
        """Those of them that could be read."""
        return tuple([host for _, host in self.hosts if isinstance(host, Host)])

    @cached_property
    def doors(self) -> tuple[Door, ...]:
        """Our own, those of the hosts, and those that were named, which stand for whatever else is there; each once."""
        named = {(door.host, door.port) for door in self.named}
        known = [*self._own, *[door for host in self.known for door in host.doors]]
        found = [*[door for door in known if (door.host, door.port) not in named], *self.named]
        return tuple({(door.owner, door.host, door.port): door for door in found}.values())

    @property
    def _own(self) -> list[Door]:
        return [
            Door(
                OURS,
                listen.service,
                reachable(listen.address.host),
                listen.address.port,
                implicit=listen.tls == "implicit",
                proxied=bool(listen.proxy_from),
                everywhere=not is_loopback(listen.address.host),
                clear_meant=listen.tls == "off",
            )
            for listen in self.settings.listen
        ]

    @cached_property
    def server(self) -> User:
        """The user that `mailauth serve` runs as; where none runs here, the owner of the key file."""
        try:
            with self.store.reading() as tx:
                rows = tx.rows(self.store.sql.PROCESSES)
        except StoreUnavailable:
            rows = []
        here = this_host()
        owners = [_owner(Path(f"/proc/{row['pid']}")) for row in rows if row["host"] == here]
        owners += [_owner(self.settings.key.file), _owner(self.settings.source), 0]
        return user_with(next(uid for uid in owners if uid is not None))


def named(bridge: Bridge) -> str:
    """What a bridge is called in findings, as `serve` calls it."""
    return f"bridge {bridge.kind} {bridge.address}"


def is_for_servers(door: Door) -> bool:
    """Whether other mail servers deliver there, so that no client is to log in."""
    return door.service is Service.SMTP and door.port == MX_PORT


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None
