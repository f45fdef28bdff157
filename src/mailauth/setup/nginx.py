"""nginx's mail proxy: it asks by `auth_http` who may come in, and to which back end.

Source: nginx.org, ngx_mail_core_module, ngx_mail_auth_http_module, ngx_mail_proxy_module. Rule: TLS from the first byte
only; the token stands in a file that root alone reads.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mailauth.bridges.nginx import places
from mailauth.factors.section import BadSection
from mailauth.setup.plan import PRIVATE, Asked, CannotSetUp, File, Plan, Shared, Table, shared, table_file
from mailauth.setup.programs import found, missing, numbers, said, version_in

ADDRESS = "unix:/run/mailauth/nginx"
FOLDER = Path("/etc/nginx")
GROUP = "www-data"
PORTS = {"imap": 993, "pop3": 995, "smtp": 465}
MAIL = re.compile(r"^\s*mail\s*\{", re.MULTILINE)
USER = re.compile(r"^\s*user\s+(\S+?)(?:\s+(\S+?))?\s*;", re.MULTILINE)
AUTH_FILE, MAIL_FILE = "mailauth-auth.conf", "mailauth-mail.conf"
OLDEST = (1, 15)
HANDS_ON_AUTH = (1, 19)  # .4: proxy_smtp_auth
SETTINGS = """\
# Written by `mailauth setup nginx`.
mail {{
  include {folder}/mailauth-auth.conf;
  server_name {name};

  imap_auth plain login;
  pop3_auth plain;
  smtp_auth plain login;
  imap_capabilities IMAP4rev1 LITERAL+ SASL-IR ID IDLE;
  pop3_capabilities TOP USER UIDL RESP-CODES AUTH-RESP-CODE;
  {smtp}
  ssl_certificate {certificate};
  ssl_certificate_key {key};
{servers}}}
"""
AUTH = """\
auth_http {auth_http};
auth_http_header X-Auth-Key {shown};
auth_http_timeout 15s;
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """What nginx is to be. certificate and key: of TLS; "": as mailauth.toml has them. name: that it greets with."""

    backends: Sequence[str] = ()
    certificate: str = ""
    key: str = ""
    name: str = ""


def plan(asked: Asked, proxy: Proxy) -> Plan:
    """What nginx needs. Raises CannotSetUp."""
    nginx = None if asked.version else found("nginx")
    if nginx is None and not asked.version:
        raise missing("nginx", "nginx libnginx-mod-mail")
    version = asked.version or version_in(said([str(nginx), "-v"], errors=True), "nginx")
    if numbers(version) < OLDEST:
        raise CannotSetUp(f"nginx {version} is older than 1.15, the oldest that this can set up")
    folder = asked.folder or FOLDER
    address = asked.address or ADDRESS
    backends, token = _as_it_is(asked, address, proxy.backends)
    main = File(folder / "nginx.conf", "").before
    if main is None and nginx is not None:
        raise CannotSetUp(f"{folder}: there is no nginx.conf; say where it is with --config-dir")
    table = Table("nginx", address, {**_group(address, main), "token_file": token.name, "backends": [*backends]})
    auth = File(folder / AUTH_FILE, _auth(address, token), PRIVATE, secret=token.text)
    mail = File(folder / MAIL_FILE, _mail(asked, version, folder, backends, proxy))
    return Plan(
        host=f"nginx {version}, set up in {folder}",
        table=table,
        ours=[token.file, table_file(asked, table)],
        files=[auth, mail, _including(folder, main)],
        to_do=_to_do(backends, address),
        check=[] if nginx is None else [nginx, "-t", "-q", "-c", str(folder / "nginx.conf")],
        reload=["nginx", "-s", "reload"]
        if folder == FOLDER
        else ["nginx", "-c", f"{folder}/nginx.conf", "-s", "reload"],
        is_elsewhere=nginx is None,
    )


