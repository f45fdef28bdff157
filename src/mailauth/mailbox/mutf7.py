"""Folder names on the wire and on disk: modified UTF-7, RFC 3501 section 5.1.3.

Rule: strict. One name has one spelling, so two spellings can never be two folders.
"""

from __future__ import annotations

import base64
import binascii
import re

_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_NOT_DIRECT = re.compile(r"&|[^\x20-\x7e]+")


def encode(name: str) -> bytes:
    """The name in modified UTF-7. Raises ValueError for a lone surrogate."""
    return _NOT_DIRECT.sub(_shift, name).encode("ascii")


def decode(data: bytes) -> str:
    """The name that this is the modified UTF-7 of. Raises ValueError for any other spelling and for 8-bit octets."""
    name = "".join(_unshift(piece) if index % 2 else _direct(piece) for index, piece in enumerate(_SHIFTED.split(data)))
    if encode(name) != data:
        raise ValueError("not the one spelling of this name")
    return name


def _shift(match: re.Match[str]) -> str:
    if match[0] == "&":
        return "&-"
    packed = base64.b64encode(match[0].encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
    return f"&{packed.decode('ascii')}-"


def _direct(piece: bytes) -> str:
    if b"&" in piece:
        raise ValueError("a shift that does not end")
    return piece.decode("ascii")


def _unshift(piece: bytes) -> str:
    if not piece:
        return "&"
    try:
        packed = base64.b64decode(piece.replace(b",", b"/") + b"=" * (-len(piece) % 4), validate=True)
    except binascii.Error:
        raise ValueError("not base64") from None
    return packed.decode("utf-16-be")
