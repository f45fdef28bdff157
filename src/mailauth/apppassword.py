"""App passwords: how one is minted, shown, recognised, and found again by its selector.

Source: RFC 7693 (keyed BLAKE2b), RFC 4086 section 2 (randomness); the rules of cleaning are this project's own.
Rule: cleaning takes away what people and programs add, never case, and never touches a web password.
"""

from __future__ import annotations

import math
import secrets
from hashlib import blake2b

ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"  # without 0 o 1 i l, which read alike
LENGTH = 16
MIN_BITS = 75  # of a whole password: what no guessing reaches, even offline against the stored hash
GROUP = 4

_SPACES = "".join(
    chr(code) for code in range(0x3001) if chr(code).isspace() and not 0x1C <= code <= 0x1F
)  # not controls
_HYPHENS = "-\xad\u2010\u2011\uff0d"
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff"
_CLEANING = {
    **{code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)},  # full-width forms of U+0021 to U+007E
    **dict.fromkeys(map(ord, _SPACES + _HYPHENS + _ZERO_WIDTH)),
}


def check_alphabet(alphabet: str) -> None:
    """Raise ValueError unless this alphabet gives passwords that cleaning leaves alone and nobody guesses."""
    if not (alphabet.isascii() and alphabet.isalnum()):
        raise ValueError("an alphabet of app passwords holds ASCII letters and digits only")
    if len(set(alphabet)) != len(alphabet):
        raise ValueError("an alphabet of app passwords holds no character twice")
    bits = LENGTH * math.log2(len(alphabet))
    if bits < MIN_BITS:
        least = math.ceil(2 ** (MIN_BITS / LENGTH))
        raise ValueError(f"this alphabet gives {bits:.0f} bits, {MIN_BITS} are needed: use {least} characters or more")


def mint(alphabet: str = ALPHABET) -> str:
    """A new app password: 16 characters, each equally likely, from the operating system's random source."""
    return "".join([secrets.choice(alphabet) for _ in range(LENGTH)])


def grouped(password: str) -> str:
    """As people read it: "abcd efgh jkmn pqrs"."""
    return " ".join([password[start : start + GROUP] for start in range(0, len(password), GROUP)])


def clean(secret: bytes) -> str | None:
    """The app password that these bytes may be, 16 ASCII letters and digits; None: they are none.

    White space, line ends, hyphens and zero-width characters go wherever they stand; full-width becomes plain.
    """
    if len(secret) == LENGTH and secret.isalnum():
        return secret.decode("ascii")
    try:
        text = secret.decode("utf-8").translate(_CLEANING)
    except UnicodeDecodeError:
        return None
    return text if len(text) == LENGTH and text.isascii() and text.isalnum() else None


def selector(subkey: bytes, login: str, cleaned: str) -> int:
    """16 bits of keyed BLAKE2b (RFC 7693) over login and password, each after its length: 0 to 65535.

    subkey: `KeyRing.subkey("selector", ...)`. login: folded by names.fold.
    """
    name, password = login.encode(), cleaned.encode()
    message = b"%d:%b%d:%b" % (len(name), name, len(password), password)
    return int.from_bytes(blake2b(message, digest_size=2, key=subkey).digest(), "big")
