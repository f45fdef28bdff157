"""The mail servers of this machine: whose configuration could be read, and what is known from it."""

from __future__ import annotations

from collections.abc import Iterator

from mailauth.doctor.case import Case
from mailauth.doctor.finding import Check, Finding, not_checked, ok, problem
from mailauth.doctor.hosts.host import CannotRead


def _examine(case: Case) -> Iterator[Finding]:
    for name, host in case.hosts:
        if not isinstance(host, CannotRead):
            told = f"its configuration tells of {len(host.doors)} doors and {len(host.asking)} sockets that it asks at"
            yield ok(f"{host.name} ({host.source})", told)
        elif name in case.places:
            yield problem(name, str(host), f"name the right place: --server {name}=PATH; and run this as root")
        else:
            yield not_checked(name, str(host), f"if it is to ask mailauth, see where it stands: --server {name}=PATH")


CHECK = Check(75, "mail servers", _examine)
