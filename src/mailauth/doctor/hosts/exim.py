"""Exim: its ports, and the sockets of its `dovecot` authenticators, as `exim -bP` tells of them."""

from __future__ import annotations

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
    ports = [port for name in _listed(told["daemon_smtp_ports"]) if (port := _port(name)) is not None]
    implicit = {_port(name) for name in _listed(told["tls_on_connect_ports"])}
    listens = (_listed(told["local_interfaces"], ";" if ";" in told["local_interfaces"] else ":") or [""])[0]
    doors = [
        Door(
            "Exim",
            Service.SMTP,
            reachable(listens),
            port,
            implicit=port in implicit,
            proxied=bool(told["hosts_proxy"]),
            everywhere=not is_loopback(listens),
        )
        for port in ports
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


def _listed(text: str, separator: str = ":") -> list[str]:
    """A list of Exim's, which may begin with `<` and another separator."""
    if text.startswith("<"):
        separator, text = text[1], text[2:]
    return [part.strip() for part in text.split(separator) if part.strip()]


def _port(name: str) -> int | None:
    return int(name) if name.isdigit() else NAMED_PORTS.get(name)
