"""One [backends.NAME]: a mail server behind us, whose it is, and how somebody is logged in there.

Rule: the most exact claim wins: the account, then its domain, then whoever claims neither. A login that the server
could read as more than a name is never said to it.
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from mailauth import names
from mailauth.attempt import Service
from mailauth.backends.exchange import Login, Script
from mailauth.backends.imap_login import imap_login
from mailauth.backends.pop3_login import pop3_login
from mailauth.backends.smtp_login import smtp_login
from mailauth.factors.section import BadSection, one_of, option, read

SPECIAL = "*%"  # what servers take for wildcards, variables and master logins
EVERYBODY = ""  # the claim of who names neither domains nor accounts


class NotServed(Exception):
    """This account has no back end for this service, or a login that must not be said to it. The text says which."""


def _endpoint(value: str) -> str | None:
    if not value:
        return None
    host, _, port = value.rpartition(":")
    is_v6 = ":" in host
    if not host.strip("[]") or is_v6 != (host.startswith("[") and host.endswith("]")) or not host.isprintable():
        return 'must be "HOST:PORT", such as "127.0.0.1:993", "mail.example.com:993" or "[::1]:993"'
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return "has no port from 1 to 65535 behind its last colon"
    return None


def _domains(value: tuple[str, ...]) -> str | None:
    return _unfoldable(names.fold_domain, value)


def _accounts(value: tuple[str, ...]) -> str | None:
    return _unfoldable(names.fold, value)


def _unfoldable(fold: Any, value: tuple[str, ...]) -> str | None:
    for name in value:
        try:
            fold(name)
        except names.NotALogin as bad:
            return str(bad)
    return None


def _printable(value: str) -> str | None:
    return None if value.isprintable() else "must be one line of text"


@dataclass(frozen=True, slots=True)
class Backend:
    """The section. password: has `read()`, which is for the keeper alone."""

    imap: str = option("", doc='"HOST:PORT" of its IMAP; empty: it has none for us', check=_endpoint)
    pop3: str = option("", doc='"HOST:PORT" of its POP3', check=_endpoint)
    smtp: str = option("", doc='"HOST:PORT" of its submission', check=_endpoint)
    tls: str = option(
        "implicit",
        doc="implicit: from the first byte; starttls: asked for; off: in clear, for this machine and private networks",
        check=one_of("implicit", "starttls", "off"),
    )
    tls_name: str = option("", doc="the name that its certificate must have; empty: HOST", check=_printable)
    tls_ca: str = option("", doc="a PEM file of the authorities that its certificate may be from; empty: the system's")
    tls_verify: bool = option(True, doc="false: any certificate will do, so anybody between may read the password")
    login: str = option(
        "master",
        doc="master: user logs in for the account (SASL PLAIN with authzid); fixed: as user, whoever it is for; "
        "xclient: by Postfix's XCLIENT LOGIN, without a password",
        check=one_of("master", "fixed", "xclient"),
    )
    user: str = option("", doc="the master user, or the one user", check=_printable)
    password: Any = option(None, doc="its password; not env:NAME, which serve would see", secret=True)
    separator: str = option(
        "", doc='such as "*": the login is ACCOUNT*USER, for a server that takes no authzid', check=_printable
    )
    origin: str = option(
        "id",
        doc="how the client's address and port are told: id: IMAP ID, POP3 and SMTP XCLIENT; proxy1, proxy2: a PROXY "
        "header before everything; none: not at all",
        check=one_of("id", "proxy1", "proxy2", "none"),
    )
    domains: tuple[str, ...] = option((), doc="whose mail it has: these domains'", check=_domains)
    accounts: tuple[str, ...] = option((), doc="whose mail it has: these accounts'", check=_accounts)
    name: Any = option("", doc="", wired=True)

    def address(self, service: Service) -> tuple[str, int] | None:
        """Host and port; None: it has no such service for us."""
        host, _, port = str(getattr(self, service.value)).rpartition(":")
        return (host.strip("[]"), int(port)) if host else None

    def require_plain_name(self, account: str) -> None:
        """Raises NotServed when the server could read this login as more than a name."""
        if not account or not account.isprintable() or any(c in account for c in SPECIAL + self.separator):
            raise NotServed(
                f"back end {self.name}: this account's login holds a character that must not be said to it "
                f"({' '.join(SPECIAL + self.separator)}, or one that is not printed)"
            )

    def script(self, service: Service, login: Login) -> Script:
        """How somebody logs in at this service."""
        if service is Service.IMAP:
            return imap_login(login)
        if service is Service.POP3:
            return pop3_login(login)
        return smtp_login(login, by_xclient=self.login == "xclient")

    def login_as(self, account: str, password: str) -> Login:
        """What is shown there. password: of `user`. Raises NotServed."""
        self.require_plain_name(account)
        starttls = self.tls == "starttls"
        if self.login == "xclient":
            return Login(account, starttls=starttls)
        if self.login == "fixed":
            return Login(self.user, password, starttls=starttls)
        if self.separator:
            return Login(account + self.separator + self.user, password, starttls=starttls)
        return Login(self.user, password, account, starttls=starttls)


def build(name: str, section: Mapping[str, object]) -> Backend:
    """One section, checked. Raises BadSection."""
    backend: Backend = read(Backend, section)
    if not any(backend.address(service) for service in Service):
        raise BadSection("imap", 'is missing, and so are pop3 and smtp; name at least one as "HOST:PORT"')
    _require_credential(backend)
    if backend.login == "fixed" and (not backend.accounts or backend.domains):
        raise BadSection(
            "accounts", "must name who gets this one mailbox, and domains must not: with login = fixed there is but one"
        )
    folded = [names.fold_domain(domain) for domain in backend.domains], [names.fold(one) for one in backend.accounts]
    return replace(backend, name=name, domains=tuple(folded[0]), accounts=tuple(folded[1]))


def _require_credential(backend: Backend) -> None:
    if backend.login == "xclient":
        if backend.imap or backend.pop3:
            raise BadSection("login", "is xclient, which SMTP alone has; write imap and pop3 in a table of their own")
        if backend.user or backend.password is not None or backend.separator:
            raise BadSection("user", "is of no use where login is xclient; leave out user, password_file and separator")
        if backend.origin.startswith("proxy"):
            raise BadSection(
                "origin", "must be id or none where login is xclient: Postfix would take XCLIENT from us no more"
            )
        return
    if not backend.user:
        raise BadSection("user", "is missing: it is who logs in there for the accounts")
    if backend.password is None:
        raise BadSection("password_file", "is missing: it names the file with the password of user")
    if backend.separator and backend.login == "fixed":
        raise BadSection("separator", "is of no use where login is fixed; leave it out")


@dataclass(frozen=True, slots=True)
class Routes:
    """Whose account is where: by service and claim."""

    claims: Mapping[tuple[Service, str], Backend]

    def of(self, service: Service, account: str) -> Backend:
        """The back end of this account. Raises NotServed."""
        for claim in (account, f"@{account.rpartition('@')[2]}", EVERYBODY):
            backend = self.claims.get((service, claim))
            if backend is not None:
                backend.require_plain_name(account)
                return backend
        raise NotServed(f"no [backends.NAME] has {service} for this account; name its domain in one of them")

    def all(self, service: Service) -> tuple[Backend, ...]:
        """All that have this service."""
        found = {backend.name: backend for (has, _), backend in self.claims.items() if has is service}
        return tuple(found.values())


def routes(backends: Iterable[Backend]) -> Routes:
    """Raises BadSection, of the back end whose claim another has already; its key begins with the name."""
    claims: dict[tuple[Service, str], Backend] = {}
    for backend in backends:
        told = [(account, "accounts", account) for account in backend.accounts]
        told += [(f"@{domain}", "domains", domain) for domain in backend.domains]
        for claim, key, shown in told or [(EVERYBODY, "domains", "everybody else")]:
            for service in Service:
                if backend.address(service) is None:
                    continue
                other = claims.setdefault((service, claim), backend)
                if other is not backend:
                    raise BadSection(
                        f"{backend.name}] {key}",
                        f"{shown} is claimed by [backends.{other.name}] for {service} already; leave it to one of them",
                    )
    return Routes(claims)


def is_address(peer: str) -> bool:
    """Whether an address is one that can be told."""
    try:
        return bool(ip_address(peer)) and "%" not in peer
    except ValueError:
        return False
