"""Exim: its authenticators ask by Dovecot's auth protocol.

Source: the Exim specification, chapters 33 and 40 (dovecot authenticator); update-exim4.conf(8) of Debian, whose
configuration is in one file or split into many. Rule: what is ours stands between two marks, and comes first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mailauth.setup.plan import Asked, CannotSetUp, File, Plan, Table, table_file
from mailauth.setup.programs import found, missing, said, version_in

UNIX = "unix:"
ADDRESS = "unix:/run/mailauth/exim"
FOLDER = Path("/etc/exim4")
GROUP = "Debian-exim"
SPLIT = re.compile(r"""^\s*dc_use_split_config=['"]?true""", re.MULTILINE)
SECTION = re.compile(r"^begin authenticators[ \t]*$", re.MULTILINE)
OURS = re.compile(r"^# mailauth: from here\n.*?^# mailauth: to here\n", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^[ \t]*(\w+):[ \t]*\n((?:(?![ \t]*\w+:[ \t]*$|begin ).*\n)*)", re.MULTILINE)
SERVER = re.compile(r"^\s*server_\w+\s*=", re.MULTILINE)
PUBLIC = re.compile(r"^\s*public_name\s*=\s*\"?(?:PLAIN|LOGIN)\b", re.MULTILINE | re.IGNORECASE)
FILE_OF = re.compile(r"^Configuration file (?:search path )?is (\S+)", re.MULTILINE)
AUTHENTICATORS = """\
# mailauth: from here
mailauth_plain:
  driver = dovecot
  public_name = PLAIN
  server_socket = {socket}
  server_set_id = $auth1
  server_advertise_condition = ${{if def:tls_in_cipher}}

mailauth_login:
  driver = dovecot
  public_name = LOGIN
  server_socket = {socket}
  server_set_id = $auth1
  server_advertise_condition = ${{if def:tls_in_cipher}}
# mailauth: to here
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the authenticators go. make: the command that makes Exim's own file of it; "": it is that file."""

    path: Path
    is_a_part: bool
    make: str = ""


def plan(asked: Asked, group: str = GROUP) -> Plan:
    """What Exim needs. group: of its processes. Raises CannotSetUp."""
    address = asked.address or ADDRESS
    text = AUTHENTICATORS.format(socket=_socket(address))
    keys: dict[str, object] = {"socket_group": group} if address.startswith(UNIX) else {}
    table = Table("dovecot-auth", address, {**keys, "services": ["smtp"]})
    exim = None if asked.version else found("exim4", "exim")
    if exim is None and not asked.version:
        raise missing("Exim", "exim4-daemon-heavy")
    if exim is None:
        return _elsewhere(asked, table, text)
    told = said([exim, "-bV"] if asked.folder is None else [exim, "-C", "/dev/null", "-bV"])
    _require_driver(told)
    place = _place(asked.folder, told)
    return Plan(
        host=f"Exim {version_in(told, 'exim')}, set up in {place.path}",
        table=table,
        ours=[table_file(asked, table)],
        files=[_file(place, text)],
        to_do=_to_do(place, address),
        check=_check(exim, place),
        reload=["systemctl", "reload", "exim4"],
    )


def _socket(address: str) -> str:
    """As Exim writes it: a path, or host and port."""
    if address.startswith(UNIX):
        return address.removeprefix(UNIX)
    host, _, port = address.rpartition(":")
    return f"{host} {port}"


def _require_driver(told: str) -> None:
    line = next((line for line in told.splitlines() if line.startswith("Authenticators:")), "")
    if "dovecot" not in line.split():
        raise CannotSetUp(
            "this Exim has no `dovecot` authenticator (exim -bV); on Debian exim4-daemon-heavy has it: "
            "apt install exim4-daemon-heavy"
        )


def _place(folder: Path | None, told: str) -> Place:
    """Debian's own way, split or not, unless a whole configuration stands there; elsewhere the file Exim names."""
    debian = folder or FOLDER
    for whole in (debian / "exim4.conf", debian / "exim.conf"):
        if whole.is_file():
            return Place(whole, is_a_part=False)
    choice = File(debian / "update-exim4.conf.conf", "").before
    if choice is not None and SPLIT.search(choice):
        return Place(debian / "conf.d" / "auth" / "10_mailauth", is_a_part=True, make="update-exim4.conf")
    if choice is not None:
        return Place(debian / "exim4.conf.template", is_a_part=False, make="update-exim4.conf")
    named = FILE_OF.search(told) if folder is None else None
    if named is None:
        raise CannotSetUp(f"{debian}: there is no configuration of Exim; say where it is with --config-dir")
    return Place(Path(named[1]), is_a_part=False)


def _file(place: Place, text: str) -> File:
    """The place with our authenticators in front of all others."""
    if place.is_a_part:
        for other in place.path.parent.glob("*"):
            if other != place.path and other.is_file():
                _require_free(other, File(other, "").before or "")
        return File(place.path, text)
    there = File(place.path, "").before
    if there is None:
        raise CannotSetUp(f"{place.path} is not there; say where Exim's configuration is with --config-dir")
    if OURS.search(there):
        return File(place.path, OURS.sub(lambda _: text, there, count=1))
    _require_free(place.path, there)
    sections = list(SECTION.finditer(there))
    if len(sections) > 1:
        raise CannotSetUp(f"{place.path}: `begin authenticators` stands there more than once; take one out")
    if not sections:
        return File(place.path, there.rstrip("\n") + f"\n\nbegin authenticators\n\n{text}")
    end = sections[0].end()
    return File(place.path, f"{there[:end]}\n\n{text}" + there[end:])


def _require_free(path: Path, text: str) -> None:
    """Exim takes one server authenticator for each public name. Raises CannotSetUp."""
    text = OURS.sub("", text)
    others = [name for name, lines in BLOCK.findall(text) if PUBLIC.search(lines) and SERVER.search(lines)]
    if others:
        raise CannotSetUp(
            f"{path}: {', '.join(others)} offers PLAIN or LOGIN already, and Exim takes one authenticator for each; "
            "take out its `server_...` lines, or all of it, and run this again"
        )


def _check(exim: str, place: Place) -> Sequence[str]:
    """A part is judged only once it has been put together."""
    return [] if place.make else [exim, "-C", str(place.path), "-bV"]


def _to_do(place: Place, address: str) -> list[str]:
    to_do = [
        (
            "TLS must be there (on Debian MAIN_TLS_ENABLE = yes; tls_certificate, tls_privatekey): without it AUTH is "
            "never offered."
        ),
        "Exim waits for the answer as long as mailauth takes, which is 8 seconds at most; it has no cache.",
    ]
    if place.make:
        to_do.insert(0, f"Run `{place.make}`, which puts Exim's own file together and checks it, before the reload.")
    if address.startswith(UNIX):
        to_do.insert(
            0,
            f"The folder of {_socket(address)} must let Exim's user in (mode 0755): let systemd make both, with "
            "`mailauth setup systemd --write`.",
        )
    return to_do


def _elsewhere(asked: Asked, table: Table, text: str) -> Plan:
    return Plan(
        host=f"Exim {asked.version}, elsewhere",
        table=table,
        ours=[table_file(asked, table)],
        commands=["begin authenticators\n", *text.splitlines()],
        to_do=["Put this into Exim's section of authenticators, in front of all others; `exim -bV` checks it."],
        is_elsewhere=True,
    )
