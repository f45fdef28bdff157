"""One door for each [[bridge]] of the configuration: which dialogue, who may connect, what is kept waiting.

Rule: wiring only, like `listeners`.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Container, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Protocol

from mailauth import plugins
from mailauth.bridges.bridge import APP_PASSWORD, AsksAgain, Bridge, HoldsSessions, OpensForOthers, Terms
from mailauth.config import Address, ConfigError, Settings
from mailauth.config import bridge as section
from mailauth.factors.section import BadSection, Section
from mailauth.interfaces import Authenticator, Change, Reported
from mailauth.keeper.client import Asking
from mailauth.keeper.configured import DOVEADM_KEY, bridge_name
from mailauth.keeper.doveadm import KeptDoveadm
from mailauth.plugins import NoSuchPlugin
from mailauth.serving import peercred
from mailauth.serving.admitted import Admitted
from mailauth.serving.bridgehouse import BridgeHouse, Reads
from mailauth.serving.bridging import HOLD_MOST_S, BridgeConnection
from mailauth.serving.census import Census
from mailauth.serving.clock import FewHeld, RefusalClock
from mailauth.serving.inherited import Inherited
from mailauth.serving.kicking import Kicker
from mailauth.serving.listen import CannotListen, Door, Server
from mailauth.serving.sessions import LiveSessions
from mailauth.serving.tokens import Tokens
from mailauth.serving.unixsocket import UnixSocket, bind_unix
from mailauth.serving.whence import OnRecord, Whence
from mailauth.verify.recurring import Recurring

CONNECTIONS = 4  # for each slot of the host; beyond that the oldest that never asked anything goes
HELD = 4  # one slot in so many may be kept waiting


class Accounts(Reads, OnRecord, Protocol):
    """What bridges ask the store beside the judging."""


def bridges_of(
    settings: Settings, reported: Reported | None = None, recurring: Container[Hashable] = ()
) -> list[Bridge]:
    """The bridges that the configuration names, in its order. Raises ConfigError."""
    return [_built(written, settings.replies.help_line, reported, recurring) for written in settings.bridge]


def _built(
    written: section.Bridge, help_line: str, reported: Reported | None, recurring: Container[Hashable]
) -> Bridge:
    options = written.options
    terms = Terms(
        name=written.kind.replace("_", "-"),
        services=frozenset(written.services),
        other_service=written.other_service,
        clients=written.clients,
        help_line=help_line,
        admits=None
        if written.token_file is None
        else Tokens(written.token_file.source, written.token_file.read).admits,
        reported=reported,
        recurring=recurring,
    )
    try:
        bridge: Bridge = plugins.load(
            "bridges", written.kind, Section(options.values(unread=[DOVEADM_KEY]), {"terms": terms})
        )
    except BadSection as bad:
        near = get_close_matches(bad.key, [field.name for field in dataclasses.fields(section.Bridge)], n=1)
        advice = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{options.where} {bad.key}: {bad}{advice}") from None
    except NoSuchPlugin as missing:
        raise ConfigError(f"{options.where} kind: {missing}") from None
    return bridge


@dataclass(frozen=True, slots=True)
class Bridgehead:
    """One bridge, bound. name: for the line that says what listens."""

    name: str
    server: Server
    house: BridgeHouse

    async def stop(self) -> None:
        """Accept no more, close what is open, and let go of what is still judged."""
        await self.server.stop()
        await self.house.close()


@dataclass(frozen=True, slots=True)
class Bridgeheads:
    """All of them."""

    heads: Sequence[Bridgehead] = ()
    kickers: Sequence[Kicker] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """For the lines that say what listens."""
        return tuple([head.name for head in self.heads])

    async def start(self, earlier: Sequence[Change] = ()) -> None:
        """Accept connections from now on. earlier: changes that no host may have heard of."""
        for head in self.heads:
            await head.server.start()
        for kicker in self.kickers:
            kicker.catch_up(earlier)

    async def stop(self) -> None:
        """Accept no more, and close what is open."""
        await asyncio.gather(*[head.stop() for head in self.heads], *[kicker.close() for kicker in self.kickers])


@contextmanager
def open_bridges(
    settings: Settings,
    authenticator: Authenticator,
    sessions: LiveSessions,
    reported: Reported,
    inherited: Inherited,
    *,
    passdb: Accounts,
    recurring: Recurring | None,
    asking: Asking | None = None,
) -> Iterator[Bridgeheads]:
    """The bridges of the configuration, bound and not yet served; in the end their sockets are taken away.

    inherited: sockets that are bound already. passdb: what is judged by, too. recurring: see BridgeHouse. asking: the
    keeper, where a bridge's host is to end sessions. Raises ConfigError, CannotListen.
    """
    with ExitStack() as stack:
        built = bridges_of(settings, reported, () if recurring is None else recurring.questions)
        heads = []
        again = any(isinstance(bridge, AsksAgain) for bridge in built)
        admitted = Admitted(sessions.passdb) if again else None
        whence = whence_of(built, passdb)
        for number, (written, bridge) in enumerate(zip(settings.bridge, built, strict=True), start=1):
            try:
                house = _house(written, bridge, settings, authenticator, sessions)
                house.admitted = admitted
                house.whence = whence
                house.reads = passdb
                house.recurring = recurring
                name = f"bridge {house.name}"
                door = _door(stack, name, written, house, inherited)
                heads.append(Bridgehead(name, Server(house.census, [door]), house))
            except CannotListen as error:
                raise CannotListen(f"{settings.source}: [[bridge]] #{number} address: {error}") from None
            except peercred.NoSuchName as error:
                raise ConfigError(f"{settings.source}: [[bridge]] #{number}: {error}") from None
        kickers = _kickers(settings, built, asking, whence)
        sessions.elsewhere += [kicker.changed for kicker in kickers]
        yield Bridgeheads(heads, kickers)


def whence_of(built: Sequence[Bridge], on_record: OnRecord) -> Whence | None:
    """Where it is remembered from where app passwords were let in. None: nobody asks for it, or that tells nothing.

    What a proxy opens by a master password comes from the proxy, and nobody tells whose it is.
    """
    asks = any(isinstance(bridge, HoldsSessions) and bridge.doveadm_url for bridge in built)
    hidden = any(isinstance(bridge, OpensForOthers) and bridge.password for bridge in built)
    return Whence(on_record) if asks and not hidden else None


def _kickers(settings: Settings, built: Sequence[Bridge], asking: Asking | None, whence: Whence | None) -> list[Kicker]:
    """Who ends sessions at the bridges' hosts, where that is to be."""
    kickers = []
    for written, bridge in zip(settings.bridge, built, strict=True):
        if asking is not None and isinstance(bridge, HoldsSessions) and bridge.doveadm_url:
            doveadm = KeptDoveadm(asking, bridge_name(written), bridge.doveadm_url)
            kickers.append(Kicker(doveadm, bridge.kick_by == APP_PASSWORD, whence))
    return kickers


