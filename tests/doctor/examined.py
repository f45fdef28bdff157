"""What `mailauth doctor` says, by check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from commandline import run
from site_of_tests import Site


@dataclass(frozen=True)
class Examined:
    """code: of the command; findings: as --json has them."""

    code: int
    findings: list[dict[str, Any]]

    def of(self, about: str = "", level: str = "") -> list[dict[str, Any]]:
        """Those whose subject has this in it, of this level."""
        return [one for one in self.findings if about in one["subject"] and level in {"", one["level"]}]

    def one(self, about: str = "", level: str = "") -> dict[str, Any]:
        """The only one of these."""
        found = self.of(about, level)
        assert len(found) == 1, self.findings
        return found[0]

    def levels(self, about: str = "") -> set[str]:
        return {one["level"] for one in self.of(about)}


def doctor(site: Site, *only: str, options: tuple[str, ...] = ()) -> Examined:
    """One run, of these checks alone."""
    chosen = [word for check in only for word in ("--only", check)]
    said = run("doctor", "--config", str(site.config), "--json", *chosen, *options)
    findings = said.json["findings"]
    problems = [one for one in findings if one["level"] == "problem"]
    assert said.code == (78 if problems else 0)
    assert said.json["right"] is not bool(problems)
    for one in problems:
        assert one["mend"], one
    assert {one["check"] for one in findings} <= set(only) or not only
    return Examined(said.code, findings)
