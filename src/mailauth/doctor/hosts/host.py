"""What is known of a mail server that may ask us: where it lets clients in, where it asks, what it remembers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mailauth.attempt import Service
from mailauth.doctor.rights import User

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # where mail servers have their programs, and users' PATH does not lead
PATIENCE_S = 20.0
USUAL_PORTS = {Service.IMAP: (143, 993), Service.POP3: (110, 995), Service.SMTP: (587, 465)}
EVERYWHERE = frozenset({"", "*", "0.0.0.0", "::", "::0", "all"})  # noqa: S104  words of configurations
LOOPBACK = "127.0.0.1"
MX_PORT = 25


class CannotRead(Exception):
    """A mail server's configuration cannot be read. The text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Door:
    """Where a mail server lets clients in.

    owner: whose it is, for people. host: an IP address or a name to connect to. implicit: TLS from the first byte.
    proxied: connections begin with a PROXY header, which only a proxy may send. everywhere: it listens on addresses
    beside the loopback. lets_in: clients log in there, by its configuration. named: by who examines, so
    it must be there. clear_meant: configured to do without TLS.
    """

    owner: str
    service: Service
    host: str
    port: int
    implicit: bool = False
    proxied: bool = False
    everywhere: bool = True
    lets_in: bool = True
    named: bool = False
    clear_meant: bool = False

    def __str__(self) -> str:
        scheme = f"{self.service}s" if self.implicit else str(self.service)
        place = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.owner} {scheme}://{place}:{self.port}"


@dataclass(frozen=True, slots=True)
class Asking:
    """A UNIX socket that a process of a mail server asks at.

    who: the process, for people. path: as the server's configuration has it. root: its chroot. folder: what a
    relative path is relative to. setting: what names the path there. inside: a good place in the chroot.
    """

    who: str
    user: User
    path: str
    setting: str
    root: Path = Path("/")
    folder: Path = Path("/")
    inside: str = ""


@dataclass(frozen=True, slots=True)
class Cache:
    """Passwords that a mail server remembers by itself. ends: how to switch that off."""

    what: str
    ends: str


@dataclass(frozen=True, slots=True)
class Host:
    """One mail server. source: where its configuration stands."""

    name: str
    source: str
    doors: tuple[Door, ...] = ()
    asking: tuple[Asking, ...] = ()
    caches: tuple[Cache, ...] = ()


Reader = Callable[[str], Host | None]  # of a module of this folder: its configuration's place, "" for the usual one


def program(*names: str) -> str | None:
    """Where the first of these programs is; None: none is installed."""
    return next((found for name in names if (found := shutil.which(name) or shutil.which(name, path=SBIN))), None)


def output(*words: str) -> str:
    """What a mail server's own program says of its configuration. Raises CannotRead."""
    try:
        done = subprocess.run(  # noqa: S603  a mail server's own program
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotRead(f"`{' '.join(words)}` could not be run ({type(error).__name__}); run this as root") from None
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise CannotRead(f"`{' '.join(words)}` failed: {why}; mend that, or run this as root")
    return done.stdout


def settings(text: str) -> dict[str, str]:
    """Lines of `name = value` by name."""
    pairs = [line.partition("=") for line in text.splitlines() if "=" in line]
    return {name.strip(): value.strip() for name, _, value in pairs}


def reachable(address: str) -> str:
    """Where to connect to what listens at this address."""
    if address in EVERYWHERE:
        return LOOPBACK
    return "127.0.0.1" if address == "localhost" else address.strip("[]")


def is_loopback(address: str) -> bool:
    """Whether only this machine gets there."""
    return address in {"localhost", "::1", "[::1]", "loopback-only"} or address.startswith("127.")
