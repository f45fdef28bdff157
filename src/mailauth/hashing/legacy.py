"""Web passwords that other mail systems stored: read and verified, never made.

Source: Dovecot's password schemes; RFC 2307 section 5.3 ({SHA}, {MD5} and their salted kin); crypt(5) of libxcrypt;
RFC 8018 (PBKDF2); RFC 5802 section 3 (SCRAM's StoredKey); RFC 7914 (scrypt); the formats of passlib, Django and
Apache's htpasswd.
Rule: a record is read whole before anything is computed, so that garbage is BadRecord, and so is a cost beyond reason.

Two schemes look at a part of a long secret only, and so do we, or their owners could not log in: bcrypt at its first
72 bytes, DES crypt at its first 8. The whole secret counts from the first good login on, when the record is replaced.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any

from mailauth.hashing.scheme import Check, Stored, decoded, unpadded
from mailauth.interfaces import BadRecord, HashUnavailable

MAX_ROUNDS = 10_000_000  # of PBKDF2: some seconds
MAX_CRYPT_ROUNDS = 1_000_000  # of $5$ and $6$, which run in Python: half a second
MAX_BCRYPT_COST = 16  # four seconds
MAX_SCRYPT_BYTES = 1 << 30
BCRYPT_BYTES = 72
CRYPT_SECRET_BYTES = 512  # CRYPT_MAX_PASSPHRASE_SIZE of libxcrypt: no crypt(3) has hashed a longer one

DIGESTS = {  # scheme: (algorithm, digest's length in bytes, salted)
    "SHA": ("sha1", 20, False),
    "SHA1": ("sha1", 20, False),
    "SHA256": ("sha256", 32, False),
    "SHA512": ("sha512", 64, False),
    "LDAP-MD5": ("md5", 16, False),
    "PLAIN-MD5": ("md5", 16, False),
    "MD5": ("md5", 16, False),
    "SSHA": ("sha1", 20, True),
    "SSHA256": ("sha256", 32, True),
    "SSHA512": ("sha512", 64, True),
    "SMD5": ("md5", 16, True),
}

_BCRYPT = re.compile(r"(\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu])([./A-Za-z0-9]{30}[.CGKOSWaeimquy26])", re.ASCII)
_BCRYPT_SHA256 = re.compile(
    r"\$bcrypt-sha256\$(?:v=2,t=2b,r=(\d{1,2})|2[ab],(\d{1,2}))"
    r"\$([./A-Za-z0-9]{21}[.Oeu])\$([./A-Za-z0-9]{30}[.CGKOSWaeimquy26])",
    re.ASCII,
)
_DOVECOT_PBKDF2 = re.compile(r"\$1\$([^$]{1,64})\$(\d{1,9})\$([0-9a-fA-F]{40})", re.ASCII)
_PASSLIB_PBKDF2 = re.compile(r"(\d{1,9})\$([A-Za-z0-9./+]{0,128})\$([A-Za-z0-9./+]{16,128})", re.ASCII)
_DJANGO = re.compile(r"pbkdf2_(sha1|sha256)\$(\d{1,9})\$([^$]{1,128})\$([A-Za-z0-9+/]{16,128}={0,2})", re.ASCII)
_SCRAM = re.compile(r"(\d{1,9}),([A-Za-z0-9+/=]{1,128}),([A-Za-z0-9+/=]{1,128}),[A-Za-z0-9+/=]{1,128}", re.ASCII)
_SCRYPT = re.compile(
    r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,6}),p=(\d{1,6})\$([A-Za-z0-9+/]{0,128})\$([A-Za-z0-9+/]{16,128})", re.ASCII
)


def read(stored: Stored) -> Check:
    """The check that this record stands for. Raises BadRecord; ImportError or MemoryError if a library cannot load.

    A secret with a NUL matches nothing: crypt(3) would stop there, and HMAC (so PBKDF2) does not see one at the end.
    """
    check = _read(stored)
    return lambda secret: b"\0" not in secret and check(secret)


def _read(stored: Stored) -> Check:
    if stored.scheme in DIGESTS and (stored.scheme, stored.value[:3]) != ("MD5", "$1$"):  # Dovecot's {MD5} is either
        return _digest(stored)
    reader = _READERS.get(stored.scheme)
    if reader is None:
        raise BadRecord(f"unknown password scheme {{{stored.scheme}}}")
    return reader(stored.text())


def _digest(stored: Stored) -> Check:
    algorithm, size, salted = DIGESTS[stored.scheme]
    hexadecimal = not salted and len(stored.value) == 2 * size  # Dovecot guesses in the same way
    raw = decoded(stored.encoding or ("HEX" if hexadecimal else "B64"), stored.value)
    if len(raw) <= size if salted else len(raw) != size:
        raise BadRecord(f"a {{{stored.scheme}}} hash of the wrong length")
    digest, salt = raw[:size], raw[size:]

    def check(secret: bytes) -> bool:
        return hmac.compare_digest(hashlib.new(algorithm, secret + salt, usedforsecurity=False).digest(), digest)

    return check


def _plain(text: str) -> Check:
    expected = text.encode("utf-8", "surrogateescape")
    return lambda secret: hmac.compare_digest(secret, expected)


def _modular(text: str) -> Check:
    """crypt(3) and its kin, which name themselves."""
    for prefix, reader in _MODULAR.items():
        if text.startswith(prefix):
            return reader(text)
    return _crypt("des_crypt", text)


def _crypt(name: str, text: str) -> Check:
    import passlib.hash  # noqa: PLC0415 - 45 ms, and only these records need it

    handler: Any = getattr(passlib.hash, name)
    try:
        parsed = handler.from_string(text)
    except (ValueError, TypeError):
        raise BadRecord(f"not a password hash of any known kind, nor of {name}") from None
    if parsed.checksum is None or getattr(parsed, "rounds", 0) > MAX_CRYPT_ROUNDS:
        raise BadRecord(f"a {name} hash without a digest, or of an absurd cost")

    def check(secret: bytes) -> bool:
        return len(secret) <= CRYPT_SECRET_BYTES and bool(handler.verify(secret, text))

    return check


def _bcrypt(text: str) -> Check:
    match = _BCRYPT.fullmatch(text)
    if match is None:
        raise BadRecord("not a bcrypt hash")
    return _blowfish(match[1], int(match[2]), match[3], lambda secret: secret[:BCRYPT_BYTES])


def _bcrypt_sha256(text: str) -> Check:
    match = _BCRYPT_SHA256.fullmatch(text)
    if match is None:
        raise BadRecord("not a bcrypt-sha256 hash")
    salt, cost = match[3], int(match[1] or match[2])

    def prehash(secret: bytes) -> bytes:
        keyed = match[1] is not None  # passlib's second version
        digest = hmac.digest(salt.encode(), secret, "sha256") if keyed else hashlib.sha256(secret).digest()
        return base64.b64encode(digest)

    return _blowfish(f"$2b${cost:02}${salt}", cost, match[4], prehash)


def _blowfish(setting: str, cost: int, checksum: str, key: Callable[[bytes], bytes]) -> Check:
    import bcrypt  # noqa: PLC0415 - only these records need it

    if not 4 <= cost <= MAX_BCRYPT_COST:
        raise BadRecord(f"bcrypt of cost {cost}, beyond 4 to {MAX_BCRYPT_COST}")

    def check(secret: bytes) -> bool:
        return hmac.compare_digest(bcrypt.hashpw(key(secret), setting.encode())[-31:], checksum.encode())

    return check


def _pbkdf2(algorithm: str, salt: bytes, rounds: int, expected: bytes) -> Check:
    if not 1 <= rounds <= MAX_ROUNDS:
        raise BadRecord(f"PBKDF2 of {rounds} rounds, beyond {MAX_ROUNDS}")

    def check(secret: bytes) -> bool:
        return hmac.compare_digest(hashlib.pbkdf2_hmac(algorithm, secret, salt, rounds, len(expected)), expected)

    return check


def _dovecot_pbkdf2(text: str) -> Check:
    if not text.startswith("$1$"):
        return _passlib_pbkdf2("sha1", text)
    match = _DOVECOT_PBKDF2.fullmatch(text)
    if match is None:
        raise BadRecord("not a PBKDF2 hash of Dovecot")
    return _pbkdf2("sha1", match[1].encode(), int(match[2]), bytes.fromhex(match[3]))


def _passlib_pbkdf2(algorithm: str, text: str) -> Check:
    match = _PASSLIB_PBKDF2.fullmatch(text)
    if match is None:
        raise BadRecord("not a PBKDF2 hash of passlib")
    salt, expected = (unpadded(part.replace(".", "+")) for part in (match[2], match[3]))
    return _pbkdf2(algorithm, salt, int(match[1]), expected)


def _django_pbkdf2(text: str) -> Check:
    match = _DJANGO.fullmatch(text)
    if match is None:
        raise BadRecord("not a PBKDF2 hash of Django")
    return _pbkdf2(match[1], match[3].encode("utf-8", "surrogateescape"), int(match[2]), decoded("B64", match[4]))


def _scram(algorithm: str, text: str) -> Check:
    match = _SCRAM.fullmatch(text)
    if match is None:
        raise BadRecord("not a SCRAM record: iterations,salt,StoredKey,ServerKey")
    rounds, salt, stored_key = int(match[1]), decoded("B64", match[2]), decoded("B64", match[3])
    size = hashlib.new(algorithm).digest_size
    if not 1 <= rounds <= MAX_ROUNDS or len(stored_key) != size:
        raise BadRecord(f"a SCRAM record of {rounds} iterations, or a StoredKey of the wrong length")

    def check(secret: bytes) -> bool:
        salted = hashlib.pbkdf2_hmac(algorithm, secret, salt, rounds)
        client_key = hmac.digest(salted, b"Client Key", algorithm)
        return hmac.compare_digest(hashlib.new(algorithm, client_key).digest(), stored_key)

    return check


def _scrypt(text: str) -> Check:
    match = _SCRYPT.fullmatch(text)
    if match is None:
        raise BadRecord("not an scrypt hash")
    ln, r, p = int(match[1]), int(match[2]), int(match[3])
    memory_bytes = 128 * r * ((1 << ln) + p + 2)
    if not 1 <= ln < 16 * r or p < 1 or memory_bytes * p > MAX_SCRYPT_BYTES:  # RFC 7914 section 2
        raise BadRecord("scrypt of an absurd cost")
    salt, expected = unpadded(match[4]), unpadded(match[5])

    def check(secret: bytes) -> bool:
        cost = {"n": 1 << ln, "r": r, "p": p, "maxmem": memory_bytes + 4096}
        try:
            derived = hashlib.scrypt(secret, salt=salt, dklen=len(expected), **cost)
        except ValueError:  # OpenSSL's only word for it, out of memory included
            raise HashUnavailable(f"scrypt with {memory_bytes} bytes failed") from None
        return hmac.compare_digest(derived, expected)

    return check


_MODULAR: dict[str, Callable[[str], Check]] = {
    "$1$": lambda text: _crypt("md5_crypt", text),
    "$apr1$": lambda text: _crypt("apr_md5_crypt", text),
    "$5$": lambda text: _crypt("sha256_crypt", text),
    "$6$": lambda text: _crypt("sha512_crypt", text),
    "$2": _bcrypt,
    "$bcrypt-sha256$": _bcrypt_sha256,
    "$pbkdf2$": lambda text: _passlib_pbkdf2("sha1", text[8:]),
    "$pbkdf2-sha256$": lambda text: _passlib_pbkdf2("sha256", text[15:]),
    "$pbkdf2-sha512$": lambda text: _passlib_pbkdf2("sha512", text[15:]),
    "$scrypt$": _scrypt,
    "pbkdf2_": _django_pbkdf2,
}

_READERS: dict[str, Callable[[str], Check]] = {
    **dict.fromkeys(
        ("", "CRYPT", "BLF-CRYPT", "SHA256-CRYPT", "SHA512-CRYPT", "MD5-CRYPT", "DES-CRYPT", "MD5"), _modular
    ),
    **dict.fromkeys(("PLAIN", "CLEAR", "CLEARTEXT"), _plain),
    "PBKDF2": _dovecot_pbkdf2,
    "PBKDF2-SHA1": lambda text: _passlib_pbkdf2("sha1", text),
    "PBKDF2-SHA256": lambda text: _passlib_pbkdf2("sha256", text),
    "PBKDF2-SHA512": lambda text: _passlib_pbkdf2("sha512", text),
    "SCRAM-SHA-1": lambda text: _scram("sha1", text),
    "SCRAM-SHA-256": lambda text: _scram("sha256", text),
}
