"""What a client may say of itself put into LDAP: into a search filter, and into a distinguished name.

Source: RFC 4515 (filters as text), RFC 4511 section 4.5.1.7 (filters as bytes), RFC 4514 section 2.4 (names).
Rule: the operator's filter is taken apart before a login is put in, so a login is a value and never a part of it.
"""

from __future__ import annotations

import re

from mailauth.sources.ldap_wire import OCTETS, element
from mailauth.sources.parts import PLACEHOLDER, filled, parts_of

AND, OR, NOT, EQUALITY, SUBSTRINGS, AT_LEAST, AT_MOST, PRESENT, APPROXIMATE, EXTENSIBLE = (
    *(0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6),
    *(0x87, 0xA8, 0xA9),
)
OPERATORS = {"=": EQUALITY, ">=": AT_LEAST, "<=": AT_MOST, "~=": APPROXIMATE}
MAX_DEPTH = 20

_ITEM = re.compile(r"([A-Za-z0-9.;-]+)(=|>=|<=|~=)([^()]*)", re.ASCII)
_EXTENSIBLE = re.compile(r"([A-Za-z0-9.;-]*)(:dn)?(?::([A-Za-z0-9.-]+))?:=([^()]*)", re.ASCII | re.IGNORECASE)
_ESCAPE = re.compile(r"\\(..?)?", re.DOTALL)
_HEX = re.compile(r"[0-9A-Fa-f]{2}", re.ASCII)
_SPECIAL = re.compile(r'["+,;<>\\=]|^[ #]| $|\0')


class BadFilter(ValueError):
    """The operator's filter cannot be read. The text says where."""


def encoded(template: str, login: str) -> bytes:
    """The filter as bytes, with {login}, {local} and {domain} as values. Raises BadFilter."""
    whole, rest = _filter(template.strip(), parts_of(login), 0)
    if rest:
        raise BadFilter(f"something stands behind its end: {rest[:20]!r}")
    return whole


def dn(template: str, login: str) -> str:
    """The distinguished name of a template, with {login}, {local} and {domain} escaped."""
    return filled(template, login, escaped)


def escaped(value: str) -> str:
    """An attribute value as it stands in a distinguished name, RFC 4514 section 2.4."""
    return _SPECIAL.sub(lambda match: "\\00" if match[0] == "\0" else f"\\{match[0]}", value)


def _filter(text: str, values: dict[str, str], depth: int) -> tuple[bytes, str]:
    """The filter that this text begins with, and what stands behind it."""
    if depth > MAX_DEPTH:
        raise BadFilter("too many parentheses in each other")
    if not text.startswith("("):
        raise BadFilter(f"a ( is missing before {text[:20]!r}")
    text = text[1:].lstrip()
    if text[:1] in {"&", "|", "!"}:
        return _group(text, values, depth)
    item, parenthesis, rest = text.partition(")")
    if not parenthesis:
        raise BadFilter("a ) is missing at its end")
    return _item(item, values), rest


def _group(text: str, values: dict[str, str], depth: int) -> tuple[bytes, str]:
    operator, rest = text[0], text[1:].lstrip()
    inner: list[bytes] = []
    while rest.startswith("("):
        one, rest = _filter(rest, values, depth + 1)
        inner.append(one)
        rest = rest.lstrip()
    if not rest.startswith(")"):
        raise BadFilter(f"a ) is missing before {rest[:20]!r}")
    if not inner or (operator == "!" and len(inner) != 1):
        raise BadFilter(f"behind {operator} there is not what belongs there")
    return element({"&": AND, "|": OR, "!": NOT}[operator], b"".join(inner)), rest[1:]


def _item(text: str, values: dict[str, str]) -> bytes:
    match = _ITEM.fullmatch(text)
    if match is None:
        return _extensible(text, values)
    attribute, operator, value = match.groups()
    name = element(OCTETS, attribute.encode())
    if operator != "=" or "*" not in value:
        return element(OPERATORS[operator], name + element(OCTETS, _value(value, values)))
    if value == "*":
        return element(PRESENT, attribute.encode())
    first, *middle, last = [_value(part, values) for part in value.split("*")]
    parts = [(0x80, first), *[(0x81, part) for part in middle], (0x82, last)]
    pieces = b"".join([element(tag, part) for tag, part in parts if part])
    return element(SUBSTRINGS, name + element(0x30, pieces))


def _extensible(text: str, values: dict[str, str]) -> bytes:
    match = _EXTENSIBLE.fullmatch(text)
    if match is None or not (match[1] or match[3]):
        raise BadFilter(f"{text[:40]!r} is no condition")
    attribute, with_dn, rule, value = match.groups()
    parts = element(0x81, rule.encode()) if rule else b""
    parts += element(0x82, attribute.encode()) if attribute else b""
    parts += element(0x83, _value(value, values))
    parts += element(0x84, b"\xff") if with_dn else b""
    return element(EXTENSIBLE, parts)


def _value(text: str, values: dict[str, str]) -> bytes:
    """The bytes of one value: escapes undone first, so that none is made of what is put in."""
    raw, at = b"", 0
    for match in PLACEHOLDER.finditer(text):
        raw += _unescaped(text[at : match.start()]) + values[match[1]].encode()
        at = match.end()
    return raw + _unescaped(text[at:])


def _unescaped(text: str) -> bytes:
    raw, at = b"", 0
    for match in _ESCAPE.finditer(text):
        if match[1] is None or not _HEX.fullmatch(match[1]):
            raise BadFilter(r"behind a \ two hexadecimal digits must stand")
        raw += text[at : match.start()].encode() + bytes.fromhex(match[1])
        at = match.end()
    return raw + text[at:].encode()
