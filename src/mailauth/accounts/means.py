"""What the use cases of the web portal work with: the store, the keys, the factors offered, and the rules of the site.

Rule: values, made once by whoever wires the program. Nobody here reads the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mailauth import apppassword
from mailauth.accounts.refusals import NoSuch
from mailauth.factors.factor import Factor, Hashing
from mailauth.factors.sealed import Box
from mailauth.keys import KeyRing
from mailauth.store.engine import Store


@dataclass(frozen=True, slots=True)
class Rules:
    """idle_s, session_s: so long may a session be unused, and last in all.

    enrolment_days: so long after a second factor was demanded, the web password alone is enough to enrol the first.
    two_factor_sets_mode: whether enrolling a factor switches the client-password mode on.
    """

    idle_s: float = 1800.0
    session_s: float = 43200.0
    enrolment_days: float = 14.0
    two_factor_sets_mode: bool = True
    alphabet: str = apppassword.ALPHABET


@dataclass(frozen=True, slots=True)
class Means:
    """ring: the server keys as they are now. factors: those that the site offers, by name, in the order to be shown.

    hashing: of secrets that are to be stored.
    """

    store: Store
    ring: Callable[[], KeyRing]
    factors: Mapping[str, Factor]
    hashing: Hashing = field(repr=False)
    rules: Rules = Rules()

    def box(self, account_id: int) -> Box:
        """Seals and opens for this account, with the keys that there are at each moment."""
        return Box(_Keys(self.ring), str(account_id))

    def factor(self, kind: str) -> Factor:
        """The factor of this name. Raises NoSuch: the site does not offer it."""
        factor = self.factors.get(kind)
        if factor is None:
            raise NoSuch(f"this site has no second factor {kind[:40]!r}")
        return factor


class _Keys:
    """The server keys as they are when they are asked for: what waits for a provider meets what was sealed meanwhile.

    As factors.sealed.Subkeys.
    """

    def __init__(self, ring: Callable[[], KeyRing]) -> None:
        self._ring = ring

    @property
    def newest(self) -> int:
        return self._ring().newest

    @property
    def ids(self) -> tuple[int, ...]:
        return self._ring().ids

    def subkey(self, purpose: str, key_id: int | None = None) -> bytes:
        return self._ring().subkey(purpose, key_id)
