"""The configuration as text: the file that `mailauth init` writes, and the table in docs/configuration.md.

Rule: made from `settings` alone, so that neither can tell of a key that is not there.
Run `python -m mailauth.config.writing docs/configuration.md` to write the page anew.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mailauth.config.settings import ABSENT, REPEATED, SECTIONS

HEAD = """\
# mailauth.toml, the configuration of mailauth. `mailauth config check` says whether it is right.
# Unknown keys are errors. Relative paths are relative to this file. Passwords stand in files of their own.
"""

PLUGGED = """\
# Second factors of the portal, each switched on by a table of its own; see docs/factors.md. Without any, there are
# totp, webauthn and recovery-codes.
#[factors.totp]
#[factors.webauthn]
#[factors.recovery-codes]
#[factors.sms]
#gateway = "sms_webhook"
#[gateways.sms_webhook]
#url = "https://sms.example.com/send"
#secret_file = "sms-secret"

# Web passwords that are kept elsewhere: ldap, sql, imap or file, asked in this order; see docs/sources.md. Without any,
# the store's own are all there are.
#[sources.ldap]
#url = "ldap://ldap.example.com"
#base = "ou=people,dc=example,dc=com"
#filter = "(mail={login})"

# Your own mail servers, for [mailbox] kind = "backend"; see docs/backend.md. As many as needed, each with domains or
# accounts of its own.
#[backends.dovecot]
#imap = "127.0.0.1:993"
#pop3 = "127.0.0.1:995"
#tls_name = "mail.example.com"
#user = "mailauth"
#password_file = "dovecot-master"
#[backends.postfix]
#smtp = "127.0.0.1:587"
#tls = "starttls"
#tls_name = "mail.example.com"
#login = "xclient"
"""

PAGE_HEAD = """\
# Configuration

`mailauth.toml`, written whole by `mailauth init`. It is looked for in this order: `--config FILE`, `$MAILAUTH_CONFIG`,
`./mailauth.toml`, `/etc/mailauth/mailauth.toml`. Unknown keys, wrong types and impossible combinations are errors that
name file, key and reason; `mailauth config check` looks for them. Units are in the names (`_s`, `_bytes`, `_kib`,
`_days`). Relative paths are relative to the file. Passwords never stand in it: a key that ends in `password_file` names
a file whose first line is the password, or a variable of the environment as `env:NAME`.

Where the store is a PostgreSQL on another machine, let `url` end in `?sslmode=verify-full&sslrootcert=FILE` (PEM: the
authorities that its certificate may be from): otherwise nobody verifies who answers, and it may be in clear.
"""

PAGE_PLUGGED = """\
## [factors.NAME], [gateways.NAME]

A table for each second factor that the portal offers, in the order in which they are shown, and for each way to send
text messages; `[factors.sms]` names one as `gateway = "NAME"`. Their keys are in `factors.md`. Without any
`[factors.NAME]` there are `totp`, `webauthn` and `recovery-codes`.

## [sources.NAME]

A table for each place where web passwords are kept that are not in the store, in the order in which they are asked.
NAME is `ldap`, `sql`, `imap` or `file`, or any other with `kind` naming one of these. Their keys are in `sources.md`.

## [backends.NAME]

A table for each mail server behind us, for `[mailbox] kind = "backend"`. NAME is free. Their keys are in `backend.md`.
"""


def render(overrides: Mapping[str, Mapping[str, object] | Sequence[Mapping[str, object]]]) -> str:
    """The file as TOML, every key with its comment.

    overrides: for each section, the keys that are not at their default, as TOML values; for `listen` and `bridge`, a
    list of such.
    A section that may be absent, and is not named here, is written as comments.
    """
    parts = [HEAD]
    for name, section in SECTIONS.items():
        given = overrides.get(name, {})
        if name in ABSENT and name not in overrides:
            parts.append(_table(name, section, {}, mark="#"))
        elif name in REPEATED:
            tables: Any = given
            parts += [_table(name, section, table, brief=number > 0) for number, table in enumerate(tables)]
        else:
            parts.append(_table(name, section, given))  # type: ignore[arg-type]
    return "\n".join([*parts, PLUGGED])


def _table(name: str, section: type, given: Mapping[str, object], *, brief: bool = False, mark: str = "") -> str:
    """One table. brief: without comments, and without what stands at its default; mark: stands before what counts."""
    lines = [mark + (f"[[{name}]]" if name in REPEATED else f"[{name}]")]
    if not brief:
        lines.insert(0, f"# {_told(section)}")
    for field in written(section):
        default = field.metadata["default"]
        value = given.get(field.name, default)
        if brief and value == default:
            continue
        if not brief:
            lines.append(f"# {field.metadata['doc']}")
        unset = value is None or value is dataclasses.MISSING
        lines.append(f'#{field.name} = ""' if unset else f"{mark}{field.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def written(section: type) -> list[dataclasses.Field[Any]]:
    """The fields of a section that stand in the file under their own names."""
    return [field for field in dataclasses.fields(section) if field.metadata]


def _toml(value: object) -> str:
    """A TOML value; a JSON text is one, but for DEL (TOML 1.0, Basic strings)."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _told(section: type) -> str:
    return " ".join((section.__doc__ or "").split())


def page() -> str:
    """docs/configuration.md."""
    parts = [PAGE_HEAD]
    for name, section in SECTIONS.items():
        rows = [
            f"| `{field.name}` | {field.metadata['kind'].told} | {_default(field)} | {field.metadata['doc']} |"
            for field in written(section)
        ]
        heading = f"## [[{name}]]" if name in REPEATED else f"## [{name}]"
        head = "| Key | Holds | Default | Meaning |\n| --- | --- | --- | --- |"
        parts.append("\n".join([heading, "", _told(section), "", head, *rows]) + "\n")
    parts.append(PAGE_PLUGGED)
    return "\n".join(parts)


def _default(field: dataclasses.Field[Any]) -> str:
    default = field.metadata["default"]
    if default is dataclasses.MISSING:
        return "required"
    return "none" if default is None else f"`{_toml(default)}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
