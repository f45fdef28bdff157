"""Postfix: its submission services ask by Dovecot's auth protocol.

Source: postconf(1), postconf(5) (smtpd_sasl_type, smtpd_sasl_path), master(5). Rule: AUTH is switched on at submission
services alone. A new smtpd that finds no socket ends, and at port 25 that would be the mail of the whole world.
The edits are postconf's own, made on copies.
"""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mailauth.setup.plan import Asked, CannotSetUp, File, Plan, Table, table_file
from mailauth.setup.postconf import FILES, PORT_25, Draft, Service
from mailauth.setup.programs import found, missing, numbers, said, version_in

UNIX = "unix:"
SOCKET = "private/mailauth"
QUEUE = "/var/spool/postfix"
OLDEST = (2, 11)  # whose postconf edits master.cf
FOLDER = Path("/etc/postfix")
USUAL_PROCESSES = 100  # default_process_limit: so many for each service
USUAL = ("submission", "587", "submissions", "smtps", "465")
FROM_THE_FIRST_BYTE = {"submissions", "smtps", "465"}
OURS = {"smtpd_sasl_type", "smtpd_sasl_path", "smtpd_sasl_security_options", "smtpd_tls_auth_only"}
AT_THE_END = "smtpd_end_of_data_restrictions"
POLICY = "-policy"
ENABLED = "smtpd_sasl_auth_enable"


def plan(asked: Asked, submissions: Sequence[str] = ()) -> Plan:
    """What Postfix needs. submissions: its submission services, as master.cf calls them; none: the usual names.

    Raises CannotSetUp.
    """
    if any(name.rpartition(":")[2] in PORT_25 for name in submissions):
        raise CannotSetUp("port 25 is where other servers deliver: AUTH is never switched on there; name another")
    postconf = found("postconf")
    if postconf is None or asked.version:
        if not asked.version:
            raise missing("Postfix", "postfix")
        return _elsewhere(asked, submissions or ("submission",))
    return _here(asked, postconf, submissions)


def _here(asked: Asked, postconf: str, submissions: Sequence[str]) -> Plan:
    folder = asked.folder or FOLDER
    if not (folder / "main.cf").is_file() or not (folder / "master.cf").is_file():
        raise CannotSetUp(f"{folder}: there is no main.cf or no master.cf; say where they are with --config-dir")
    version = version_in(said([postconf, "-h", "-d", "mail_version"]), "postconf")
    _require_able(version, said([postconf, "-a"]))
    with tempfile.TemporaryDirectory() as place:
        for name in FILES:
            shutil.copy(folder / name, place)
        draft = Draft(postconf, Path(place))
        draft.age()
        services = _submissions(draft, submissions)
        path, address = _paths(asked.address, draft.value("queue_directory"), services)
        beside, asked_there = _policy(address, path)
        more = _edit(draft, services, path, asked_there)
        table = Table("dovecot-auth", address, _keys(address, _slots(draft, services)))
        files = [File(folder / name, (Path(place) / name).read_text()) for name in FILES]
        to_do = [*_to_do(draft, address), *more]
    reload = ["postfix", "reload"] if folder == FOLDER else ["postfix", "-c", str(folder), "reload"]
    return Plan(
        host=f"Postfix {version}, set up in {folder}; {_described(services)}",
        table=table,
        beside=beside,
        ours=[table_file(asked, table, *beside)],
        files=files,
        to_do=to_do,
        check=[found("postfix") or "postfix", "-c", str(folder), "check"],
        reload=reload,
    )


def _require_able(version: str, types: str) -> None:
    if numbers(version) < OLDEST:
        raise CannotSetUp(f"Postfix {version} is older than 2.11, which this can set up; see docs/hosts/postfix.md")
    if "dovecot" not in types.split():
        raise CannotSetUp("this Postfix is built without `dovecot` (postconf -a); take your system's own package")


