"""The terms of an app password: its label, services, networks and end, checked before anything is stored.

Source: UAX 9 (bidirectional controls), RFC 4291 and RFC 4632 (prefixes). Rule: in a label, what shows nothing goes, and
what shows something else than is there is refused.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Iterable

from mailauth.accounts.refusals import Refused
from mailauth.accounts.views import moment
from mailauth.attempt import Service
from mailauth.factors.typed import visible

MAX_LABEL_CHARACTERS = 100
MAX_NETWORKS = 32  # each one is compared at each login

# A label is shown in lists, mails and terminals: nothing in it may end its line, hide, or turn round what follows it.
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}


def label_from(text: str) -> str:
    """1 to 100 characters of any language, without those that nobody sees. Raises Refused."""
    trimmed = text.strip()
    if any(character in BIDI_CONTROLS or unicodedata.category(character) in UNPRINTABLE for character in trimmed):
        raise Refused("a label holds no control characters, line ends or marks that turn the direction of writing")
    label = visible(trimmed)
    if not 1 <= len(label) <= MAX_LABEL_CHARACTERS:
        raise Refused(f"a label has 1 to {MAX_LABEL_CHARACTERS} characters, such as the name of the device")
    return label


def services_from(wanted: Iterable[Service | str]) -> frozenset[Service]:
    """At least one. Raises Refused."""
    try:
        chosen = frozenset([Service(service) for service in wanted])
    except ValueError:
        raise Refused("the services are imap, pop3 and smtp") from None
    if not chosen:
        raise Refused("an app password is for at least one of imap, pop3 and smtp")
    return chosen


def networks_from(wanted: Iterable[str]) -> tuple[str, ...]:
    """CIDRs as the standard library writes them, each once; host bits go, mapped IPv4 becomes IPv4. Raises Refused."""
    chosen = tuple(dict.fromkeys([_network(text.strip()) for text in wanted]))
    if len(chosen) > MAX_NETWORKS:
        raise Refused(f"at most {MAX_NETWORKS} networks")
    return chosen


def expiry_from(expires_at: float | None, now: float) -> float | None:
    """Epoch seconds in the future, or None. Raises Refused."""
    if expires_at is not None and not now < expires_at < float("inf"):
        raise Refused(f"an app password cannot expire in the past ({moment(expires_at)})")
    return expires_at


def _network(text: str) -> str:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise Refused(f"{text[:60]!r} is no network: write it like 192.0.2.0/24 or 2001:db8::/32") from None
    if isinstance(network, ipaddress.IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:  # RFC 4291 section 2.5.5.2; peers are compared as IPv4
            return str(ipaddress.ip_network((mapped, network.prefixlen - 96)))
    return str(network)
