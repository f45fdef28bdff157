"""What a server says to its client: replies of one or more lines, read as they come, and said on.

Source: RFC 5321 sections 4.2 and 4.5.3.1.5, RFC 2034 (enhanced codes).
Rule: what cannot be read exactly is Unreadable, and nothing behind it is read. Of a reply only printable ASCII is said
on, in our own lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mailauth.smtp import replies

ABOUT_US = frozenset((503, 530, 534, 535, 538))  # not about the message: how we talk, or who we are
MAX_LINE_BYTES = 2_048  # four times what a server may say
MAX_LINES = 100
MAX_TEXT_BYTES = 400  # of one line that is said on: a reply line has 512

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_UNFIT = re.compile(rb"[^ -~]+")
_QUEUED = re.compile(rb"\b(?:queued as |id=)([A-Za-z0-9-]{1,64})(?=\s|$)")


class Unreadable(Exception):
    """This is no SMTP, or there is no end of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One reply. texts: of its lines, as they came; at least one."""

    reply_code: int
    texts: tuple[bytes, ...]

    @property
    def is_good(self) -> bool:
        """Whether what was asked for is done."""
        return 200 <= self.reply_code < 300

    @property
    def queued_as(self) -> str:
        """By what name Postfix or Exim has taken the message; "": it does not say."""
        found = _QUEUED.search(self.texts[-1])
        return found[1].decode() if found else ""

    def spelt(self) -> bytes:
        """The reply for a client of ours, without the last line end."""
        *before, last = [replies.coded(b"%d %b" % (self.reply_code, printable(text))).rstrip() for text in self.texts]
        return b"".join(b"%b-%b\r\n" % (line[:3], line[4:]) for line in before) + last


def printable(text: bytes, instead: bytes = b"?") -> bytes:
    """As much as one line of ours can say on. instead: of what is no printable ASCII."""
    return _UNFIT.sub(instead, text)[:MAX_TEXT_BYTES].strip()


class Answers:
    """The replies of one connection, in their order."""

    def __init__(self) -> None:
        self._heard = bytearray()
        self._code = 0
        self._texts: list[bytes] = []

    @property
    def is_amid(self) -> bool:
        """Whether a reply has begun and not ended."""
        return bool(self._heard or self._texts)

    def received(self, data: bytes) -> list[Answer]:
        """The replies that are whole now. Raises Unreadable."""
        self._heard += data
        answers: list[Answer] = []
        while (end := self._heard.find(b"\n", 0, MAX_LINE_BYTES)) >= 0:
            line = bytes(self._heard[:end]).removesuffix(b"\r")
            del self._heard[: end + 1]
            answer = self._whole(line)
            if answer is not None:
                answers.append(answer)
        if len(self._heard) >= MAX_LINE_BYTES:
            raise Unreadable("a line without an end")
        return answers

    def _whole(self, line: bytes) -> Answer | None:
        match = _LINE.fullmatch(line)
        if match is None or self._code not in (0, int(match[1])):
            raise Unreadable("what is no reply")
        self._texts.append(match[3] or b"")
        if match[2] == b"-":
            if len(self._texts) >= MAX_LINES:
                raise Unreadable("a reply without an end")
            self._code = int(match[1])
            return None
        answer = Answer(int(match[1]), tuple(self._texts))
        self._code, self._texts = 0, []
        return answer
