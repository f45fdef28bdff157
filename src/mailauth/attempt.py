"""One try at logging in: what the client showed, and the circumstances.

Source: RFC 4422 section 2 (authentication and authorization identities), RFC 4616 (PLAIN).
Rule: values only. Nothing here decides, waits or reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv6Address

MAPPED_IPV4 = "::ffff:"  # RFC 4291 section 2.5.5.2: an IPv4 peer seen through an IPv6 socket
MAX_CLIENT_CHARS = 100
BRIDGE = "bridge:"  # before its name, in place of an address: who asked does not say, or may not say, for whom


class Service(StrEnum):
    """The mail services of an account; the portal is none of them."""

    IMAP = "imap"
    POP3 = "pop3"
    SMTP = "smtp"


@dataclass(frozen=True, slots=True)
class Credential:
    """What the client showed.

    authcid: the login as typed, not yet folded. password: as typed; bytes that are not UTF-8 arrive as
    surrogate escapes (PEP 383), so that `secret` gives back exactly what was sent. authzid: "" when none was sent.
    """

    authcid: str
    password: str = ""
    authzid: str = ""

    def __repr__(self) -> str:
        return f"Credential(authcid={self.authcid!r}, password=<hidden>, authzid={self.authzid!r})"

    @property
    def secret(self) -> bytes:
        """The password's bytes as the client sent them."""
        try:
            return self.password.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a lone surrogate that no decoder of ours made
            return self.password.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at logging in.

    peer: the client's IP address as text, "" when there is none (a UNIX socket), BRIDGE and a name when only the bridge
    is known that asks; a socket address tuple, an `ipaddress` object and None are taken too.
    tls: whether the password came over TLS.
    client: the name the client gave itself (IMAP ID, SMTP EHLO), for the owner's list; never trusted.
    question: a keyed digest of all of this, password included, where whoever made it has one already; such that equal
    ones are of equal attempts. b"": none.
    """

    credential: Credential
    service: Service
    peer: str
    tls: bool
    client: str = ""
    question: bytes = field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        if type(self.peer) is not str or self.peer.startswith(MAPPED_IPV4):
            object.__setattr__(self, "peer", address_text(self.peer))
        if type(self.service) is not Service:
            object.__setattr__(self, "service", Service(self.service))

    def without_secret(self) -> Attempt:
        """The same attempt, to be told about: without its password."""
        credential = self.credential
        told = Credential(credential.authcid, "", credential.authzid)
        return Attempt(told, self.service, self.peer, self.tls, self.client)


def client_name(said: Mapping[bytes, bytes]) -> str:
    """Attempt.client of the pairs that a mail program says of itself (RFC 2971), in lower case: name and version."""
    words = b" ".join((said.get(b"name", b""), said.get(b"version", b"")))
    return "".join(c for c in words.decode(errors="replace").strip()[:MAX_CLIENT_CHARS] if c.isprintable())


def address_text(peer: object) -> str:
    """The IP address in any common shape of a peer, as text; "" when there is none. Mapped IPv4 is IPv4."""
    if isinstance(peer, tuple):
        peer = peer[0] if peer else ""
    text = "" if peer is None else str(peer)
    text = text.partition("%")[0]  # a scope id names an interface of ours, not the client
    if not text.lower().startswith(MAPPED_IPV4):
        return text
    try:
        return str(IPv6Address(text).ipv4_mapped)
    except ValueError:
        return text
