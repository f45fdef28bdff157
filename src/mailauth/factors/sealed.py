"""What a factor must keep and nobody may read in the store: sealed under a subkey of the server key.

Source: RFC 8439 (ChaCha20-Poly1305), RFC 7693 (keyed BLAKE2b). Sealed text: base64 of 12 bytes nonce and ciphertext.
Rule: states hold sealed values only, and are opened at the moment of use. A value can be opened for the account and the
purpose that it was sealed for, and nowhere else, so that rows cannot be exchanged in the store.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, Self

from mailauth.interfaces import BadRecord, UnknownKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

NONCE_BYTES = 12
DIGEST_BYTES = 16


class Subkeys(Protocol):
    """The server keys, as `keys.KeyRing` has them."""

    @property
    def newest(self) -> int:
        """The one that new things are made under."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Ascending."""

    def subkey(self, purpose: str, key_id: int | None = None) -> bytes:
        """32 bytes for one purpose; raises KeyError for an id that is not there."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """One sealed value. purpose: what it is; key_id: of the server key."""

    purpose: str
    key_id: int
    value: bytes = field(repr=False)

    def text(self) -> str:
        """As it is stored."""
        return ":".join((self.purpose, str(self.key_id), base64.b64encode(self.value).decode()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        purpose, key_id, value = text.split(":")
        return cls(purpose, int(key_id), base64.b64decode(value, validate=True))


@dataclass(frozen=True, slots=True)
class Digest:
    """A keyed digest: the same for the same, and says nothing about it. key_id: of the server key; value: hex."""

    key_id: int
    value: str = field(repr=False)

    def text(self) -> str:
        """As it is stored."""
        return ":".join((str(self.key_id), self.value))


class Box:
    """Seals and opens for one account. account: what tells it apart for ever, such as its id."""

    __slots__ = ("_keys", "account")

    def __init__(self, keys: Subkeys, account: str) -> None:
        self._keys = keys
        self.account = account

    def __repr__(self) -> str:
        return f"Box({self.account!r})"

    def seal(self, purpose: str, plain: bytes, random: bytes) -> Sealed:
        """Seal under the newest key. random: 12 bytes or more.

        The nonce depends on the plaintext too: the same randomness twice does not give the key away.
        """
        key_id = self._keys.newest
        subkey = self._subkey(purpose, key_id)
        nonce = blake2b(_joined(random, self._context(purpose), plain), digest_size=NONCE_BYTES, key=subkey).digest()
        return Sealed(purpose, key_id, nonce + _cipher(subkey).encrypt(nonce, plain, self._context(purpose)))

    def open(self, purpose: str, sealed: Sealed) -> bytes:
        """Raises UnknownKey; BadRecord: it was sealed for something or somebody else, or changed."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  as in _cipher

        if sealed.purpose != purpose:
            raise BadRecord(f"a sealed value is of {sealed.purpose}, not of {purpose}")
        cipher = _cipher(self._subkey(purpose, sealed.key_id))
        nonce, ciphertext = sealed.value[:NONCE_BYTES], sealed.value[NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, ciphertext, self._context(purpose))
        except (InvalidTag, ValueError):
            raise BadRecord(f"a sealed value of {purpose} cannot be opened") from None

    def fingerprints(self, purpose: str, *parts: bytes) -> tuple[Digest, ...]:
        """Digests that are the same for every account, under each key, newest first: to find who else has this."""
        found = [
            Digest(
                key_id,
                blake2b(_joined(*parts), digest_size=DIGEST_BYTES, key=self._subkey(purpose, key_id)).hexdigest(),
            )
            for key_id in reversed(self._keys.ids)
        ]
        return tuple(found)

    def is_newest(self, sealed: Sealed) -> bool:
        """Whether it is sealed under the newest key."""
        return sealed.key_id == self._keys.newest

    def _subkey(self, purpose: str, key_id: int) -> bytes:
        try:
            return self._keys.subkey(f"factor {purpose}", key_id)
        except KeyError:
            raise UnknownKey(f"a value of {purpose} was made under server key {key_id}, which is not here") from None

    def _context(self, purpose: str) -> bytes:
        return _joined(self.account.encode(), purpose.encode())


def _cipher(subkey: bytes) -> ChaCha20Poly1305:
    """RFC 8439."""
    from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415  40 ms; most commands seal nothing
        ChaCha20Poly1305,
    )

    return ChaCha20Poly1305(subkey)


def resealed(state: Any, box: Box, draw: Callable[[str, int], bytes]) -> Any:
    """A state with everything sealed under the newest key; the very same object if it is so already.

    draw: as `Occasion.draw`. Raises UnknownKey, BadRecord.
    """

    def anew(sealed: Sealed) -> Sealed:
        if box.is_newest(sealed):
            return sealed
        plain = box.open(sealed.purpose, sealed)
        return box.seal(sealed.purpose, plain, draw(f"reseal {sealed.purpose}", NONCE_BYTES))

    return replaced(state, anew)


def replaced(value: Any, change: Callable[[Sealed], Any]) -> Any:
    """A state, or what `record.raw` reads of one, with everything sealed within it changed so.

    The very same object if `change` gives back what it gets.
    """
    if isinstance(value, Sealed):
        return change(value)
    if isinstance(value, tuple):
        items = tuple([replaced(item, change) for item in value])
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(value, MappingProxyType):
        entries = MappingProxyType({name: replaced(item, change) for name, item in value.items()})
        return value if all(entries[name] is item for name, item in value.items()) else entries
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    old = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    changed = {name: new for name, item in old.items() if (new := replaced(item, change)) is not item}
    return dataclasses.replace(value, **changed) if changed else value


def _joined(*parts: bytes) -> bytes:
    """Each after its length, so that no two lists of parts give the same bytes."""
    return b"".join([b"%d:%b" % (len(part), part) for part in parts])