def _submissions(draft: Draft, named: Sequence[str]) -> list[Service]:
    """The services where people hand in mail; the usual ones are added where there are none."""
    there = {service.name: service for service in draft.services() if service.kind == "inet"}
    for name in named:
        if name not in there:
            raise CannotSetUp(f"master.cf has no service {name} of type inet; write it there first, or name another")
    chosen = [*named] or [name for name, service in there.items() if service.port in USUAL]
    if not chosen:
        jail = "y" if any(service.chrooted for service in there.values()) else "n"
        chosen = ["submission", _name_of_465()]
        draft.add(chosen, jail)
    return [service for service in draft.services() if service.name in chosen and service.kind == "inet"]


def _name_of_465() -> str:
    try:
        return "submissions" if socket.getservbyname("submissions", "tcp") == 465 else "465"
    except OSError:
        return "465"


def _paths(address: str, queue: str, services: Sequence[Service]) -> tuple[str, str]:
    """smtpd_sasl_path, and the bridge's address. Relative to the queue it is right in the chroot and outside."""
    if not address:
        return SOCKET, f"{UNIX}{queue}/{SOCKET}"
    if not address.startswith(UNIX):
        return f"inet:{address}", address
    path = Path(address.removeprefix(UNIX))
    if path.is_relative_to(queue):
        return str(path.relative_to(queue)), address
    jailed = [service.name for service in services if service.chrooted]
    if jailed:
        raise CannotSetUp(
            f"{', '.join(jailed)} runs in the chroot {queue} and cannot see {path}; choose a place below it, or set "
            "the fifth column of master.cf to n"
        )
    return str(path), address


def _policy(address: str, path: str) -> tuple[list[Table], str]:
    """The bridge that is asked before each message, beside the socket for logins, and where; by TCP there is none."""
    if not address.startswith(UNIX):
        return [], ""
    return [Table("postfix-policy", address + POLICY, {"socket_group": "postfix"})], f"{UNIX}{path}{POLICY}"


def _edit(draft: Draft, services: Sequence[Service], path: str, policy: str) -> list[str]:
    """Both files. policy: where is asked before each message; "": nowhere. What is to be said of other services."""
    was_on, by_main = draft.value(ENABLED) == "yes", {AT_THE_END: draft.value(AT_THE_END)}
    draft.set(_main(path))
    given, taken, asking, without = [], [], [], []
    for service in draft.services():
        has = draft.options(service)
        if service in services:
            taken += [f"{service.entry}/{name}" for name in sorted(OURS & set(has))]
            wanted = _own(service.port, by_main | has, policy)
            given += [f"{service.entry}/{name}={value}" for name, value in wanted.items() if has.get(name) != value]
        elif has.get(ENABLED) == "yes" and (service.port in PORT_25 or service.kind == "pass"):
            taken.append(f"{service.entry}/{ENABLED}")
        elif has.get(ENABLED) == "yes":
            asking.append(service.name)
        elif was_on and ENABLED not in has and service.port not in PORT_25:
            without.append(service.name)
    draft.take(taken)
    draft.give(given)
    return _told_of(asking, without)


def _told_of(asking: Sequence[str], without: Sequence[str]) -> list[str]:
    """asking: services with AUTH beside submission; without: those that had it by main.cf."""
    told = []
    if asking:
        told.append(f"These have AUTH, too, and ask mailauth from now on: {', '.join(asking)}.")
    if without:
        told.append(
            f"These had AUTH by main.cf, and have it no more: {', '.join(without)}; --submission gives it back."
        )
    return told


def _main(path: str) -> dict[str, str]:
    return {
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": path,
        "smtpd_sasl_security_options": "noanonymous",
        "smtpd_tls_auth_only": "yes",
        ENABLED: "no",
    }


def _own(port: str, has: dict[str, str], policy: str = "") -> dict[str, str]:
    """What a submission service needs of its own, beside what it has, be it by main.cf: it outweighs that."""
    wrapped = port in FROM_THE_FIRST_BYTE or has.get("smtpd_tls_wrappermode") == "yes"
    tls = {"smtpd_tls_wrappermode": "yes"} if wrapped else {"smtpd_tls_security_level": "encrypt"}
    relay = (
        {} if "smtpd_relay_restrictions" in has else {"smtpd_relay_restrictions": "permit_sasl_authenticated,reject"}
    )
    before = ",".join(has.get(AT_THE_END, "").replace(",", " ").split())  # in master.cf no value has a space
    asking = (
        {AT_THE_END: f"check_policy_service,{policy}{',' if before else ''}{before}"} if policy not in before else {}
    )
    return {**tls, ENABLED: "yes", **relay, **asking}


