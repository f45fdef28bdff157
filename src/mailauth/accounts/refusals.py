"""The two ways to be told no: what is named is not there, or the data forbids what was asked.

Rule: the text is for a postmaster. It names what it is about and says what to do next.
"""

from __future__ import annotations


class NoSuch(LookupError):
    """There is no such domain, account, alias or app password."""


class Refused(ValueError):
    """It is there already, at its maximum, locked by policy, or not a valid value. Nothing was changed.

    why: the same for programs, such as `alias-taken`, by which a page finds words of its own; "": there are none.
    """

    def __init__(self, text: str, why: str = "") -> None:
        super().__init__(text)
        self.why = why
