"""Passwords that mail servers remember by themselves, as far as their configuration tells: they outlive revoking."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mailauth.bridgeheads import bridges_of
from mailauth.bridges.bridge import HoldsSessions
from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, ok, problem, warning

PROCESSES = Path("/proc")
ASKS_US = frozenset({"dovecot-grant", "dovecot-lua"})
DAEMON_END = "take -c out of its OPTIONS (/etc/default/saslauthd), then start it anew"


def _examine(case: Case) -> Iterator[Finding]:
    for host in case.known:
        if host.caches:
            yield from [_told(case, f"{host.name} ({host.source})", cache.what, cache.ends) for cache in host.caches]
        else:
            yield ok(f"{host.name} ({host.source})", "it is not configured to remember passwords")
    for words in running("saslauthd", PROCESSES):
        if remembers(words):
            told = "it remembers passwords (-c)"
            yield warning("saslauthd", f"{told}: whoever it asks, a revoked password goes on opening", DAEMON_END)


def _told(case: Case, subject: str, what: str, ends: str) -> Finding:
    kinds = {bridge.kind for bridge in case.settings.bridge} & ASKS_US
    outlives = f"{what}: a revoked password goes on opening there"
    if kinds and not _flushed(case):
        return problem(subject, outlives, f"{ends}; or name doveadm_url, by which it is told to forget")
    why = ", unless doveadm is reached at once" if kinds else ", if it asks mailauth"
    return warning(subject, outlives + why, ends)


def _flushed(case: Case) -> bool:
    return any(isinstance(bridge, HoldsSessions) and bridge.doveadm_url for bridge in bridges_of(case.settings))


def remembers(words: list[str]) -> bool:
    """Whether saslauthd, started with these, has a cache. Source: saslauthd(8): its switches may be written as one."""
    return any(word.startswith("-") and "c" in word for word in words[1:])


def running(program: str, processes: Path) -> Iterator[list[str]]:
    """The words of each process that runs this program. processes: of proc(5)."""
    for place in sorted(processes.glob("[0-9]*/cmdline")):
        try:
            words = place.read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:  # it has ended meanwhile
            continue
        if words[0].rpartition("/")[2] == program:
            yield [word for word in words if word]


CHECK = Check(90, "what mail servers remember", _examine)
