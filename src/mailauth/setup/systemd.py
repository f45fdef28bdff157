"""systemd's units: the sockets of mailauth.toml, opened by systemd and never missing, and the service behind them.

Source: systemd.socket(5), systemd.service(5), systemd.exec(5), sd_notify(3). Rule: the service may write where its own
files are, and nowhere else. It has no RuntimeDirectory: systemd would take that away with the sockets in it, or give
them to the service's user.
"""

from __future__ import annotations

import pwd
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from importlib import resources
from ipaddress import ip_address
from pathlib import Path

from mailauth.config import Address, Settings
from mailauth.config.bridge import UnixPath
from mailauth.setup.plan import Asked, CannotSetUp, File, Plan
from mailauth.setup.programs import found, missing, said
from mailauth.store.engine import SQLITE_SCHEME, sqlite_path

FOLDER = Path("/etc/systemd/system")
STATE = Path("/var/lib/mailauth")
HOMES = ("/home", "/root", "/run/user")  # which the service does not see
OLDEST = 247
TCP = "mailauth.socket"
SERVICE = "mailauth.service"
SIGN = "# mailauth: written by `mailauth setup systemd`"  # at the head of each unit
UNFIT = re.compile(r"[\s%$\"'\\]")


def plan(asked: Asked, user: str = "mailauth") -> Plan:
    """The units for what mailauth.toml has. user: that mailauth runs as. Raises CannotSetUp."""
    version = asked.version or _version()
    if int(version.partition(".")[0]) < OLDEST:
        raise CannotSetUp(f"systemd {version} is older than {OLDEST}, which these units need")
    folder = asked.folder or FOLDER
    settings = asked.settings
    sockets = _sockets(settings)
    if not sockets:
        raise CannotSetUp(f"{settings.source}: there is nothing to listen on; add a [[bridge]] or [[listen]] first")
    _require_plain(settings)
    service = _unit(
        SERVICE,
        {
            "program": str(program()),
            "config": str(settings.source),
            "sockets": " ".join(sockets),
            "user": user,
            "writable": " ".join(_writable(settings)),
        },
    )
    return Plan(
        host=f"systemd {version}, units in {folder}",
        files=[File(folder / name, text) for name, text in {**sockets, SERVICE: service}.items()],
        to_do=[*_to_do(settings, user), *_left_behind(folder, sockets)],
        reload=["systemctl", "daemon-reload"],
        afterwards=_afterwards(sockets),
    )


def _version() -> str:
    analyze = found("systemctl", "systemd-analyze")
    if analyze is None:
        raise missing("systemd", "systemd")
    return said([analyze, "--version"]).split()[1]


def program() -> Path:
    """The `mailauth` that is run here: beside the Python that runs it, else the one of PATH. Raises CannotSetUp."""
    beside = Path(sys.executable).with_name("mailauth")
    if beside.is_file():
        return beside
    installed = found("mailauth")
    if installed is None:
        raise CannotSetUp("the program `mailauth` is neither beside this Python nor in PATH; install the package first")
    return Path(installed)


def _require_plain(settings: Settings) -> None:
    """Raises CannotSetUp for a path that systemd would not take as it stands."""
    places = [str(program()), str(settings.source), *_writable(settings)]
    places += [str(bridge.address.path) for bridge in settings.bridge if isinstance(bridge.address, UnixPath)]
    for place in filter(UNFIT.search, places):
        raise CannotSetUp(
            f"{place.removeprefix('-')!r}: systemd would read a blank, %, $, \\ or a quote otherwise; move it"
        )


def _unit(name: str, fitted: dict[str, str]) -> str:
    text = (resources.files("mailauth.setup") / "units" / name).read_text(encoding="utf-8")
    for word, value in fitted.items():
        text = text.replace(f"<{word}>", value)
    return text.replace(", which fits in what is between < and >", "")


def _sockets(settings: Settings) -> dict[str, str]:
    """The socket units by name: one for TCP, and one for each group that UNIX sockets belong to."""
    units: dict[str, tuple[str, list[str]]] = {}
    tcp = [*_tcp(settings)]
    if tcp:
        units[TCP] = "what listens by TCP", ["BindIPv6Only=ipv6-only", "NoDelay=yes", *tcp]
    for bridge in settings.bridge:
        if not isinstance(bridge.address, UnixPath):
            continue
        group = bridge.socket_group
        rights = [f"SocketMode={bridge.socket_mode:04o}", *([f"SocketGroup={group}"] if group else [])]
        name = f"mailauth-{group or 'own'}-{bridge.socket_mode:04o}.socket".replace("-0660.", ".")
        _about, lines = units.setdefault(
            name, (f"sockets for {group or 'its own user'}", [*rights, "DirectoryMode=0755"])
        )
        lines.append(f"ListenStream={bridge.address.path}")
    return {name: _unit(TCP, {"about": about, "listening": "\n".join(lines)}) for name, (about, lines) in units.items()}


def _tcp(settings: Settings) -> Iterator[str]:
    """The TCP addresses that are one process's own and that systemd can open: it knows no names."""
    addresses = [listen.address for listen in settings.listen if not listen.reuse_port]
    addresses += [bridge.address for bridge in settings.bridge if isinstance(bridge.address, Address)]
    if settings.portal is not None and not settings.portal.reuse_port:
        addresses.append(settings.portal.address)
    for address in addresses:
        try:
            ip_address(address.host)
        except ValueError:
            continue
        yield f"ListenStream={address}"


def _writable(settings: Settings) -> list[str]:
    """The folders that the service writes into. One that is not there is no error ("-")."""
    url = settings.store.url
    folders = {settings.key.file.parent}  # the high-water file is beside the key file
    if url.startswith(SQLITE_SCHEME):
        folders.add(sqlite_path(url).parent)
    if settings.listen and settings.mailbox.kind == "maildir":
        folders.add(settings.mailbox.path)
    if settings.log.file is not None:
        folders.add(settings.log.file.parent)
    return [f"-{folder}" for folder in sorted(folders) if folder != STATE]


def _to_do(settings: Settings, user: str) -> list[str]:
    to_do = []
    try:
        pwd.getpwnam(user)
    except KeyError:
        to_do.append(f"Make the user: useradd --system --home-dir {STATE} --shell /usr/sbin/nologin {user}")
    writable = " ".join(folder.removeprefix("-") for folder in _writable(settings))
    to_do.append(f"What mailauth writes, and the secrets that it reads, must be {user}'s: chown -R {user}: {writable}")
    places = [program(), settings.source, settings.key.file]
    hidden = [str(place) for place in places if any(place.is_relative_to(home) for home in HOMES)]
    if hidden:
        to_do.insert(
            0, f"The service does not see home folders: move {', '.join(hidden)} elsewhere, such as /opt and /etc."
        )
    return to_do


def _left_behind(folder: Path, sockets: Collection[str]) -> Iterator[str]:
    """Units of an earlier mailauth.toml: what they open, nobody answers any more."""
    for path in sorted(folder.glob("mailauth*.socket")):
        if path.name not in sockets and (File(path, "").before or "").startswith(SIGN):
            yield f"{path.name} has nothing of mailauth.toml any more: systemctl disable --now {path.name} && rm {path}"


def _afterwards(sockets: Iterable[str]) -> list[str]:
    return [
        f"systemctl enable --now {' '.join(sockets)} {SERVICE}",
        (
            "The sockets stay while mailauth starts anew: systemctl restart mailauth turns nobody away. systemctl "
            "reload mailauth has it read the certificates again."
        ),
        "After another [[bridge]] or [[listen]]: this command again, then systemctl restart the sockets and mailauth.",
    ]
