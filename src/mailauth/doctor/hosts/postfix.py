"""Postfix: its smtpd services, the chroot of each, and the sockets that each asks at, for logins and before a message.

Source: postconf(1), master(5), postconf(5); libsasl's smtpd.conf. A socket's path is relative to the queue's folder,
and is the chroot's own in a chroot.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mailauth.attempt import Service
from mailauth.doctor.hosts.host import (
    LOOPBACK,
    Asking,
    CannotRead,
    Door,
    Host,
    is_loopback,
    output,
    program,
    reachable,
    settings,
)
from mailauth.doctor.rights import user_named

OPTION = re.compile(r"-o\s+(?:\{\s*([^=}]+?)\s*=\s*(.*?)\s*\}|([^=\s]+)=(\S*))")
USUAL_SASL = ("/etc/postfix/sasl", "/var/lib/sasl2", "/etc/sasl2", "/usr/lib/sasl2")
AT_THE_END = "smtpd_end_of_data_restrictions"
POLICY = re.compile(r"check_policy_service[\s,{]+unix:([^\s,}]+)")
WANTED = (
    *("queue_directory", "mail_owner", "inet_interfaces", "compatibility_level", "config_directory"),
    *("smtpd_sasl_auth_enable", "smtpd_sasl_type", "smtpd_sasl_path", "smtpd_tls_wrappermode"),
    *("smtpd_upstream_proxy_protocol", "cyrus_sasl_config_path", AT_THE_END),
)
COLUMNS = 8  # of master.cf: service, type, private, unpriv, chroot, wakeup, maxproc, command


@dataclass(frozen=True, slots=True)
class _Service:
    """One smtpd of master.cf. values: the settings that hold for it."""

    name: str
    is_jailed: bool
    values: Mapping[str, str]

    @property
    def asks(self) -> bool:
        return self.values.get("smtpd_sasl_auth_enable") == "yes"


def read(place: str) -> Host | None:
    """place: Postfix's configuration folder. None: Postfix is not installed. Raises CannotRead."""
    postconf = program("postconf")
    if postconf is None:
        return None
    where = ["-c", place] if place else []
    values = settings(output(postconf, *where, "-x", *WANTED))
    services = [found for line in output(postconf, *where, "-M").splitlines() if (found := _service(line, values))]
    doors = [door for service in services if (door := _door(service)) is not None]
    asking = [one for service in services if service.asks for one in _asking(service)]
    return Host("Postfix", values.get("config_directory", place), tuple(doors), tuple(asking))


def _service(line: str, values: Mapping[str, str]) -> _Service | None:
    columns = line.split(None, COLUMNS)
    if len(columns) < COLUMNS or columns[1] != "inet" or columns[7] != "smtpd":
        return None
    arguments = columns[8] if len(columns) > COLUMNS else ""
    own = {(a or c): (b or d) for a, b, c, d in OPTION.findall(arguments)}
    jailed = columns[4] == "y" or (columns[4] == "-" and values.get("compatibility_level", "1").startswith("0"))
    return _Service(columns[0], jailed, {**values, **own})


def _door(service: _Service) -> Door | None:
    host, _, name = service.name.rpartition(":")
    port = _port(name)
    if port is None:
        return None
    listens = host or service.values.get("inet_interfaces", "all").replace(",", " ").split()[0]
    loopback = is_loopback(listens)
    return Door(
        "Postfix",
        Service.SMTP,
        LOOPBACK if listens == "loopback-only" or (not host and loopback) else reachable(listens),
        port,
        implicit=service.values.get("smtpd_tls_wrappermode") == "yes",
        proxied=bool(service.values.get("smtpd_upstream_proxy_protocol")),
        everywhere=not loopback,
        lets_in=service.asks,
    )


def _asking(service: _Service) -> Iterator[Asking]:
    """At UNIX sockets; what it asks by TCP is not known here."""
    values = service.values
    user = user_named(values.get("mail_owner", "postfix"))
    if user is None:
        raise CannotRead("Postfix's mail_owner is no user of this machine; make it")
    queue = Path(values["queue_directory"])
    path, setting = _path(values)
    told = {path.removeprefix("unix:"): setting} if path and not path.startswith("inet:") else {}
    told |= dict.fromkeys(POLICY.findall(values.get(AT_THE_END, "")), AT_THE_END)
    root = queue if service.is_jailed else Path("/")
    folder = Path("/") if service.is_jailed else queue
    for path, setting in told.items():
        inside = "private/mailauth-policy" if setting == AT_THE_END else "private/mailauth"
        yield Asking(f"Postfix smtpd ({service.name})", user, path, setting, root, folder, inside)


def _path(values: Mapping[str, str]) -> tuple[str, str]:
    """Where it asks, and what says so. Of Cyrus SASL only saslauthd's is known."""
    if values.get("smtpd_sasl_type") == "dovecot":
        return values.get("smtpd_sasl_path", ""), "smtpd_sasl_path"
    folders = [folder for folder in values.get("cyrus_sasl_config_path", "").split(":") if folder]
    beside = f"{values.get('config_directory', '')}/sasl"  # where Debian's Postfix looks
    for folder in [*folders, beside, *USUAL_SASL]:
        with suppress(OSError):
            text = (Path(folder) / f"{values.get('smtpd_sasl_path') or 'smtpd'}.conf").read_text(errors="replace")
            lines = [line.partition(":") for line in text.splitlines()]
            told = {name.strip(): value.strip() for name, _, value in lines}
            path = told.get("saslauthd_path", "") if told.get("pwcheck_method") == "saslauthd" else ""
            return path, f"saslauthd_path of {folder}"
    return "", ""


def _port(name: str) -> int | None:
    try:
        return int(name) if name.isdigit() else socket.getservbyname(name, "tcp")
    except OSError:
        return None
