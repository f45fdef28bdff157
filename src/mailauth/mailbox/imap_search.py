"""SEARCH, RFC 3501 section 6.4.4: which messages a set of keys means.

Rule: blocks; belongs in a thread. Keys that need no file are tried first, and a file is read once at most. Text is
compared decoded and without regard to case.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from email.errors import MessageError
from email.header import decode_header, make_header
from email.utils import parsedate
from functools import cached_property

from pymap.exceptions import SearchNotAllowed
from pymap.flags import SessionFlags
from pymap.parsing.specials import FetchRequirement, Flag, SearchKey
from pymap.parsing.specials.flag import Answered, Deleted, Draft, Flagged, Recent, Seen
from pymap.selected import SelectedMailbox

from mailauth.mailbox import mime
from mailauth.mailbox.folder import Folder
from mailauth.mailbox.imap_mends import flatten
from mailauth.mailbox.imap_message import Cached, Found, Message, currently
from mailauth.mailbox.view import FolderGone, MessageGone

FLAG_KEYS: dict[bytes, tuple[Flag, bool]] = {
    b"ANSWERED": (Answered, True),
    b"UNANSWERED": (Answered, False),
    b"DELETED": (Deleted, True),
    b"UNDELETED": (Deleted, False),
    b"DRAFT": (Draft, True),
    b"UNDRAFT": (Draft, False),
    b"FLAGGED": (Flagged, True),
    b"UNFLAGGED": (Flagged, False),
    b"RECENT": (Recent, True),
    b"OLD": (Recent, False),
    b"SEEN": (Seen, True),
    b"UNSEEN": (Seen, False),
}
FIELD_KEYS = (b"BCC", b"CC", b"FROM", b"SUBJECT", b"TO")


@dataclass(frozen=True)
class Candidate:
    """One message under search. Raises MessageGone when it is read and gone."""

    number: int
    message: Message
    flags: frozenset[Flag]

    @cached_property
    def fields(self) -> list[mime.Field]:
        data = self.message.folder.read_header(self.message.uid)
        return mime.fields(data[: mime.header_end(data, 0, len(data))])

    @cached_property
    def body_text(self) -> str:
        return "\n".join(_texts(mime.parse(self.message.folder.read(self.message.uid)))).casefold()

    @cached_property
    def header_text(self) -> str:
        return "\n".join(field.name.decode("latin-1") + ": " + decoded(field.value) for field in self.fields).casefold()

    def values(self, name: str) -> list[str]:
        """The decoded values of all fields of this name."""
        wanted = name.strip().lower().encode("utf-8", "replace")
        return [decoded(field.value) for field in self.fields if field.name == wanted]

    @property
    def size(self) -> int:
        return self.message.folder.size(self.message.uid).octets

    @property
    def received(self) -> date:
        return self.message.internal_date.date()

    @property
    def sent(self) -> date | None:
        """The date in the Date field as it is written, whatever the time zone (RFC 3501 section 6.4.4)."""
        value = next(iter(self.values("date")), "")
        try:
            parsed = parsedate(value)
            return date(*parsed[:3]) if parsed else None
        except (ValueError, TypeError, IndexError, OverflowError):
            return None


Criterion = Callable[[Candidate], bool]


def criterion(keys: Iterable[SearchKey], selected: SelectedMailbox) -> Criterion:
    """What matches all of these keys. Raises SearchNotAllowed for a key we do not know."""
    cheap_first = sorted(keys, key=lambda key: key.requirement.value & FetchRequirement.CONTENT.value)
    criteria = [_criterion(key, selected) for key in cheap_first]
    return lambda candidate: all(matches(candidate) for matches in criteria)


def matching(folder: Folder, wanted: Cached, flags: SessionFlags, matches_all: Criterion) -> Found:
    """Those of these messages that match. Blocks."""
    found: Found = []
    for number, message in currently(folder, wanted):
        with suppress(MessageGone, FolderGone):
            if matches_all(Candidate(number, message, message.get_flags(flags))):
                found.append((number, message))
    return found


def _criterion(key: SearchKey, selected: SelectedMailbox) -> Criterion:
    if key.inverse:
        positive = _criterion(key.not_inverse, selected)
        return lambda candidate: not positive(candidate)
    if key.value == b"ALL":
        return lambda _: True
    if key.value == b"SEQSET":
        return _numbered(key, selected)
    if key.value == b"KEYSET":
        return criterion(key.filter_key_set, selected)
    if key.value == b"OR":
        one, other = (_criterion(side, selected) for side in key.filter_key_or)
        return lambda candidate: one(candidate) or other(candidate)
    return _flagged(key) or _dated(key) or _worded(key)


def _numbered(key: SearchKey, selected: SelectedMailbox) -> Criterion:
    sequences, messages = key.filter_sequence_set, selected.messages
    if sequences.uid:
        uids = flatten(sequences, messages.max_uid)
        return lambda candidate: candidate.message.uid in uids
    numbers = flatten(sequences, messages.exists)
    return lambda candidate: candidate.number in numbers


def _flagged(key: SearchKey) -> Criterion | None:
    if key.value == b"NEW":
        return lambda candidate: Recent in candidate.flags and Seen not in candidate.flags
    if key.value in (b"KEYWORD", b"UNKEYWORD"):
        keyword = bytes(key.filter_flag).lower()
        present = key.value == b"KEYWORD"
        return lambda candidate: any(bytes(flag).lower() == keyword for flag in candidate.flags) is present
    if key.value in FLAG_KEYS:
        flag, wanted = FLAG_KEYS[key.value]
        return lambda candidate: (flag in candidate.flags) is wanted
    return None


def _dated(key: SearchKey) -> Criterion | None:
    name = key.value
    if name in (b"LARGER", b"SMALLER"):
        size = key.filter_int
        return (lambda candidate: candidate.size > size) if name == b"LARGER" else (lambda c: c.size < size)
    if name not in (b"BEFORE", b"ON", b"SINCE", b"SENTBEFORE", b"SENTON", b"SENTSINCE"):
        return None
    day, relation = key.filter_datetime.date(), name.removeprefix(b"SENT")

    def matches(candidate: Candidate) -> bool:
        that = candidate.sent if name.startswith(b"SENT") else candidate.received
        if that is None:
            return False
        return that < day if relation == b"BEFORE" else that == day if relation == b"ON" else that >= day

    return matches


def _worded(key: SearchKey) -> Criterion:
    name = key.value
    if name == b"HEADER":
        field, wanted = key.filter_header
        wanted = wanted.casefold()  # empty: any message that has the field
        return lambda candidate: any(wanted in value.casefold() for value in candidate.values(field))
    if name in FIELD_KEYS:
        field, wanted = name.decode("ascii"), key.filter_str.casefold()
        return lambda candidate: any(wanted in value.casefold() for value in candidate.values(field))
    if name == b"BODY":
        wanted = key.filter_str.casefold()
        return lambda candidate: wanted in candidate.body_text
    if name == b"TEXT":
        wanted = key.filter_str.casefold()
        return lambda candidate: wanted in candidate.header_text or wanted in candidate.body_text
    raise SearchNotAllowed(key)


def decoded(value: bytes) -> str:
    """A field's value with its encoded words decoded (RFC 2047), as far as that goes."""
    text = value.decode("utf-8", "replace")
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (MessageError, ValueError, LookupError):  # UnicodeError and binascii.Error are ValueErrors
        return text


def _texts(part: mime.Part) -> Iterable[str]:
    for child in part.parts:
        yield from _texts(child)
    if not part.parts and part.content_type.value.startswith(b"text/"):
        yield _text(part)


def _text(part: mime.Part) -> str:
    content = part.content.tobytes()
    encoding = (part.value(b"content-transfer-encoding") or b"").strip().lower()
    try:
        if encoding == b"base64":
            content = binascii.a2b_base64(content)
        elif encoding == b"quoted-printable":
            content = binascii.a2b_qp(content)
    except binascii.Error:
        pass  # searched as it stands
    charset = part.content_type.parameters.get(b"charset", b"utf-8").decode("ascii", "replace")
    try:
        return content.decode(charset, "replace")
    except (LookupError, ValueError):  # no such charset, or none that decodes text
        return content.decode("utf-8", "replace")
