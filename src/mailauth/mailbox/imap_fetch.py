"""FETCH: what a message is, in the words of RFC 3501 section 7.4.2.

Rule: lines are made in threads, a handful at a time, and leave before the next are made: one large message at most is
in memory, whatever is fetched.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from typing import Final

from pymap.bytes import WriteStream
from pymap.exceptions import NotSupportedError
from pymap.flags import SessionFlags
from pymap.parsing.response import CommandResponse, ResponseCode, UntaggedResponse
from pymap.parsing.specials import FetchAttribute, Flag

from mailauth.mailbox import imap_structure, mime
from mailauth.mailbox.imap_message import Message
from mailauth.mailbox.view import FolderGone, MessageGone
from mailauth.mailbox.wire import Wire

BATCH_COUNT = 200
BATCH_BYTES = 65_536
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
STRUCTURES: Final = frozenset({b"BODY", b"BODYSTRUCTURE"})
SECTIONS: Final = frozenset({b"BODY", b"BODY.PEEK", b"RFC822", b"RFC822.HEADER", b"RFC822.TEXT"})
ITEMS: Final = STRUCTURES | SECTIONS | {b"UID", b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE"}

FIELD_NAME = re.compile(rb"[!#$&'+,\-./0-9;<=>?@A-Z\[^_`a-z|~]+")  # RFC 5322 section 3.6.8, as far as an atom goes
EXPUNGED = ResponseCode.of(b"EXPUNGEISSUED")  # RFC 5530 section 3
UNAVAILABLE = ResponseCode.of(b"UNAVAILABLE")

Octets = bytes | memoryview


class Content:
    """The content of one message, read when it is asked for. Everything blocks and raises MessageGone."""

    def __init__(self, message: Message) -> None:
        self.message = message

    @cached_property
    def whole(self) -> bytes:
        """The octets of the message."""
        return self.message.folder.read(self.message.uid)

    @cached_property
    def tree(self) -> mime.Part:
        """The message in its parts."""
        return mime.parse(self.whole)

    @cached_property
    def header(self) -> bytes:
        """Up to the empty line, which is part of it; of the file no more is read than is needed."""
        data = self.whole if "whole" in self.__dict__ else self.message.folder.read_header(self.message.uid)
        return data[: mime.header_end(data, 0, len(data))]

    @property
    def text(self) -> memoryview:
        """All that follows the header."""
        return memoryview(self.whole)[mime.header_end(self.whole, 0, len(self.whole)) :]


class LastContent:
    """Keeps the message that a client is fetching piece by piece, so that it is read and taken apart only once."""

    def __init__(self) -> None:
        self._content: Content | None = None

    def of(self, message: Message) -> Content:
        """The content of this message."""
        kept = self._content
        same = kept and kept.message.stored.unique == message.stored.unique and kept.message.folder is message.folder
        return kept if kept and same else Content(message)

    def keep(self, content: Content | None) -> None:
        """Keep this one only."""
        self._content = content


class FetchLines(UntaggedResponse):
    """The untagged FETCH responses of one command, made as they are sent.

    found: to be set before they are sent. reply: the tagged response, which is told when a message was gone.
    Raises NotSupportedError for an item that we do not have.
    """

    def __init__(
        self,
        attributes: Sequence[FetchAttribute],
        flags: SessionFlags,
        reply: CommandResponse,
        last: LastContent,
    ) -> None:
        super().__init__()
        for attribute in attributes:
            if attribute.value not in ITEMS:
                raise NotSupportedError(f"FETCH {attribute.value.decode('ascii', 'replace')} is not supported.")
        self.found: Sequence[tuple[int, Message]] = ()
        tidy = map(_tidied, attributes)
        self._attributes = {bytes(attribute.for_response): attribute for attribute in tidy}
        self._flags = flags
        self._reply = reply
        self._last = last

    async def async_write(self, writer: WriteStream) -> None:
        """Send all lines. writer: the Wire of the session."""
        if not isinstance(writer, Wire):
            raise TypeError("FETCH is sent by a Wire")
        found = iter(self.found)
        while pieces := await asyncio.to_thread(self._batch, found):
            for piece in pieces:
                await writer.send(piece)

    def _batch(self, found: Iterator[tuple[int, Message]]) -> list[Octets]:
        """The next lines in pieces; empty: there are no more. Blocks."""
        pieces: list[Octets] = []
        for line_count, (number, message) in enumerate(found, 1):
            try:
                pieces += self._line(number, message)
            except (MessageGone, FolderGone, OSError) as fault:
                self._reply.condition = b"NO"
                self._reply.code = UNAVAILABLE if isinstance(fault, OSError) else EXPUNGED
                pieces.append(b"")
            if line_count >= BATCH_COUNT or sum(map(len, pieces)) >= BATCH_BYTES:
                break
        return pieces

    def _line(self, number: int, message: Message) -> list[Octets]:
        content = self._last.of(message)
        pieces: list[Octets] = [b"* %d FETCH (" % number]
        for name, attribute in self._attributes.items():
            value = self._value(attribute, message, content)
            separator = b" " if len(pieces) > 1 else b""
            if isinstance(value, bytes):
                pieces.append(separator + name + b" " + value)
            else:
                pieces += [separator + name + b" {%d}\r\n" % len(value), value]
        pieces.append(b")\r\n")
        return [b"".join(pieces)] if sum(map(len, pieces)) < BATCH_BYTES else pieces

    def _value(self, attribute: FetchAttribute, message: Message, content: Content) -> Octets:
        """A value, or as a memoryview the octets of a literal."""
        name = attribute.value
        if name == b"UID":
            return b"%d" % message.uid
        if name == b"FLAGS":
            return _flag_list(message.get_flags(self._flags))
        if name == b"RFC822.SIZE":
            return b"%d" % message.folder.size(message.uid).octets
        if name == b"INTERNALDATE":
            return _internal_date(message)
        if name == b"ENVELOPE":
            return imap_structure.envelope(mime.fields(content.header))
        if attribute.section is None:
            return imap_structure.body(content.tree, extended=name == b"BODYSTRUCTURE")
        octets = section(attribute.section, content)
        return imap_structure.NIL if octets is None else self._partial(attribute, octets, content)

    def _partial(self, attribute: FetchAttribute, octets: Octets, content: Content) -> memoryview:
        view = memoryview(octets)
        partial = attribute.partial
        if partial is None or partial.length is None:
            return view
        end = partial.start + partial.length
        self._last.keep(content if end < len(view) else None)  # more of it is likely to be asked for
        return view[partial.start : end]


def section(wanted: FetchAttribute.Section, content: Content) -> Octets | None:
    """The octets of `BODY[...]` (RFC 3501 section 6.4.5); None: there is no such part."""
    kind = wanted.specifier
    if not wanted.parts:
        return content.whole if kind is None else content.text if kind == b"TEXT" else _header(content.header, wanted)
    part = mime.find(content.tree, wanted.parts)
    if part is None:
        return None
    if kind is None:
        return part.content
    if kind == b"MIME":
        return part.header
    if not part.is_message:  # HEADER and TEXT are those of a message within
        return None
    return part.parts[0].content if kind == b"TEXT" else _header(part.parts[0].header, wanted)


def _header(header: bytes, wanted: FetchAttribute.Section) -> bytes:
    if wanted.headers is None:
        return header
    inside = wanted.specifier == b"HEADER.FIELDS"
    chosen = [field.raw for field in mime.fields(header) if (field.name.upper() in wanted.headers) is inside]
    return b"".join(chosen) + b"\r\n"


def _tidied(attribute: FetchAttribute) -> FetchAttribute:
    """Field names without what pymap leaves on those that came quoted or as literals."""
    wanted = attribute.section
    if wanted is None or wanted.headers is None:
        return attribute
    names = frozenset(name.rpartition(b"\n")[2].strip(b'") ') for name in wanted.headers)
    if not all(map(FIELD_NAME.fullmatch, names)):
        raise NotSupportedError("No field has such a name.")
    return FetchAttribute(
        attribute.value, FetchAttribute.Section(wanted.parts, wanted.specifier, names), attribute.partial
    )


@lru_cache(maxsize=1024)
def _flag_list(flags: frozenset[Flag]) -> bytes:
    names = sorted((bytes(flag) for flag in flags), key=lambda name: (not name.startswith(b"\\"), name))
    return b"(%b)" % b" ".join(names)


def _internal_date(message: Message) -> bytes:
    date = message.internal_date  # strftime would name months in the language of the machine
    return f'"{date.day:2d}-{MONTHS[date.month - 1]}-{date:%Y %H:%M:%S} +0000"'.encode("ascii")
