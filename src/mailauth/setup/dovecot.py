"""Dovecot, 2.3 and 2.4: its passdb asks by HTTP, with a Lua script where Lua is installed, else by the password grant.

Source: doveconf(1); Dovecot's documentation of passdb, `passdb lua` and `passdb oauth2`. Rule: from then on nothing
else judges a password. What says where the mail is (userdb), and master users, stay as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path

from mailauth.config.bridge import Bridge
from mailauth.setup import dovecot_texts as texts
from mailauth.setup.plan import PRIVATE, Asked, CannotSetUp, File, Plan, Shared, Table, shared, table_file
from mailauth.setup.programs import found, missing, numbers, said, version_in

LUA, GRANT = "dovecot-lua", "dovecot-grant"
USUAL = {LUA: "127.0.0.1:8412", GRANT: "127.0.0.1:8411"}
DOVEADM = "127.0.0.1:8414"
FOLDER = Path("/etc/dovecot")
MODULES = "dovecot/modules/auth/libauthdb_lua.so"
LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/libexec")
OLDEST = (2, 3)
INCLUDES = re.compile(r"^([ \t]*)(!include(?:_try)?\s+auth-(?!mailauth\b)[\w-]+\.conf\.ext.*)$", re.MULTILINE)
OUR_INCLUDE = "!include auth-mailauth.conf.ext"
BLOCK = re.compile(r"^(?:passdb|userdb)\b[^\n]*\{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
MASTER = re.compile(r"^\s*master = yes$", re.MULTILINE)
OURS = re.compile(r"mailauth")
PREFETCH = re.compile(r"^\s*driver = prefetch$|^userdb prefetch\b", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Host:
    """The Dovecot that is set up. doveconf: its program; None: it is elsewhere."""

    version: str
    folder: Path
    doveconf: str | None

    @property
    def is_new(self) -> bool:
        """Whether it reads the configuration of 2.4."""
        return numbers(self.version) >= (2, 4)

    def value(self, name: str) -> str:
        """One setting as it is in force. doveconf of 2.4 puts it into its blocks."""
        last = name.rpartition("/")[2]
        match = re.search(rf"^[\w\s/-]*\b{last} =(.*)$", self._said(name), re.MULTILINE)
        return "" if match is None else match[1].strip()

    def blocks(self) -> list[str]:
        """The passdb and userdb that are in force."""
        return [match[0] for match in BLOCK.finditer(self._said("-n"))]

    def _said(self, *words: str) -> str:
        return said([str(self.doveconf), "-c", str(self.folder / "dovecot.conf"), *words])


@dataclass(frozen=True, slots=True)
class Kick:
    """doveadm's HTTP listener, by which sessions are ended. address: of it; key: for it."""

    address: str
    key: Shared


def plan(asked: Asked, kind: str = "", doveadm: str = DOVEADM) -> Plan:
    """What Dovecot needs. kind: of the bridge; "": as it is, else by what is installed. Raises CannotSetUp."""
    host = _host(asked)
    kind = kind or _kind(asked)
    if kind == GRANT and host.is_new:
        raise CannotSetUp(
            f"Dovecot {host.version} takes every refusal by the password grant for a fault; install its Lua (Debian: "
            "apt install dovecot-auth-lua) and take --kind dovecot-lua"
        )
    address = asked.address or USUAL[kind]
    bridge = asked.bridge(kind, address)
    token_file = "" if bridge is None or bridge.token_file is None else bridge.token_file.source
    token = shared(asked, f"{kind}.token", token_file)
    kick = _kick(asked, bridge, doveadm)
    table = Table(kind, address, {"token_file": token.name, **({} if kick is None else _kick_keys(host, kick))})
    ours = [token.file, *([] if kick is None else [kick.key.file]), table_file(asked, table)]
    reload = (
        ["doveadm", "reload"] if host.folder == FOLDER else ["doveadm", "-c", f"{host.folder}/dovecot.conf", "reload"]
    )
    return Plan(
        host=f"Dovecot {host.version}, set up in {host.folder}, by {kind}",
        table=table,
        ours=ours,
        files=_files(host, kind, address, token, kick),
        to_do=_to_do(host, kind, kick),
        check=[] if host.doveconf is None else [host.doveconf, "-c", str(host.folder / "dovecot.conf"), "-n"],
        require=None if host.doveconf is None else partial(require_alone, host.folder),
        reload=reload,
        is_elsewhere=host.doveconf is None,
    )


