"""The words of an AUTH line of Dovecot's protocol, beside the exchange itself: for which service, and for whom.

Source: Dovecot's documentation, "Authentication Protocol". Rule: a word that is not known is passed over.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailauth.attempt import Service
from mailauth.bridges.bridge import Terms

ESCAPES = {b"0": b"\0", b"1": b"\1", b"t": b"\t", b"r": b"\r", b"n": b"\n"}  # behind 0x01; others stand for themselves
ESCAPED = re.compile(b"\1(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What an AUTH line says beside the exchange. peer: as in Attempt; name: what the client calls itself."""

    service: Service
    peer: str
    tls: bool
    name: str


def circumstances(words: list[bytes], terms: Terms) -> Circumstances | None:
    """What these words say, behind the mechanism; None: of a service that is not served."""
    given: dict[bytes, bytes] = {}
    for word in words:
        key, _, value = word.partition(b"=")
        given[key] = value
    service = terms.service(text(given.get(b"service", b"")))
    if service is None:
        return None
    tls = given.get(b"secured", b"no") in {b"", b"tls", b"TLS"}
    name = "".join(c for c in text(given.get(b"client_id", b""))[:100] if c.isprintable())
    return Circumstances(service, terms.peer(text(given.get(b"rip", b""))), tls, name)


def text(value: bytes) -> str:
    """A value without its escapes; what is not UTF-8 is replaced."""
    if b"\1" in value:
        value = ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]), value)
    return value.decode("utf-8", "replace")