def _as_it_is(asked: Asked, address: str, wanted: Sequence[str]) -> tuple[Sequence[str], Shared]:
    """The back ends and the token: those of the bridge, if it is there."""
    bridge = asked.bridge("nginx", address)
    written = bridge.options.options.get("backends", []) if bridge is not None else [*wanted]
    backends = [str(entry) for entry in written] if isinstance(written, list) else []
    if not backends:
        raise CannotSetUp(
            "say where the mailboxes are, once for each service: --backend 'imap 192.0.2.10:143' "
            "--backend 'pop3 192.0.2.10:110' --backend 'smtp 192.0.2.10:587'"
        )
    try:
        places(tuple(backends))
    except BadSection as bad:
        raise CannotSetUp(f"--backend {bad}") from None
    source = "" if bridge is None or bridge.token_file is None else bridge.token_file.source
    return backends, shared(asked, "nginx.token", source)


def _group(address: str, main: str | None) -> dict[str, object]:
    """The group of nginx's own processes."""
    if not address.startswith("unix:"):
        return {}
    match = USER.search(main or "")
    return {"socket_group": GROUP if match is None else match[2] or match[1]}


def _auth(address: str, token: Shared) -> str:
    auth_http = f"{address}:/" if address.startswith("unix:") else f"http://{address}/"
    return AUTH.format(auth_http=auth_http, shown=token.text)


def _mail(asked: Asked, version: str, folder: Path, backends: Sequence[str], proxy: Proxy) -> str:
    tls = asked.settings.tls
    certificate = proxy.certificate or ("" if tls is None else str(tls.certificate))
    key = proxy.key or ("" if tls is None else str(tls.key))
    if not certificate or not key:
        raise CannotSetUp("say which certificate nginx shows: --certificate FILE --key FILE (PEM)")
    services = [service for service in PORTS if any(f" {service} " in f" {entry}" for entry in backends)]
    hands_on = "proxy_smtp_auth on;\n  xclient off;" if numbers(version) >= HANDS_ON_AUTH else "xclient on;"
    return SETTINGS.format(
        folder=folder,
        name=proxy.name or asked.settings.submission.greeting_name,
        smtp=hands_on + "\n",
        certificate=certificate,
        key=key,
        servers="".join([f"  server {{ listen {PORTS[s]} ssl; protocol {s}; }}\n" for s in services]),
    )


def _including(folder: Path, main: str | None) -> File:
    """nginx.conf with our file at its end."""
    path = folder / "nginx.conf"
    line = f"include {folder}/{MAIL_FILE};"
    if main is None:
        return File(path, line + "\n")
    if MAIL.search(main):
        raise CannotSetUp(
            f"{path}: there is a mail {{ }} already, and nginx takes one only; take it out, or put "
            f"`include {folder}/{AUTH_FILE};` into it in place of its auth_http, as docs/hosts/nginx.md says"
        )
    return File(path, main if line in main else main.rstrip("\n") + f"\n\n{line}\n")


def _to_do(backends: Sequence[str], address: str) -> list[str]:
    to_do = [
        (
            "nginx logs in at the back end with what its client showed. Where that does not ask mailauth too, give it "
            "a master login: master_login and password_file of the [[bridge]]."
        ),
        "mailauth tells nginx how long a refused client waits (Auth-Wait); it does not wait itself.",
        "nginx keeps no password. What is logged in when something is revoked is the back end's to end.",
        "Behind another proxy: `listen ... proxy_protocol`, and set_real_ip_from with its addresses.",
    ]
    if address.startswith("unix:"):
        to_do.insert(
            0,
            f"{address.removeprefix('unix:')} must be there, in a folder that nginx's user may enter: let systemd make "
            "both, with `mailauth setup systemd --write`.",
        )
    if any(f" {service} " in f" {entry}" for entry in backends for service in ("smtp",)):
        to_do.append("The SMTP back end must offer AUTH to nginx, and nothing but nginx may reach it unencrypted.")
    return to_do
