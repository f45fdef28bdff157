"""Telephone numbers: what people type as E.164, whether it is served, and how it is shown.

Source: ITU-T E.164 (+, country code, at most 15 digits); mobile numbers of mainland China are 1 and ten digits.
Rule: a number leaves this file whole for the gateway only; everything else gets the masked form.
"""

from __future__ import annotations

import re
import unicodedata

MAINLAND_CHINA = r"\+861[3-9][0-9]{9}"
MAX_TYPED = 40
SHOWN_FIRST, SHOWN_LAST = 3, 4

_SEPARATORS = dict.fromkeys(
    map(ord, " \t-.()/\u00a0\u00ad\u2010\u2011\u2012\u2013\u200b\u200e\u202a\u202c\u2060\ufeff")
)
_E164 = re.compile(r"\+[1-9][0-9]{6,14}", re.ASCII)


def e164(text: str, country_code: str) -> tuple[str, ...]:
    """The numbers that this may mean, likeliest first; empty: it is none. country_code: of one without its own."""
    if len(text) > MAX_TYPED:
        return ()
    plain = unicodedata.normalize("NFKC", text).translate(_SEPARATORS)
    if plain.startswith("00"):
        plain = "+" + plain[2:]
    foreign = plain.startswith("+")
    candidates = [plain] if foreign else [f"+{country_code}{plain.removeprefix('0')}", f"+{plain}"]
    return tuple([number for number in candidates if _E164.fullmatch(number)])


def masked(number: str) -> str:
    """Enough to be known again by its owner: 138****5678; abroad +4479****1234."""
    national = number.removeprefix("+86")
    first = SHOWN_FIRST if national != number else SHOWN_FIRST + 2
    if len(national) < first + SHOWN_LAST + 3:
        return "****" + national[-SHOWN_LAST:]
    return f"{national[:first]}****{national[-SHOWN_LAST:]}"
