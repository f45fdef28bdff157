"""Runs every check in its order, and makes findings of what keeps one from being run."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass

from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.config import ConfigError
from mailauth.doctor import checks
from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, not_checked, problem
from mailauth.interfaces import BadRecord, HashUnavailable, StoreUnavailable
from mailauth.keys import KeyFileError
from mailauth.names import NotALogin
from mailauth.serving.tls import BadCertificate
from mailauth.store.highwater import StoreBehind, Unreadable
from mailauth.store.keycheck import WrongKey
from mailauth.store.upgrade import SchemaMismatch

# What a site may be lacking, in words that say what to do.
WRONG = (ConfigError, KeyFileError, WrongKey, SchemaMismatch, StoreBehind, Unreadable, BadCertificate, BadRecord)
CANNOT = (StoreUnavailable, HashUnavailable, Refused, NoSuch, NotALogin, OSError)
AS_IT_SAYS = "do what the line above says, then run this again"


@dataclass(frozen=True, slots=True)
class Told:
    """A finding, and the name of the check that it is of."""

    check: str
    finding: Finding


def every_check() -> list[tuple[str, Check]]:
    """All that stand in `checks`, by name, in their order."""
    modules = [module.name for module in pkgutil.iter_modules(checks.__path__)]
    found: list[tuple[str, Check]] = [
        (name.replace("_", "-"), importlib.import_module(f"mailauth.doctor.checks.{name}").CHECK) for name in modules
    ]
    return sorted(found, key=lambda pair: pair[1].order)


def examine(case: Case, only: tuple[str, ...] = ()) -> Iterator[Told]:
    """Everything, as it is found. only: the names of the checks to run, none: all."""
    for name, check in every_check():
        if only and name not in only:
            continue
        case.tell(check.title)
        try:
            for finding in check.examine(case):
                yield Told(name, finding)
        except WRONG as wrong:
            yield Told(name, problem(check.title, str(wrong), AS_IT_SAYS))
        except CANNOT as fault:
            yield Told(name, not_checked(check.title, str(fault), AS_IT_SAYS))