def _keys(address: str, slots: int) -> dict[str, object]:
    group = {"socket_group": "postfix"} if address.startswith(UNIX) else {}
    return {**group, "services": ["smtp"], "slots": slots}


def _slots(draft: Draft, services: Sequence[Service]) -> int:
    """How many logins can be under way: as many as there are smtpd processes for them."""
    usual = int(draft.value("default_process_limit"))
    return min(max(sum([usual if s.processes is None else s.processes for s in services]), 4), 100_000)


def _described(services: Sequence[Service]) -> str:
    told = [f"{service.name} ({'in its chroot' if service.chrooted else 'no chroot'})" for service in services]
    return "people hand in mail at " + ", ".join(told)


def _to_do(draft: Draft, address: str) -> list[str]:
    queue = draft.value("queue_directory")
    to_do = [
        (
            "AUTH is switched on at the submission services alone. Programs that hand in mail at port 25 must use "
            "port 587 or 465."
        ),
        "Let a program try: AUTH must be offered after STARTTLS, or on port 465, and nowhere else.",
        "Refused clients wait for mailauth, a quarter of `slots` at most: Postfix itself does not keep them waiting.",
        "There is no cache to switch off: Postfix asks at every login.",
        *_by_tcp(address),
    ]
    if address.startswith(UNIX):
        to_do.insert(
            0,
            f"{queue}/private is Postfix's own, and the socket must be there before Postfix: let systemd open it, with "
            "`mailauth setup systemd --write`. Without systemd, run mailauth as a member of the group postfix, let it "
            "write into that folder, and start it first.",
        )
    if not any(_names_a_file(draft.value(name)) for name in ("smtpd_tls_chain_files", "smtpd_tls_cert_file")):
        to_do.insert(0, "There is no certificate: set smtpd_tls_chain_files (or smtpd_tls_cert_file) in main.cf.")
    return to_do


def _by_tcp(address: str) -> list[str]:
    """What is less, or more to do, by TCP."""
    if address.startswith(UNIX):
        return []
    return [
        'By TCP nothing is encrypted, and from another machine hosts = ["..."] of the [[bridge]] must name that one.',
        (
            "By TCP Postfix is not set up to ask before it takes a message (postfix-policy): whoever is logged in when "
            "a password is revoked may send until the connection ends."
        ),
    ]


def _names_a_file(value: str) -> bool:
    return value not in {"", "none"}


def _elsewhere(asked: Asked, submissions: Sequence[str]) -> Plan:
    """As commands, since neither its files nor its programs are here."""
    _require_able(version_in(asked.version, "--version"), "dovecot")
    path, address = _paths(asked.address, QUEUE, ())
    beside, asked_there = _policy(address, path)
    commands = [f"postconf -e '{name} = {value}'" for name, value in _main(path).items()]
    for name in submissions:
        commands += [f"postconf -P '{name}/inet/{key}={value}'" for key, value in _own(name, {}, asked_there).items()]
    table = Table("dovecot-auth", address, _keys(address, USUAL_PROCESSES * len(submissions)))
    return Plan(
        host=f"Postfix {asked.version}, elsewhere",
        table=table,
        beside=beside,
        ours=[table_file(asked, table, *beside)],
        commands=[*commands, "postfix check && postfix reload"],
        to_do=["master.cf must have the services.", *_by_socket(address), *_by_tcp(address)],
        is_elsewhere=True,
    )


def _by_socket(address: str) -> list[str]:
    """What is to be done for a Postfix elsewhere, which asks a mailauth that is beside it."""
    if not address.startswith(UNIX):
        return []
    return [
        (
            "A UNIX socket is for a mailauth on the same machine as that Postfix, and must be there before Postfix: "
            "let systemd open it (`mailauth setup systemd`). For one on another machine: --address HOST:PORT."
        ),
        f"If main.cf has {AT_THE_END}, write its value behind ours in master.cf, with commas in place of blanks.",
    ]
