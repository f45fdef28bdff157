"""What a bridge is to the program, and what the program tells each of them: for whom the host may ask.

Rule: a bridge parses and spells. It never judges, waits or reads a clock; `serving.bridging` drives its dialogues.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from secrets import token_bytes
from typing import ClassVar, Protocol, runtime_checkable

from mailauth.attempt import BRIDGE, Attempt, Credential, Service, address_text
from mailauth.dialogue import BridgeDialogue
from mailauth.factors.section import BadSection, base_url, one_of, option
from mailauth.interfaces import Reported

# What mail servers call a service (RFC 4422 section 5 and what they send beside it), and what it is to an account.
SERVICES = {
    **dict.fromkeys(("imap", "imaps", "imap4"), Service.IMAP),
    **dict.fromkeys(("sieve", "managesieve"), Service.IMAP),  # the filters of the mailbox that IMAP opens
    **dict.fromkeys(("pop3", "pop3s", "pop"), Service.POP3),
    **dict.fromkeys(("smtp", "smtps", "submission", "submissions"), Service.SMTP),
}
MAX_ADDRESS_CHARS = 64  # 45 of an IPv6 address, and a scope id
MOST_PEERS = 8192  # addresses of which it is remembered what they count as
NOT_SERVED = "asks for a service that it does not serve (services, other_service of its [[bridge]]); it is told: later"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration says of one bridge, as far as its dialogues need it.

    name: of its kind. other_service: what a service of an unknown name counts as. help_line: ours, for refusals.
    admits: whether this is the host's token, compared in constant time; None: no token is configured. reported: where
    a host that judges by passwords of its own says so; None: nowhere. recurring: questions (see Attempt) that came
    before. secret: what their digests are made with, so that no two bridges have any in common.
    """

    name: str
    services: frozenset[Service] = frozenset(Service)
    other_service: Service | None = None
    clients: Sequence[IPv4Network | IPv6Network] = ()
    help_line: str = ""
    admits: Callable[[bytes], bool] | None = None
    reported: Reported | None = None
    recurring: Container[Hashable] = ()
    secret: bytes = field(default_factory=partial(token_bytes, 32), repr=False)
    _peers: dict[str, str] = field(default_factory=dict, repr=False)

    def service(self, named: str) -> Service | None:
        """The service that the host calls so; None: it is not served, and nobody can be judged."""
        service = SERVICES.get(named.lower(), self.other_service)
        return service if service in self.services else None

    def peer(self, named: str) -> str:
        """The source that a login counts for: the client, if the host names one it may name; else the bridge."""
        peer = self._peers.get(named)
        if peer is None:
            if len(named) > MAX_ADDRESS_CHARS:
                return BRIDGE + self.name
            if len(self._peers) >= MOST_PEERS:
                self._peers.clear()
            peer = self._peers[named] = self._source(address_text(named))
        return peer

    def _source(self, named: str) -> str:
        try:
            address = ip_address(named)
        except ValueError:
            return BRIDGE + self.name
        return str(address) if any(address in network for network in self.clients) else BRIDGE + self.name

    def attempt(self, credential: Credential, service: Service, client: str, *, tls: bool, name: str = "") -> Attempt:
        """One try of a client of the host's. client: its address as the host names it, "" for none."""
        return Attempt(credential, service, self.peer(client), tls, name)


class Bridge(Protocol):
    """What `build` of a module of this folder returns, for one [[bridge]] of the configuration.

    host_waits: whether the host keeps a refused client waiting; otherwise we do. silence_s: how long a connection may
    be open without a whole request; None: as long as it likes.
    """

    @property
    def host_waits(self) -> bool: ...
    @property
    def silence_s(self) -> float | None: ...

    def dialogue(self) -> BridgeDialogue:
        """One connection's."""


@runtime_checkable
class HoldsSessions(Protocol):
    """A bridge whose host can be told to end sessions: Dovecot, by doveadm. doveadm_url: "" when it is not to be.

    doveadm_key: where the key is, which another process reads.
    """

    @property
    def doveadm_url(self) -> str: ...
    @property
    def doveadm_key(self) -> object: ...
    @property
    def kick_by(self) -> str: ...


@runtime_checkable
class OpensForOthers(Protocol):
    """A bridge whose host may open sessions at another server by a master password, so that that one asks nobody.

    password: "" when it has none.
    """

    @property
    def password(self) -> str: ...


@runtime_checkable
class AsksAgain(Protocol):
    """A bridge whose host asks later, too, about whom it was told to let in: so all bridges have to remember it."""

    asks_again: ClassVar[bool]


USER, APP_PASSWORD = "user", "app-password"
doveadm_url_option = partial(
    option,
    "",
    check=lambda url: base_url(url) if url else None,
    doc="of doveadm's HTTP listener: sessions are ended there, too",
)
doveadm_key_option = partial(option, "", secret=True, doc="Dovecot's doveadm_api_key")
kick_by_option = partial(
    option,
    USER,
    check=one_of(USER, APP_PASSWORD),
    doc="how sessions are told apart when an app password is revoked: user: by user and address; "
    "app-password: by device, which takes Dovecot 2.4",
)


def require_key(bridge: HoldsSessions) -> None:
    """Raises BadSection when doveadm is named and its key is not."""
    if bridge.doveadm_url and not bridge.doveadm_key:
        raise BadSection("doveadm_key_file", "is missing: it names the file with Dovecot's doveadm_api_key")
