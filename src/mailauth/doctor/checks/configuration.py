"""What the sections of mailauth.toml that stand for plug-ins hold, and the secrets that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mailauth.bridgeheads import bridges_of
from mailauth.config import ConfigError, Settings
from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, ok, problem
from mailauth.keeper.configured import check_behind
from mailauth.webportal import factors_of
from mailauth.websources import check_sources

PARTS: tuple[Callable[[Settings], object], ...] = (bridges_of, factors_of, check_sources, check_behind)


def _examine(case: Case) -> Iterator[Finding]:
    wrong = []
    for part in PARTS:
        try:
            part(case.settings)
        except ConfigError as error:
            wrong.append(str(error))
    source = str(case.settings.source)
    yield from [problem(source, told, "mend it there; `mailauth config check` looks again") for told in wrong]
    if not wrong:
        yield ok(source, "it can be understood, with every secret that it names")


CHECK = Check(10, "the configuration", _examine)