def _host(asked: Asked) -> Host:
    doveconf = None if asked.version else found("doveconf")
    folder = asked.folder or FOLDER
    if doveconf is None and not asked.version:
        raise missing("Dovecot", "dovecot-core")
    if doveconf is not None and not (folder / "dovecot.conf").is_file():
        raise CannotSetUp(f"{folder}: there is no dovecot.conf; say where it is with --config-dir")
    version = asked.version or version_in(said([found("dovecot") or "dovecot", "--version"]), "dovecot")
    if numbers(version) < OLDEST:
        raise CannotSetUp(f"Dovecot {version} is older than 2.3, the oldest that this can set up")
    return Host(version, folder, doveconf)


def _kind(asked: Asked) -> str:
    """The kind that mailauth.toml has; else Lua where it is installed: it tells more."""
    there = [bridge.kind for bridge in asked.settings.bridge if bridge.kind in USUAL]
    if there:
        return there[0]
    has_lua = any(list(Path(library).glob(place)) for library in LIBRARIES for place in (MODULES, f"*/{MODULES}"))
    return LUA if has_lua else GRANT


def _kick(asked: Asked, bridge: Bridge | None, doveadm: str) -> Kick | None:
    """None: the bridge is there, and does not end sessions."""
    if bridge is None:
        return Kick(doveadm, shared(asked, "dovecot-doveadm.key"))
    url = str(bridge.options.options.get("doveadm_url", ""))
    kept = bridge.options.secrets.get("doveadm_key")
    if not url or kept is None:
        return None
    return Kick(url.removeprefix("http://").rstrip("/"), shared(asked, "dovecot-doveadm.key", kept.source))


def _kick_keys(host: Host, kick: Kick) -> dict[str, object]:
    device = {"kick_by": "app-password"} if host.is_new else {}
    return {"doveadm_url": f"http://{kick.address}", "doveadm_key_file": kick.key.name, **device}


def _files(host: Host, kind: str, address: str, token: Shared, kick: Kick | None) -> list[File]:
    files = _of_lua(host, address, token) if kind == LUA else _of_grant(host, address, token)
    folder = host.folder
    if kick is not None:
        # Without a line end: Dovecot takes the whole file for the key.
        files.append(File(folder / "mailauth-doveadm.key", kick.key.text, PRIVATE, secret=kick.key.text))
    passdb = texts.passdb(kind, address, folder, is_new=host.is_new)
    kept = [] if host.doveconf is None else _kept(host)
    more = "" if kick is None else texts.doveadm(kick.address, folder, is_new=host.is_new)
    files.append(File(folder / "conf.d" / "auth-mailauth.conf.ext", "\n".join([texts.HEAD, passdb, *kept, more])))
    files.append(_including(host))
    return files


def _of_lua(host: Host, address: str, token: Shared) -> list[File]:
    script = resources.files("mailauth.bridges") / "dovecot.lua"
    files = [
        File(host.folder / "mailauth.lua", script.read_text(encoding="utf-8"), copy_of=str(script)),
        File(host.folder / "mailauth.token", token.text + "\n", 0o640, _workers_group(host), secret=token.text),
    ]
    if not host.is_new:
        files.append(File(host.folder / "mailauth-settings.lua", texts.lua_settings(address, host.folder)))
    return files


