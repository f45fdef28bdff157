"""How many wrong answers an account has given in a row, and how long the next has to wait.

Source: NIST SP 800-63B-4 section 3.2.2: a wait that grows from 30 s to an hour.
Rule: counted for the account, not for a session or an address; cleared by a right answer, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

FREE = 5
FIRST_WAIT_S = 30.0
LONGEST_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Tries:
    """wrong: in a row. last_at: epoch seconds of the last one."""

    wrong: int = 0
    last_at: float = 0.0

    @property
    def left(self) -> int:
        """How many more before the next has to wait."""
        return max(0, FREE - self.wrong)

    def wait_s(self, now: float) -> float:
        """How long until the next answer is judged; 0: now."""
        if self.wrong < FREE:
            return 0.0
        wait_s = min(FIRST_WAIT_S * 2.0 ** min(self.wrong - FREE, 16), LONGEST_WAIT_S)
        return max(0.0, wait_s - max(0.0, now - self.last_at))

    def seen(self, now: float) -> Tries:
        """The same; if the clock was set back since, the wait runs from now, and not until the clock has caught up."""
        return self if self.last_at <= now else Tries(self.wrong, now)

    def missed(self, now: float) -> Tries:
        """One more."""
        return Tries(self.wrong + 1, now)


UNTRIED = Tries()
