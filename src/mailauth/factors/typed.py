"""What people type: codes with the spaces, hyphens and full-width forms that they and their keyboards add; and names.

Source: Unicode Standard Annexes 15 (NFKC) and 44 (Default_Ignorable_Code_Point), Technical Standard 51 (joined emoji).
Rule: cleaning takes nothing away that could be part of a code, and of a name nothing that can be seen.
"""

from __future__ import annotations

import unicodedata

MAX_CHARACTERS = 64
JOINERS = frozenset("\u200c\u200d")  # in Persian and Hindi words, and in emoji of several people
STYLES = frozenset("\ufe0e\ufe0f")  # an emoji as text or as a picture
# Printable by their category, and yet there is nothing to see: fillers, an empty Braille cell, selectors of variants.
BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
VARIANTS = frozenset([*range(0xFE00, 0xFE0E), *range(0xE0100, 0xE01F0)])
_DROPPED = dict.fromkeys(map(ord, " \t\r\n-\u00ad\u2010\u2011\u2012\u2013\u200b\u200c\u200d\u2060\ufeff"))


def plain(text: str) -> str:
    """Without what separates, in NFKC, lower case; "" if it is too long to be a code."""
    return unicodedata.normalize("NFKC", text).translate(_DROPPED).lower() if len(text) <= MAX_CHARACTERS else ""


def digits(text: str, count: int) -> str | None:
    """So many ASCII digits, or None."""
    found = plain(text)
    return found if len(found) == count and found.isascii() and found.isdigit() else None


def name(text: str) -> str:
    """What somebody calls a thing of his: one line, nothing hidden in it, at most 64 characters; may be empty."""
    return visible(text[:1000])[:MAX_CHARACTERS].strip()


def visible(text: str) -> str:
    """One line without anything that hides in it, and with plain single spaces; "" if there is nothing to be seen."""
    kept = [" " if character.isspace() else character for character in text if _may_show(character)]
    shown = "".join([character for place, character in enumerate(kept) if _belongs(kept, place)])
    shown = unicodedata.normalize("NFC", " ".join(shown.split()))
    return shown if any(unicodedata.category(character)[0] in "LNPS" for character in shown) else ""


def _may_show(character: str) -> bool:
    if character in JOINERS or character.isspace():
        return True
    return character.isprintable() and character not in BLANK and ord(character) not in VARIANTS


def _belongs(kept: list[str], place: int) -> bool:
    """Whether what joins or styles others stands where it does so."""
    character = kept[place]
    if character not in JOINERS | STYLES:
        return True
    before = kept[place - 1] if place else ""
    if not _is_joined(before):
        return character in STYLES and bool(before) and before in "0123456789#*"  # keycaps
    return character in STYLES or (place + 1 < len(kept) and _is_joined(kept[place + 1]))


def _is_joined(character: str) -> bool:
    return bool(character) and not character.isascii() and not character.isspace() and character not in JOINERS
