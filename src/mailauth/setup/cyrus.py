"""What asks by Cyrus SASL: Cyrus IMAP, Postfix with `smtpd_sasl_type = cyrus`, OpenLDAP.

Source: options.html and `saslauthd(8)` of cyrus-sasl; imapd.conf(5). Rule: PLAIN and LOGIN are all that is offered;
where a file is missing libsasl would offer what nobody can be judged by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mailauth.setup.plan import Asked, CannotSetUp, File, Plan, Table, table_file
from mailauth.setup.postconf import PORT_25, Draft
from mailauth.setup.programs import found, missing, said, version_in

UNIX = "unix:"
ADDRESS = "unix:/run/mailauth/mux"
POSTFIX_ADDRESS = "unix:/var/spool/postfix/private/mailauth-mux"
LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")


@dataclass(frozen=True, slots=True)
class Application:
    """One program that asks. file: of its options, below `folder`; prefix: of each; group: of its processes."""

    name: str
    folder: Path
    file: str
    group: str
    prefix: str = ""
    address: str = ADDRESS
    keys: Mapping[str, object] | None = None
    more: Mapping[str, str] | None = None
    reload: tuple[str, ...] = ()


APPLICATIONS = {
    "imapd": Application(
        "Cyrus IMAP",
        Path("/etc"),
        "imapd.conf",
        "mail",
        prefix="sasl_",
        keys={"services": ["imap", "pop3"]},
        more={"allowplaintext": "no"},
        reload=("systemctl", "reload", "cyrus-imapd"),
    ),
    "smtpd": Application(
        "Postfix with Cyrus SASL",
        Path("/etc/postfix/sasl"),
        "smtpd.conf",
        "postfix",
        address=POSTFIX_ADDRESS,
        keys={"services": ["smtp"]},
        reload=("postfix", "reload"),
    ),
    "slapd": Application(
        "OpenLDAP",
        Path("/etc/ldap/sasl2"),
        "slapd.conf",
        "openldap",
        keys={"other_service": "imap"},
        reload=("systemctl", "restart", "slapd"),
    ),
}


def plan(asked: Asked, application: str = "imapd") -> Plan:
    """What one of APPLICATIONS needs. Raises CannotSetUp."""
    program = APPLICATIONS[application]
    version = asked.version or _version()
    address = asked.address or program.address
    table = Table("saslauthd", address, {"socket_group": program.group, **(program.keys or {})})
    folder = asked.folder or program.folder
    path = folder / program.file
    seen_at = _seen_at("" if asked.version else application, address, folder)
    there = "" if asked.version else File(path, "").before or ""
    return Plan(
        host=f"{program.name}, Cyrus SASL {version}, set up in {path}",
        table=table,
        ours=[table_file(asked, table)],
        files=[File(path, _with(there, _options(program, seen_at)))],
        to_do=_to_do(application, program, address),
        reload=program.reload,
        is_elsewhere=bool(asked.version),
    )


def _version() -> str:
    """That of saslauthd, else of the library itself. Raises CannotSetUp."""
    program = found("saslauthd")
    if program is not None:
        return version_in(said([program, "-v"], errors=True), "saslauthd")
    for folder in LIBRARIES:
        for library in [*Path(folder).glob("libsasl2.so.*"), *Path(folder).glob("*/libsasl2.so.*")]:
            real = library.resolve().name.removeprefix("libsasl2.so.")
            if real.count(".") == 2:  # 2.0.25 is the library's own number
                return f"library {real}"
    raise missing("Cyrus SASL", "sasl2-bin libsasl2-modules")


def _options(program: Application, seen_at: str) -> dict[str, str]:
    wanted = {"pwcheck_method": "saslauthd", "mech_list": "PLAIN LOGIN", "saslauthd_path": seen_at}
    return {**{program.prefix + key: value for key, value in wanted.items()}, **(program.more or {})}


def _seen_at(application: str, address: str, folder: Path) -> str:
    """The socket's path as the program sees it: to an smtpd in its chroot, the queue is the root."""
    path = Path(address.removeprefix(UNIX))
    postconf = found("postconf") if application == "smtpd" else None
    if postconf is None or not (folder.parent / "master.cf").is_file():
        return str(path)
    postfix = Draft(postconf, folder.parent)
    queue = postfix.value("queue_directory")
    services = [service for service in postfix.services() if service.kind == "inet"]
    handing_in = [service for service in services if service.port not in PORT_25] or services
    if not any(service.chrooted for service in handing_in):
        return str(path)
    if not path.is_relative_to(queue):
        raise CannotSetUp(f"smtpd runs in the chroot {queue} and cannot see {path}; name a place below it in --address")
    return f"/{path.relative_to(queue)}"


def _with(there: str, options: Mapping[str, str]) -> str:
    """A file of `key: value` lines with these as they are to be; other lines stay."""
    lines = there.splitlines()
    for key, value in options.items():
        known = [number for number, line in enumerate(lines) if line.partition(":")[0].strip() == key]
        if known:
            lines[known[0]] = f"{key}: {value}"
            for number in reversed(known[1:]):
                del lines[number]
        else:
            lines.append(f"{key}: {value}")
    return "\n".join(lines) + "\n"


def _to_do(application: str, program: Application, address: str) -> list[str]:
    to_do = [
        (
            f"{address.removeprefix(UNIX)} must be there before {program.name}, and its folder must let the group "
            f"{program.group} in: let systemd make both, with `mailauth setup systemd --write`."
        ),
        (
            "Stop saslauthd itself: nothing asks it any more, and with -c it would go on letting revoked passwords "
            "in (systemctl disable --now saslauthd)."
        ),
        "libsasl2-modules must be installed: without it there is neither PLAIN nor LOGIN.",
        (
            "Neither the client's address nor TLS is told: everybody counts as bridge:saslauthd, and app passwords "
            "that are bound to a network do not get in. Take TLS to be demanded by the program itself."
        ),
    ]
    if application == "smtpd":
        to_do.append(
            "At the submission services of master.cf, and at no other: -o smtpd_sasl_auth_enable=yes "
            "-o smtpd_sasl_type=cyrus -o smtpd_sasl_path=smtpd -o smtpd_tls_auth_only=yes. EHLO must say "
            "AUTH PLAIN LOGIN and nothing more. `mailauth setup postfix` needs no Cyrus SASL, and names the client."
        )
    if application == "imapd":
        to_do.append("tls_server_cert and tls_server_key must be set: with allowplaintext: no, TLS comes before LOGIN.")
    return to_do
