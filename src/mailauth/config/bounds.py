"""The sections of mailauth.toml that say how much and how long: hashing, throttle, replies, limits, retention.

Rule: as in `settings`, which has the rest and the list of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from mailauth.config.values import check_help_line, flag, key, networks, seconds, text, whole

days = whole(1, 36_500)


@dataclass(frozen=True, slots=True)
class Hashing:
    """Argon2id for new hashes (RFC 9106), and the threads that compute all of them."""

    time_cost: int = key(whole(1, 16), 2, doc="passes over the memory")
    memory_kib: int = key(whole(7168, 1024 * 1024), 19456, doc="memory of one hash")
    parallelism: int = key(whole(1, 16), 1, doc="lanes of one hash; 1 is right for a server")
    threads: int = key(whole(0, 256), 0, doc="hashes at the same time; 0: as many as this machine has cores")
    queue_limit: int = key(
        whole(1, 100_000), 1000, doc="hashes that may wait; known sources have as many places of their own"
    )
    queue_deadline_s: float = key(seconds(0.1, 60), 8.0, doc="a login whose hash waits longer is deferred")


@dataclass(frozen=True, slots=True)
class Throttle:
    """What holds guessing back."""

    enabled: bool = key(flag, True, doc="slow down sources and accounts that show wrong passwords")
    trusted_networks: tuple[IPv4Network | IPv6Network, ...] = key(
        networks, [], doc="webmail and the like: many users behind one address, never slowed down, as CIDR networks"
    )
    max_connections_per_source: int = key(
        whole(1, 1_000_000), 100, doc="connections at once from one IPv4 address or IPv6 /64; phones open five each"
    )
    recognise_web_passwords: bool = key(
        flag,
        False,
        doc="find out, for its owner alone, whether a refused program keeps sending the web password (one hash a day)",
    )


@dataclass(frozen=True, slots=True)
class Replies:
    """What a refused client gets to hear."""

    refusal_delay_s: float = key(seconds(0, 10), 2.0, doc="a refusal leaves this long after the attempt")
    help_line: str = key(
        text("a line", check_help_line, empty=True), "", doc="said after `Authentication failed.`: whom to ask"
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """What one serve process bears, and how long it waits for a client."""

    max_connections: int = key(
        whole(1, 1_000_000), 20_000, doc="connections at once, as far as the limit of open files goes"
    )
    login_s: float = key(seconds(1, 600), 60.0, doc="from the connection to the end of the login")
    handshake_s: float = key(seconds(1, 120), 15.0, doc="for a TLS handshake or a PROXY header")
    idle_s: float = key(
        seconds(1, 86_400), 1800.0, doc="silence of an IMAP client after login; RFC 3501: 1800 at least"
    )
    max_failures: int = key(whole(1, 100), 5, doc="refused logins on one connection before it is closed")


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what happened is kept. What is too old goes within the hour, a little at a time."""

    audit_days: int = key(days, 180, doc="days that a row of the audit log is kept")
    activity_days: int = key(days, 90, doc="days of the audit log that an account's owner is shown")
    address_days: int = key(days, 30, doc="days that whole IP addresses are kept; then /24 of IPv4, /48 of IPv6")
    observation_days: int = key(days, 90, doc="days that a program is remembered that uses a wrong kind of password")