def _workers_group(host: Host) -> int | None:
    """The group of the processes that run the script; None: they are root's."""
    import pwd  # noqa: PLC0415

    if host.doveconf is None:
        return None
    user = host.value("service/auth-worker/user")
    if user.startswith("$"):
        user = host.value(user.removeprefix("$").removeprefix("SET:"))
    try:
        return pwd.getpwnam(user).pw_gid if user not in {"", "root"} else None
    except KeyError:
        raise CannotSetUp(f"Dovecot's service auth-worker runs as {user}, which is no user of this machine") from None


def _of_grant(host: Host, address: str, token: Shared) -> list[File]:
    text = texts.grant(address, token.text)
    return [File(host.folder / "mailauth-grant.conf.ext", text, PRIVATE, secret=token.text)]


def _kept(host: Host) -> list[str]:
    """The userdbs and the master passdbs that are in force: they go on, in our file."""
    return [block for block in host.blocks() if block.startswith("userdb") or MASTER.search(block)]


def _including(host: Host) -> File:
    """conf.d/10-auth.conf with our file in place of the others."""
    path = host.folder / "conf.d" / "10-auth.conf"
    there = File(path, "").before
    if there is None:
        if host.doveconf is None:
            return File(path, f"{OUR_INCLUDE}\n")
        raise CannotSetUp(
            f"{path} is not there: this sets up the usual layout of Dovecot's configuration; see docs/hosts/dovecot.md"
        )
    text = INCLUDES.sub(r"\1#\2", there)
    if OUR_INCLUDE not in re.findall(r"^!include.*$", text, re.MULTILINE):
        text = text.rstrip("\n") + f"\n{OUR_INCLUDE}\n"
    return File(path, text)


def require_alone(folder: Path) -> None:
    """Raises CannotSetUp when another passdb is in force beside ours, or passwords are remembered."""
    host = Host("2.3", folder, found("doveconf"))
    others = [b for b in host.blocks() if b.startswith("passdb") and not MASTER.search(b) and not OURS.search(b)]
    if others:
        raise CannotSetUp(
            f"{folder}: another passdb would go on letting people in: {' '.join(others[0].split())}; take it out of "
            "the configuration (`grep -rn passdb` finds it) and run this again; nothing was changed"
        )
    if host.value("auth_cache_size") != "0":
        raise CannotSetUp(
            f"{folder}: auth_cache_size is set behind conf.d/10-auth.conf; a cached password outlives its revocation: "
            "take that line out and run this again; nothing was changed"
        )


def _to_do(host: Host, kind: str, kick: Kick | None) -> list[str]:
    to_do = [
        "Dovecot itself keeps refused clients waiting (auth_failure_delay, 2 seconds); mailauth does not do it again.",
        "Nothing may be cached: auth_cache_size = 0 is in auth-mailauth.conf.ext; set it nowhere else.",
    ]
    if kind == LUA:
        most = "process_limit of service auth-worker" if host.is_new else "auth_worker_max_count"
        to_do.append(f"A login holds one auth-worker while it is judged: {most} (30) says how many can be.")
    else:
        to_do.append(
            "The grant tells neither TLS nor aliases; for both install dovecot-auth-lua, and --kind dovecot-lua."
        )
    if kick is None:
        to_do.append(
            "What is open at Dovecot does not end on revoking: add doveadm_url, as docs/hosts/dovecot.md says."
        )
    elif not host.is_new:
        to_do.append(
            "Revoking one app password ends its user's sessions from where it was let in, or all of them where that is "
            "not certain: only Dovecot 2.4 knows one device from another."
        )
    if host.doveconf is None:
        to_do.append("userdb and master users stay in your own files: only the other passdbs must go.")
        return to_do
    if any(PREFETCH.search(block) for block in host.blocks()):
        to_do.append("`userdb prefetch` finds nothing any more: name another userdb that says where the mail is.")
    others = set(host.value("auth_mechanisms").split()) - {"plain", "login"}
    if others:
        to_do.append(
            f"These mechanisms are no longer offered, having no password to judge: {', '.join(sorted(others))}."
        )
    return to_do
