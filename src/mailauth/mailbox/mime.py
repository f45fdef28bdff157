"""A message as a tree of parts: where each part's header and body begin and end.

Source: RFC 5322 section 2.2 (fields), RFC 2045 section 5.1, RFC 2046 section 5.1 (multipart), RFC 3501 section 6.4.5.
Rule: any bytes give a tree, in time linear in their number for each level. What makes no sense is text/plain. Offsets
into one message in wire form; nothing is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

MAX_DEPTH = 30
MAX_PARTS = 1000  # of one multipart; what follows belongs to the last

_FOLD = re.compile(rb"\r\n(?=[ \t])")
_TYPE = re.compile(rb"\s*([^\s;/()<>@,\"]+)\s*/\s*([^\s;/()<>@,\"]+)")
_VALUE = re.compile(rb"\s*([^\s;()<>@,\"]+)")
_PARAMETER = re.compile(rb";\s*([^\s=;\"]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]*))", re.DOTALL)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Field:
    """One header field. name: lower case; raw: as it stands, folds and last line end included."""

    name: bytes
    raw: bytes

    @property
    def value(self) -> bytes:
        """What stands behind the colon, on one line."""
        return _FOLD.sub(b"", self.raw.partition(b":")[2]).strip(b" \t\r\n")


@dataclass(frozen=True, slots=True)
class Parameterised:
    """A value with parameters, as Content-Type and Content-Disposition have. Names are lower case."""

    value: bytes
    parameters: Mapping[bytes, bytes]


PLAIN = Parameterised(b"text/plain", {b"charset": b"us-ascii"})  # RFC 2045 section 5.2
EMBEDDED = Parameterised(b"message/rfc822", {})


@dataclass(frozen=True)
class Part:
    """One part. data: the whole message; header from start to body, body up to end.

    parts: of a multipart its parts, of a message/rfc822 the one message within, else none.
    """

    data: bytes
    start: int
    body: int
    end: int
    content_type: Parameterised
    parts: Sequence[Part]

    @property
    def is_multipart(self) -> bool:
        return self.content_type.value.startswith(b"multipart/")

    @property
    def is_message(self) -> bool:
        return self.content_type.value == EMBEDDED.value

    @cached_property
    def fields(self) -> Sequence[Field]:
        """The header's fields in order."""
        return fields(self.header)

    @property
    def header(self) -> bytes:
        """With the blank line, if there is one."""
        return self.data[self.start : self.body]

    @property
    def content(self) -> memoryview:
        """The body, encoded as it is."""
        return memoryview(self.data)[self.body : self.end]

    def value(self, name: bytes) -> bytes | None:
        """Of the first field of this (lower case) name."""
        return next((field.value for field in self.fields if field.name == name), None)


def parse(data: bytes) -> Part:
    """The tree of a whole message."""
    return _part(data, 0, len(data), PLAIN, MAX_DEPTH)


def find(message: Part, numbers: Sequence[int]) -> Part | None:
    """The part of this number, as `1.2` counts (RFC 3501 section 6.4.5); None: there is none. numbers: not empty."""
    part, counted = message, message
    for depth, number in enumerate(numbers):
        if depth and part.is_message:
            counted = part.parts[0]  # the parts of the message within are counted anew
        elif depth and part.is_multipart and part is not counted:
            counted = part
        elif depth:
            return None
        if counted.is_multipart and 1 <= number <= len(counted.parts):
            part = counted.parts[number - 1]
        elif not counted.is_multipart and number == 1:
            part = counted
        else:
            return None
    return part


def fields(header: bytes) -> list[Field]:
    """The fields of a header; lines that belong to none are left out."""
    unfolded: list[list[bytes]] = []
    for line in header.removesuffix(b"\r\n").split(b"\r\n"):
        if line[:1] in (b" ", b"\t") and unfolded:
            unfolded[-1].append(line)
        elif b":" in line:
            unfolded.append([line])
    return [
        Field(lines[0].partition(b":")[0].strip(b" \t").lower(), b"\r\n".join(lines) + b"\r\n") for lines in unfolded
    ]


def header_end(data: bytes, start: int, end: int) -> int:
    """Where the body begins: behind the first empty line; `end` if there is none."""
    if data.startswith(b"\r\n", start, end):
        return start + 2
    blank = data.find(b"\r\n\r\n", start, end)
    return blank + 4 if blank >= 0 else end


def parameterised(value: bytes | None, shape: re.Pattern[bytes] = _VALUE) -> Parameterised | None:
    """A value with its parameters; None: there is no such value, or it has no shape."""
    match = shape.match(value) if value is not None else None
    if match is None or value is None:
        return None
    parameters: dict[bytes, bytes] = {}
    for name, quoted, plain in _PARAMETER.findall(value, match.end()):
        parameters.setdefault(name.lower(), _ESCAPE.sub(rb"\1", quoted) if quoted else plain)
    return Parameterised(b"/".join(match.groups()).lower(), parameters)


def _part(data: bytes, start: int, end: int, default: Parameterised, depth: int) -> Part:
    body = header_end(data, start, end)
    value = next((field.value for field in fields(data[start:body]) if field.name == b"content-type"), None)
    content_type = parameterised(value, _TYPE) or default
    kind = content_type.value
    parts: list[Part] = []
    if kind == EMBEDDED.value and depth:
        parts = [_part(data, body, end, PLAIN, depth - 1)]
    elif kind.startswith(b"multipart/") and depth and (boundary := content_type.parameters.get(b"boundary")):
        inner = EMBEDDED if kind == b"multipart/digest" else PLAIN  # RFC 2046 section 5.1.5
        parts = [_part(data, one, other, inner, depth - 1) for one, other in _between(data, body, end, boundary)]
    if not parts and (kind == EMBEDDED.value or kind.startswith(b"multipart/")):
        content_type = PLAIN
    return Part(data, start, body, end, content_type, parts)


def _between(data: bytes, start: int, end: int, boundary: bytes) -> list[tuple[int, int]]:
    """What stands between the delimiter lines. The line end before a delimiter belongs to it."""
    delimiter = b"--" + boundary
    found: list[tuple[int, int]] = []
    opened: int | None = None
    at = start - 1
    while (at := data.find(delimiter, at + 1, end)) >= 0 and len(found) < MAX_PARTS:
        if at > start and data[at - 2 : at] != b"\r\n":
            continue
        line_end = data.find(b"\r\n", at, end)
        rest = data[at + len(delimiter) : line_end if line_end >= 0 else end].rstrip(b" \t")
        if rest not in (b"", b"--"):
            continue
        if opened is not None:
            found.append((opened, max(opened, at - 2)))
        opened = None if rest or line_end < 0 else line_end + 2
        if rest:
            break
    if opened is not None:  # cut short, or more parts than we count
        found.append((opened, end))
    return found
