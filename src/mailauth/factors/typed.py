"""What people type: codes with the spaces, hyphens and full-width forms that they and their keyboards add.

Source: Unicode Standard Annex 15 (NFKC). Rule: cleaning takes nothing away that could be part of a code.
"""

from __future__ import annotations

import unicodedata

MAX_CHARACTERS = 64
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
    shown = "".join([character for character in text[:1000] if character.isprintable()])
    return " ".join(shown.split())[:MAX_CHARACTERS]
