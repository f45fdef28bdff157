"""ENVELOPE and BODYSTRUCTURE, RFC 3501 section 7.4.2.

Rule: header text goes out as it came in, encoded words and all; what a quoted string cannot hold goes out as a literal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from email.utils import getaddresses

from mailauth.mailbox.mime import Field, Parameterised, Part, parameterised

NIL = b"NIL"
MAX_QUOTED_BYTES = 1000  # longer ones go out as literals: some clients have short buffers for a line
MAX_ADDRESSES_BYTES = 65_536  # of one field; no letter has more
_UNQUOTABLE = re.compile(rb"[^\x20-\x7e]")
_TOKEN = re.compile(rb"[^\s;()<>@,\"]+")
_SPECIAL = re.compile(rb'(["\\])')


def nstring(value: bytes | None) -> bytes:
    """A string, or NIL. A NUL, which no string can hold, is left out."""
    if value is None:
        return NIL
    if len(value) > MAX_QUOTED_BYTES or _UNQUOTABLE.search(value):
        value = value.replace(b"\0", b"")
        return b"{%d}\r\n%b" % (len(value), value)
    return b'"' + _SPECIAL.sub(rb"\\\1", value) + b'"'


def envelope(fields: Iterable[Field]) -> bytes:
    """The envelope from a message's header fields."""
    first: dict[bytes, bytes] = {}
    for field in fields:
        first.setdefault(field.name, field.value)
    senders = _addresses(first.get(b"from"))
    return b"(%b)" % b" ".join(
        (
            nstring(first.get(b"date")),
            nstring(first.get(b"subject")),
            senders,
            _addresses(first.get(b"sender"), senders),
            _addresses(first.get(b"reply-to"), senders),
            _addresses(first.get(b"to")),
            _addresses(first.get(b"cc")),
            _addresses(first.get(b"bcc")),
            nstring(first.get(b"in-reply-to")),
            nstring(first.get(b"message-id")),
        )
    )


def body(part: Part, extended: bool) -> bytes:
    """The structure of a part: BODYSTRUCTURE if extended, else BODY."""
    maintype, _, subtype = part.content_type.value.partition(b"/")
    if part.is_multipart:
        inner = b"".join(body(child, extended) for child in part.parts)
        return b"(%b %b%b)" % (inner, nstring(subtype), _multipart_extension(part) if extended else b"")
    items = [
        nstring(maintype),
        nstring(subtype),
        _parameters(part.content_type.parameters),
        nstring(part.value(b"content-id")),
        nstring(part.value(b"content-description")),
        nstring(_token(part.value(b"content-transfer-encoding")) or b"7bit"),
        b"%d" % (part.end - part.body),
    ]
    if part.is_message:
        items += [envelope(part.parts[0].fields), body(part.parts[0], extended)]
    if part.is_message or maintype == b"text":
        items.append(b"%d" % part.data.count(b"\n", part.body, part.end))
    if extended:
        items += [nstring(part.value(b"content-md5")), *_extension(part)]
    return b"(%b)" % b" ".join(items)


def _multipart_extension(part: Part) -> bytes:
    return b" " + b" ".join([_parameters(part.content_type.parameters), *_extension(part)])


def _extension(part: Part) -> tuple[bytes, bytes, bytes]:
    return (
        _disposition(parameterised(part.value(b"content-disposition"))),
        _languages(part.value(b"content-language")),
        nstring(part.value(b"content-location")),
    )


def _disposition(disposition: Parameterised | None) -> bytes:
    if disposition is None:
        return NIL
    return b"(%b %b)" % (nstring(disposition.value), _parameters(disposition.parameters))


def _languages(value: bytes | None) -> bytes:
    languages = [nstring(tag) for tag in map(bytes.strip, (value or b"").split(b",")) if tag]
    return b"(%b)" % b" ".join(languages) if languages else NIL


def _parameters(parameters: Mapping[bytes, bytes]) -> bytes:
    pairs = [nstring(name) + b" " + nstring(value) for name, value in parameters.items()]
    return b"(%b)" % b" ".join(pairs) if pairs else NIL


def _token(value: bytes | None) -> bytes | None:
    match = _TOKEN.match(value) if value else None
    return match[0].lower() if match else None


def _addresses(value: bytes | None, default: bytes = NIL) -> bytes:
    found = [_address(name, address) for name, address in _pairs(value) if address] if value else []
    return b"(%b)" % b"".join(found) if found else default


def _pairs(value: bytes) -> list[tuple[str, str]]:
    try:
        return getaddresses([value[:MAX_ADDRESSES_BYTES].decode("ascii", "surrogateescape")])
    except RecursionError:  # comments in comments in comments
        return []


def _address(name: str, address: str) -> bytes:
    mailbox, at, host = address.rpartition("@")
    if not at:
        mailbox, host = address, ""
    encoded = (text.encode("utf-8", "surrogateescape") for text in (name, mailbox, host))
    shown, local, domain = encoded
    return b"(%b NIL %b %b)" % (nstring(shown or None), nstring(local), nstring(domain))