def _house(
    written: section.Bridge, bridge: Bridge, settings: Settings, authenticator: Authenticator, sessions: LiveSessions
) -> BridgeHouse:
    most = CONNECTIONS * written.slots
    clock = RefusalClock(min(settings.replies.refusal_delay_s, HOLD_MOST_S))
    return BridgeHouse(
        name=f"{written.kind} {written.address}",
        dialogue=bridge.dialogue,
        authenticator=authenticator,
        census=Census(most, most),
        held=None if bridge.host_waits else FewHeld(clock, written.slots // HELD),
        silence_s=bridge.silence_s,
        sessions=sessions,
    )


def _door(stack: ExitStack, name: str, written: section.Bridge, house: BridgeHouse, inherited: Inherited) -> Door:
    protocol = partial(BridgeConnection, house)
    address = written.address
    if isinstance(address, Address):
        sock = inherited.taken_or_bound(address.host, address.port)
        stack.callback(sock.close)
        return Door(name, sock, protocol, admits=peercred.NetworkPeers(name, written.hosts))
    groups = [*written.groups, *filter(None, [written.socket_group])]
    admits = peercred.LocalPeers(name, [*map(peercred.user_id, written.users)], [*map(peercred.group_id, groups)])
    group = peercred.group_id(written.socket_group) if written.socket_group else None
    given = inherited.take(address.path)
    bound = bind_unix(address.path, written.socket_mode, group) if given is None else UnixSocket(address.path, given)
    stack.callback(bound.sock.close)
    stack.callback(bound.remove)
    return Door(name, bound.sock, protocol, admits=admits)
