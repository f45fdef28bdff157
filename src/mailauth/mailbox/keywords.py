"""Flags and keywords as the letters at the end of a Maildir file name.

Source: the Maildir page for DFPRST; Dovecot's documentation of the Maildir format for keywords: letters a to z, named
in the folder's file `dovecot-keywords`. P (passed) is $Forwarded, as isync has it.
Rule: a letter nobody named is kept when the others change. A keyword that finds no letter is refused, not dropped.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from types import MappingProxyType

FILE_NAME = "dovecot-keywords"
LETTERS = string.ascii_lowercase
MAX_KEYWORD_BYTES = 255
FLAG_OF_LETTER: Mapping[str, str] = MappingProxyType(
    {"D": r"\Draft", "F": r"\Flagged", "P": "$Forwarded", "R": r"\Answered", "S": r"\Seen", "T": r"\Deleted"}
)
LETTER_OF_FLAG: Mapping[str, str] = MappingProxyType({flag.lower(): letter for letter, flag in FLAG_OF_LETTER.items()})


class KeywordsFull(Exception):
    """The folder has as many keywords as there are letters."""


class Keywords:
    """The keywords of one folder. A value: adding gives a new one."""

    __slots__ = ("_cache", "_letters", "names")

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.names = names
        self._letters = {name.lower(): letter for letter, name in zip(LETTERS, names, strict=False) if name}
        self._cache: dict[str, frozenset[str]] = {}

    @property
    def full(self) -> bool:
        """Whether no further keyword finds a letter."""
        return len(self.names) >= len(LETTERS)

    def flags(self, letters: str) -> frozenset[str]:
        """The flags that these letters stand for."""
        flags = self._cache.get(letters)
        if flags is None:
            flags = self._cache[letters] = frozenset(name for letter in letters if (name := self._name(letter)))
        return flags

    def _name(self, letter: str) -> str:
        index = LETTERS.find(letter)
        if index < 0:
            return FLAG_OF_LETTER.get(letter, "")
        return self.names[index] if index < len(self.names) else ""

    def letters(self, flags: Iterable[str], old: str = "") -> str:
        """The letters for these flags, in order, with those of `old` that stand for nothing known.

        Raises KeyError for a keyword that has no letter yet.
        """
        kept = {letter for letter in old if not self._name(letter)}
        return "".join(sorted(kept | {self._letter(flag.lower()) for flag in flags}))

    def _letter(self, flag: str) -> str:
        return LETTER_OF_FLAG.get(flag) or self._letters[flag]

    def known(self, flag: str) -> bool:
        """Whether there is a letter for this flag."""
        return flag.lower() in LETTER_OF_FLAG or flag.lower() in self._letters

    def canonical(self, flag: str) -> str:
        """The flag as it was first spelled here: keywords differ by more than case (RFC 5788 section 2)."""
        letter = LETTER_OF_FLAG.get(flag.lower()) or self._letters.get(flag.lower())
        return self._name(letter) if letter else flag

    def with_new(self, flags: Iterable[str]) -> Keywords:
        """These keywords and the unknown ones of `flags`. Raises KeywordsFull."""
        new = tuple(dict.fromkeys(flag for flag in flags if not self.known(flag)))
        if not new:
            return self
        if len(self.names) + len(new) > len(LETTERS) or any(len(name) > MAX_KEYWORD_BYTES for name in new):
            raise KeywordsFull
        return Keywords(self.names + new)


def parse(content: bytes) -> Keywords:
    """The keywords in a `dovecot-keywords` file; lines that make no sense name nothing."""
    named: dict[int, str] = {}
    for line in content.decode("utf-8", "replace").splitlines():
        index, _, name = line.partition(" ")
        if index.isdecimal() and int(index) < len(LETTERS) and name:
            named[int(index)] = name
    return Keywords(tuple(named.get(index, "") for index in range(max(named, default=-1) + 1)))


def render(keywords: Keywords) -> bytes:
    """The `dovecot-keywords` file."""
    return "".join(f"{index} {name}\n" for index, name in enumerate(keywords.names) if name).encode()
