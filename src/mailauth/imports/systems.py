"""PostfixAdmin, mailcow and Mailu: which of their rows is which account, and what of them cannot be had here.

Source: the schemas of PostfixAdmin (public/upgrade.php), mailcow (data/web/inc/init_db.inc.php) and Mailu
(core/admin/mailu/models.py). Rule: their app passwords are never carried over: they have no selector, and nothing made
from a password that somebody knows may be used to make one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from mailauth.imports.entry import Alias, CannotRead, Entry, Item, Items, LeftOut, Tables, Unread, is_on, services

Row = dict[str, "str | None"]

POSTFIXADMIN = ("mailbox", "alias", "alias_domain", "domain", "mailbox_app_password")
MAILCOW = ("mailbox", "alias", "alias_domain", "domain", "app_passwd", "tfa")
MAILU = ("user", "alias", "alternative", "domain", "token")
NO_SELECTOR = "made there, cannot be recognised here: make new ones"


def postfixadmin(tables: Tables) -> Items:
    """Raises CannotRead."""
    rows = _required(tables, "mailbox", "PostfixAdmin")
    closed = _closed_domains(tables, "domain")
    app_passwords = Counter([row.get("username") for row in tables("mailbox_app_password")])
    for row in rows:
        login = row.get("username") or ""
        left_out = _counted(app_passwords[login], "app passwords", NO_SELECTOR)
        left_out += _told(row.get("totp_secret"), "a second factor: enrol it anew at the portal")
        yield Entry(
            *(f"mailbox {login}", login, row.get("password") or ""),
            enabled=is_on(row.get("active")) and _domain(login) not in closed,
            services=services(imap=True, pop3=True, smtp=is_on(row.get("smtp_active"))),
            left_out=left_out,
        )
    yield from _aliases(tables, "address", "goto")


def mailcow(tables: Tables) -> Items:
    """Raises CannotRead."""
    rows = _required(tables, "mailbox", "mailcow")
    closed = _closed_domains(tables, "domain")
    app_passwords = Counter([row.get("mailbox") for row in tables("app_passwd")])
    factors = Counter([row.get("username") for row in tables("tfa") if is_on(row.get("active"))])
    for row in rows:
        login = row.get("username") or ""
        place = f"mailbox {login}"
        if row.get("kind"):
            yield LeftOut(place, f"a resource ({row['kind']}), and no account")
            continue
        outside = (row.get("authsource") or "mailcow") != "mailcow"
        left_out = _counted(app_passwords[login], "app passwords", NO_SELECTOR)
        left_out += _counted(factors[login], "second factors", "enrol them anew at the portal")
        left_out += _told(outside, f"a web password, which {row.get('authsource')} keeps: see docs/sources.md")
        switches = _switches(row.get("attributes"))
        if switches is None:
            yield Unread(place, "has attributes that cannot be read, so nobody knows which services are switched off")
            continue
        yield Entry(
            *(place, login, "" if outside else row.get("password") or ""),
            enabled=is_on(row.get("active")) and _domain(login) not in closed,
            client_logon=row.get("active") != "2",  # mail is taken, and nobody may log in
            services=services(**{name: is_on(switches.get(f"{name}_access")) for name in ("imap", "pop3", "smtp")}),
            left_out=left_out,
        )
    yield from _aliases(tables, "address", "goto")


def mailu(tables: Tables) -> Items:
    """Raises CannotRead."""
    rows = _required(tables, "user", "Mailu")
    tokens = Counter([row.get("user_email") for row in tables("token")])
    for row in rows:
        login = row.get("email") or "@".join((row.get("localpart") or "", row.get("domain_name") or ""))
        left_out = _counted(tokens[login], "authentication tokens", NO_SELECTOR)
        left_out += _told(is_on(row.get("global_admin"), default=False), "being an administrator: `account set --role`")
        yield Entry(
            *(f"user {login}", login, row.get("password") or ""),
            enabled=is_on(row.get("enabled")),
            services=services(imap=is_on(row.get("enable_imap")), pop3=is_on(row.get("enable_pop")), smtp=True),
            left_out=left_out,
        )
    yield from _aliases(tables, "email", "destination")
    for row in tables("alternative"):
        yield LeftOut(f"alternative {row.get('name')}", f"a second name of the whole domain {row.get('domain_name')}")


def _required(tables: Tables, name: str, system: str) -> Iterator[Row]:
    rows = list(tables(name))
    if not rows:
        raise CannotRead(f"there is no table `{name}` with rows in it: is this a database of {system}?")
    return iter(rows)


def _closed_domains(tables: Tables, name: str) -> set[str]:
    return {(row.get("domain") or "").lower() for row in tables(name) if not is_on(row.get("active"))}


def _domain(login: str) -> str:
    return login.rpartition("@")[2].lower()


def _counted(count: int, what: str, why: str) -> tuple[str, ...]:
    return (f"{count} {what}: {why}",) if count else ()


def _told(condition: object, what: str) -> tuple[str, ...]:
    return (what,) if condition else ()


def _switches(attributes: str | None) -> dict[str, str] | None:
    """None: they cannot be read."""
    try:
        read = json.loads(attributes or "null")
    except (ValueError, RecursionError):
        return None
    if read is None or read == []:  # PHP's spelling of an object without members
        return {}
    return {key: str(value) for key, value in read.items()} if isinstance(read, dict) else None


def _aliases(tables: Tables, address: str, goto: str) -> Iterator[Item]:
    """An address that delivers to one other is an alias here; what delivers to several, or to all, is not."""
    for row in tables("alias"):
        name, destinations = row.get(address) or "", [to.strip() for to in (row.get(goto) or "").split(",")]
        place = f"alias {name}"
        if [name.lower()] == [to.lower() for to in destinations]:
            continue  # the mailbox itself, as PostfixAdmin and mailcow write it
        if not is_on(row.get("active")):
            yield LeftOut(place, "is switched off there")
        elif len(destinations) != 1 or name.startswith("@") or is_on(row.get("wildcard"), default=False):
            yield LeftOut(place, "delivers to several addresses, or catches all: that is the mail server's to do")
        else:
            yield Alias(place, name, destinations[0])
    for row in tables("alias_domain"):
        yield LeftOut(
            f"alias domain {row.get('alias_domain')}", f"a second name of the whole domain {row.get('target_domain')}"
        )
