"""Postfix's main.cf and master.cf, asked and edited by its own postconf.

Source: postconf(1), master(5). Rule: what is edited is a copy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mailauth.setup.programs import said

PORT_25 = {"smtp", "25"}
LONG_AGO = 0  # epoch seconds
FILES = ("main.cf", "master.cf")


@dataclass(frozen=True, slots=True)
class Service:
    """One line of master.cf. processes: how many there may be; None: as many as anywhere."""

    name: str
    kind: str
    chrooted: bool
    processes: int | None
    command: str

    @property
    def port(self) -> str:
        """As it is written: a name or a number."""
        return self.name.rpartition(":")[2]

    @property
    def entry(self) -> str:
        """As postconf calls it."""
        return f"{self.name}/{self.kind}"


class Draft:
    """main.cf and master.cf, asked and, as copies, edited by Postfix's own postconf."""

    def __init__(self, postconf: str, folder: Path) -> None:
        self._words = (postconf, "-c", str(folder))
        self.folder = folder

    def value(self, name: str) -> str:
        """What main.cf makes of a parameter."""
        return said([*self._words, "-hx", name]).strip()

    def set(self, values: Mapping[str, str]) -> None:
        """In main.cf, as far as it is not so."""
        changed = [f"{name} = {value}" for name, value in values.items() if self.value(name) != value]
        self._edit("-e", changed)

    def services(self) -> Iterator[Service]:
        """The services of master.cf that speak SMTP with clients."""
        for line in said([*self._words, "-M"]).splitlines():
            name, kind, _, _, jail, _, limit, *command = line.split()
            if kind in {"inet", "pass"} and command[0] in {"smtpd", "postscreen"}:
                yield Service(name, kind, jail == "y", int(limit) if limit.isdigit() else None, command[0])

    def options(self, service: Service) -> dict[str, str]:
        """The parameters that a service has of its own."""
        lines = said([*self._words, "-P", f"{service.entry}/*"]).splitlines()
        pairs = [line.removeprefix(f"{service.entry}/").partition(" = ") for line in lines]
        return {name: value for name, _, value in pairs}

    def give(self, owned: Sequence[str]) -> None:
        """Services parameters of their own: SERVICE/TYPE/NAME=VALUE."""
        self._edit("-P", owned)

    def take(self, owned: Sequence[str]) -> None:
        """Away from services, so that main.cf counts: SERVICE/TYPE/NAME."""
        self._edit("-PX", owned)

    def add(self, names: Sequence[str], jail: str) -> None:
        """Services of their own."""
        self._edit("-M", [f"{name}/inet={name} inet n - {jail} - - smtpd" for name in names])
        self.give([f"{name}/inet/syslog_name=postfix/{name}" for name in names])

    def _edit(self, how: str, what: Sequence[str]) -> None:
        if what:
            said([*self._words, how, *what])
            self.age()

    def age(self) -> None:
        """postconf waits until a file has been left alone for some seconds: of these copies it need not."""
        for name in FILES:
            os.utime(self.folder / name, (LONG_AGO, LONG_AGO))
