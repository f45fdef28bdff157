"""What was measured, and what it comes to: the table, the ratios, the goals.

Rule: a ratio is the median over the rounds of what was measured side by side in one round, so that a machine that is
slow for a while is slow for both. Medians of anything else are not compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

OURS = "mailauth"
NOLOGIN = "dovecot, nologin"
DOVECOT = "dovecot, auth socket"
TEN_HASHES = "ten hashes in turn"
LEFT_OUT = "left out"  # the opponent, because nobody wants it

GOALS = (  # case, whose figure ours is measured by, at most so many times as much
    ("imap-plain", NOLOGIN, 1.0),
    ("imaps-ecdsa", NOLOGIN, 0.85),
    ("first-login", NOLOGIN, 1.15),
    ("right-of-ten", TEN_HASHES, 1 / 8),
    ("wrong-of-ten", TEN_HASHES, 1 / 1000),
    ("auth-socket", DOVECOT, 2.5),
    ("auth-16", DOVECOT, 2.5),
    ("auth-sql", DOVECOT, 1 / 200),
)


@dataclass(frozen=True)
class Row:
    """One round of one case. cpu_us: CPU per login of all processes that serve; None: not measured this way."""

    case: str
    who: str
    cpu_us: float
    logins: int
    per_s: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    surprises: int = 0
    errors: int = 0
    quotes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bound:
    """A figure that is not to be above `most`."""

    case: str
    what: str
    figure: float
    unit: str
    most: float

    def __str__(self) -> str:
        reached = "reached" if self.figure <= self.most else "NOT REACHED"
        figure, most = f"{self.figure:,.1f} {self.unit}", f"{self.most:,.0f} {self.unit}"
        return f"{self.case:13} {figure:>13} {self.what:45} goal: at most {most}  {reached}"


@dataclass
class Book:
    """All rows, in the order of measuring; bounds: what has a goal of its own; notes: what is no login."""

    rows: list[Row] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def of(self, case: str, who: str) -> list[Row]:
        """The rounds of one line of the table."""
        return [row for row in self.rows if (row.case, row.who) == (case, who)]

    def ratio(self, case: str, to: str) -> float | None:
        """How many times the CPU of `to` ours was; None: not measured side by side."""
        pairs = list(zip(self.of(case, OURS), self.of(case, to), strict=False))
        return statistics.median(ours.cpu_us / theirs.cpu_us for ours, theirs in pairs) if pairs else None

    def table(self) -> Iterable[str]:
        """Lines of Markdown."""
        yield "| case | server | CPU us/login (least to most) | logins/s | p50 ms | p99 ms | logins | unexpected |"
        yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
        for case, who in dict.fromkeys((row.case, row.who) for row in self.rows):
            rows = self.of(case, who)
            cpu = [row.cpu_us for row in rows]
            cells = (
                case,
                who,
                f"{statistics.median(cpu):,.0f} ({min(cpu):,.0f} to {max(cpu):,.0f})",
                *[_median([getattr(row, name) for row in rows], digits) for name, digits in COLUMNS],
                f"{sum(row.logins for row in rows):,}",
                str(sum(row.surprises + row.errors for row in rows)),
            )
            yield f"| {' | '.join(cells)} |"

    def goals(self) -> Iterable[str]:
        """A line for each goal whose case was measured, and for each bound."""
        measured = {row.case for row in self.rows}
        for case, to, most in GOALS:
            if case not in measured:
                continue
            ratio = self.ratio(case, to)
            said = "not measured" if ratio is None else f"{_times(ratio)} x"
            reached = "" if ratio is None else "  reached" if ratio <= most else "  NOT REACHED"
            yield f"{case:13} {said:>13} {to:19} goal: at most {_times(most)} x{reached}"
        yield from map(str, self.bounds)

    def wrong(self) -> list[str]:
        """What should not have come; empty: the figures can be trusted."""
        return [f"{row.case}, {row.who}: {quote}" for row in self.rows for quote in row.quotes]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        ratios = {f"{case} / {to}": self.ratio(case, to) for case, to, _ in GOALS}
        bounds = [asdict(bound) for bound in self.bounds]
        return {"rows": [asdict(row) for row in self.rows], "ratios": ratios, "bounds": bounds, "notes": self.notes}


COLUMNS = (("per_s", 0), ("p50_ms", 2), ("p99_ms", 2))


def _median(values: list[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):,.{digits}f}" if known else ""


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio >= 0.2 else f"1/{1 / ratio:,.1f}"
