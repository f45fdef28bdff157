"""HTTP/1.0 and 1.1 as a server reads and writes it, RFC 9110 and RFC 9112, no more than mail servers need.

Rule: what two readers could take for two different requests is refused, and the connection ends with it: no
Transfer-Encoding, one Content-Length, no folded line, no bare LF, no space before a colon (RFC 9112 sections 2.2, 5.1,
6.3 and 11.2). Values of fields are bytes: nginx sends UTF-8 in them as it comes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes

MAX_HEAD_BYTES = 65_536  # a password of 9000 octets, percent-encoded, is in it
MAX_BODY_BYTES = 65_536
MAX_FIELDS = 100
MAX_PAIRS = 100  # of a form
END = b"\r\n\r\n"
REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) (/[!-~]*) HTTP/1\.([01])")
NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
LENGTH = re.compile(rb"[0-9]{1,9}")
PHRASES = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}
FORM = b"application/x-www-form-urlencoded"
JSON = b"application/json"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Malformed(Exception):
    """This is no request that can be answered as one. status: how that is said."""

    def __init__(self, status: int = 400) -> None:
        super().__init__(f"malformed: {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request. path: as it was sent; fields: values by lower-case name; body: whole.

    stays: whether the connection may be used for another.
    """

    method: bytes
    path: str
    query: str = field(default="", repr=False)
    fields: Mapping[bytes, Sequence[bytes]] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    stays: bool = False

    def one(self, name: bytes) -> bytes:
        """The value of a field that may be there once; b"" when it is not. Raises Malformed."""
        values = self.fields.get(name, (b"",))
        if len(values) > 1:
            raise Malformed
        return values[0]

    def form(self) -> dict[str, str]:
        """The body as a form; octets that are not UTF-8 as surrogate escapes. Raises Malformed."""
        if self.one(b"content-type").partition(b";")[0].strip().lower() != FORM:
            raise Malformed
        return pairs(self.body)

    def json(self) -> dict[str, object]:
        """The body as a JSON object. Raises Malformed."""
        try:
            value = json.loads(self.body, object_pairs_hook=_object)
        except (ValueError, RecursionError):
            raise Malformed from None
        if type(value) is not dict:
            raise Malformed
        return value


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. fields: beside those that every answer has. warning: for the operator, as in dialogue.Warn."""

    status: int = 200
    body: bytes = field(default=b"", repr=False)
    kind: bytes = b"text/plain; charset=utf-8"
    fields: Sequence[tuple[bytes, bytes]] = field(default=(), repr=False)
    warning: str = ""

    def warned(self, text: str) -> Reply:
        """The same, with a warning."""
        return replace(self, warning=text)


def json_reply(status: int, value: object, fields: Sequence[tuple[bytes, bytes]] = ()) -> Reply:
    """An answer in JSON."""
    return Reply(status, json.dumps(value).encode() + b"\n", JSON, fields)


def spelt(reply: Reply, *, stays: bool) -> bytes:
    """An answer as it goes over the wire. Nobody may keep it (RFC 9111 section 5.2.2.5)."""
    lines = [
        b"HTTP/1.1 %d %b" % (reply.status, PHRASES[reply.status]),
        *[b"%b: %b" % pair for pair in reply.fields],
        b"Content-Type: " + reply.kind,
        b"Content-Length: %d" % len(reply.body),
        b"Cache-Control: no-store",
        b"Connection: " + (b"keep-alive" if stays else b"close"),
    ]
    return b"\r\n".join(lines) + END + reply.body


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before a body. expects: whether the client waits for a word before it sends the body."""

    request: Request
    length: int
    expects: bool


def head(text: bytes) -> Head:
    """The head of a request, without its last empty line. Raises Malformed."""
    first, *lines = text.split(b"\r\n")
    words = REQUEST_LINE.fullmatch(first)
    if words is None:
        raise Malformed(505 if first.endswith((b" HTTP/2.0", b" HTTP/3.0")) else 400)
    if len(lines) > MAX_FIELDS:
        raise Malformed(431)
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or NAME.fullmatch(name) is None or CONTROL.search(value) is not None:
            raise Malformed
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    newer = words[3] == b"1"
    if len(fields.get(b"host", ())) > 1 or (newer and b"host" not in fields):
        raise Malformed  # RFC 9112 section 3.2
    path, _, query = words[2].decode("ascii").partition("?")
    request = Request(words[1], path, query, fields, stays=_stays(fields, newer=newer))
    expects = newer and request.one(b"expect").lower() == b"100-continue"
    return Head(request, _length(fields), expects)


def _length(fields: Mapping[bytes, Sequence[bytes]]) -> int:
    if b"transfer-encoding" in fields:
        raise Malformed(501)
    values = fields.get(b"content-length", (b"0",))
    if len(values) > 1 or not LENGTH.fullmatch(values[0]):
        raise Malformed
    if int(values[0]) > MAX_BODY_BYTES:
        raise Malformed(413)
    return int(values[0])


def _stays(fields: Mapping[bytes, Sequence[bytes]], *, newer: bool) -> bool:
    options = {option.strip().lower() for value in fields.get(b"connection", ()) for option in value.split(b",")}
    return b"close" not in options and (newer or b"keep-alive" in options)


def pairs(text: bytes) -> dict[str, str]:
    """A form's values by name (WHATWG URL, section 5.1); a name that comes twice is Malformed."""
    values: dict[str, str] = {}
    written = text.split(b"&") if text else []
    if len(written) > MAX_PAIRS:
        raise Malformed
    for pair in written:
        name, _, value = pair.replace(b"+", b" ").partition(b"=")
        decoded = unquoted(name)
        if decoded in values:
            raise Malformed
        values[decoded] = unquoted(value)
    return values


def unquoted(value: bytes) -> str:
    """Percent-decoded (RFC 3986 section 2.1); octets that are not UTF-8 as surrogate escapes."""
    return unquote_to_bytes(value).decode("utf-8", "surrogateescape")


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(members)
    if len(value) != len(members):
        raise ValueError("a name comes twice")  # RFC 8259 section 4: then nobody knows which counts
    return value
