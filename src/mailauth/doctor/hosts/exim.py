"""Exim: its ports, and the sockets of its `dovecot` authenticators, as `exim -bP` tells of them.

Source: the Exim specification, 6.21 (lists) and 13.1 (daemon_smtp_ports, local_interfaces).
"""

from __future__ import annotations

import re

from mailauth.attempt import Service
from mailauth.doctor.hosts.host import Asking, CannotRead, Door, Host, is_loopback, output, program, reachable, settings
from mailauth.doctor.rights import user_named

WANTED = ("daemon_smtp_ports", "local_interfaces", "tls_on_connect_ports", "exim_user", "hosts_proxy")
NAMED_PORTS = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465, "ssmtp": 465}


def read(place: str) -> Host | None:
    """place: its configuration file. None: Exim is not installed. Raises CannotRead."""
    exim = program("exim4", "exim")
    if exim is None:
        return None
    where = ["-C", place] if place else []
    told = {name: settings(output(exim, *where, "-bP", name)).get(name, "") for name in WANTED}
    implicit = {_port(name) for name in _listed(told["tls_on_connect_ports"])}
    doors = [
        Door(
            "Exim",
            Service.SMTP,
            host,
            port,
            implicit=port in implicit,
            proxied=bool(told["hosts_proxy"]),
            everywhere=everywhere,
        )
        for (host, port), everywhere in _listening(told["local_interfaces"], told["daemon_smtp_ports"]).items()
    ]
    user = user_named(told["exim_user"])
    if user is None:
        raise CannotRead(f"Exim's user {told['exim_user']!r} is no user of this machine; make it")
    paths = dict.fromkeys(_sockets(output(exim, *where, "-bP", "authenticators")))
    asking = [Asking("Exim", user, path, "server_socket") for path in paths]
    return Host("Exim", place or "its configuration", tuple(doors), tuple(asking))


def _sockets(text: str) -> list[str]:
    lines = [line.partition("=") for line in text.splitlines()]
    return [value.strip() for name, _, value in lines if name.strip() == "server_socket" and value.strip()]


def _listening(interfaces: str, ports: str) -> dict[tuple[str, int], bool]:
    """Where to connect to, and whether other machines get there. An interface without a port has all of `ports`."""
    usual = [_port(name) for name in _listed(ports)]
    found: dict[tuple[str, int], bool] = {}
    for address, own in map(_place, _listed(interfaces) or [""]):
        for port in [own] if own else usual:
            if port is not None:
                place = reachable(address), port
                found[place] = found.get(place, False) or not is_loopback(address)
    return found


def _place(interface: str) -> tuple[str, int | None]:
    """The address, and its own port: of 192.0.2.1.587, ::1.587 and [::1]:587."""
    if interface.startswith("["):
        address, _, port = interface[1:].partition("]")
    elif ":" in interface:
        address, _, port = interface.partition(".")
    else:
        parts = interface.split(".")
        address, port = ".".join(parts[:4]), ".".join(parts[4:])
    port = port.removeprefix(":")
    return address, int(port) if port.isdigit() else None


def _listed(text: str) -> list[str]:
    """A list of Exim's, which may begin with `<` and another separator; doubled, it is a part of what is listed."""
    separator = ":"
    if changed := re.match(r"<([^\w\s])", text):
        separator, text = changed[1], text[2:]
    mark = re.escape(separator)
    parts = re.findall(rf"(?:{mark}{mark}|[^{mark}])+", text)
    return [part.replace(separator * 2, separator).strip() for part in parts if part.strip()]


def _port(name: str) -> int | None:
    return int(name) if name.isdigit() else NAMED_PORTS.get(name)
