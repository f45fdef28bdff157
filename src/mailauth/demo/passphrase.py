"""A web password for the demo account that can be read aloud and typed."""

from __future__ import annotations

import secrets

CONSONANTS = "bdfgklmnprstvz"  # each is one sound, whatever language is read in
VOWELS = "aeiou"
WORDS, SYLLABLES = 3, 4  # 12 syllables of 6.1 bits: 73 bits


def passphrase() -> str:
    """Such as "tabilone-kumisera-dozufane": about 73 bits, in letters and two hyphens."""
    return "-".join(["".join([_syllable() for _ in range(SYLLABLES)]) for _ in range(WORDS)])


def _syllable() -> str:
    return secrets.choice(CONSONANTS) + secrets.choice(VOWELS)
