"""The certificate of [tls]: with its key, in its time, for the names that clients use; and those that doors show.

Source: RFC 5280 section 4.1.2.5, RFC 6125 section 6.4.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from mailauth.config import Settings
from mailauth.doctor.case import OURS, Case
from mailauth.doctor.finding import Check, Finding, not_checked, ok, problem, warning
from mailauth.doctor.hosts.host import Door, reachable
from mailauth.doctor.talk import NoTalk, opened
from mailauth.serving.tls import server_context

PATIENCE_S = 8.0
SOON = timedelta(days=14)
RENEW = "renew it, then have it read again: `kill -HUP` mailauth serve, reload the mail server"
HUP = "`kill -HUP` the process of mailauth serve (`systemctl reload mailauth`), so that it reads the files again"

# A certificate that OpenSSL takes need not be one: extensions are read only when they are asked for.
UNREADABLE = (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


def _examine(case: Case) -> Iterator[Finding]:
    standing = None
    if case.settings.tls is not None:
        file = case.settings.tls.certificate
        server_context(file, case.settings.tls.key)  # raises BadCertificate
        subject = f"certificate {file}"
        yield ok(subject, "its key belongs to it")
        standing = yield from _standing(subject, file, case.settings)
    if standing is not None:
        yield from _portal(case.settings, standing)
    for door in case.doors:
        if not (door.proxied or door.clear_meant):
            yield from _shown(door, standing)


def _standing(subject: str, file: Path, settings: Settings) -> Generator[Finding, None, x509.Certificate | None]:
    """The one in the file, judged; None: it cannot be read."""
    try:
        standing = x509.load_pem_x509_certificates(file.read_bytes())[0]
        found = [dated(subject, standing), _names(subject, standing, settings)]
    except UNREADABLE:
        yield _unreadable(subject)
        return None
    yield from found
    return standing


def _shown(door: Door, standing: x509.Certificate | None) -> Iterator[Finding]:
    """What this door shows; silent where it has no TLS or does not talk, which others tell."""
    try:
        with opened(door) as talk:
            if not talk.is_secure and talk.offer().starttls:
                talk.starttls()
            seen = talk.certificate
    except NoTalk:
        return
    if seen is None:
        return
    subject = f"certificate shown at {door}"
    try:
        yield _at(door, subject, x509.load_der_x509_certificate(seen), standing)
    except UNREADABLE:
        yield _unreadable(subject)


def _at(door: Door, subject: str, shown: x509.Certificate, standing: x509.Certificate | None) -> Finding:
    if door.owner == OURS and standing is not None:
        return _ours(subject, shown, standing)
    if door.named and _is_name(door.host) and not names(shown, door.host):
        return problem(
            subject, f"it is not for {door.host}: clients refuse it", f"have one made that names {door.host}"
        )
    return dated(subject, shown)


def _portal(settings: Settings, standing: x509.Certificate) -> Iterator[Finding]:
    """The same at the portal, if TLS is its own; silent where nobody listens."""
    portal = settings.portal
    if portal is None or not portal.own_tls:
        return
    place = (reachable(portal.address.host), portal.address.port)
    subject = f"certificate shown at the portal {portal.address}"
    try:
        shown = x509.load_pem_x509_certificate(ssl.get_server_certificate(place, timeout=PATIENCE_S).encode())
        yield _ours(subject, shown, standing)
    except OSError:
        return
    except UNREADABLE:
        yield _unreadable(subject)


def _unreadable(subject: str) -> Finding:
    return problem(
        subject,
        "it is not written as RFC 5280 wants it: some programs refuse it",
        "have it made anew, by another program",
    )


def _ours(subject: str, shown: x509.Certificate, standing: x509.Certificate) -> Finding:
    if shown != standing:
        return problem(subject, "it is not the one in the file: a process still uses an older one", HUP)
    return dated(subject, shown)


def dated(subject: str, certificate: x509.Certificate, now: datetime | None = None) -> Finding:
    """Whether it is in its time. now: aware, UTC; None: the present."""
    now = now or datetime.now(UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        return problem(
            subject, f"it does not hold before {begins:%Y-%m-%d}", "look at this machine's clock, or renew it"
        )
    if now > ends:
        return problem(subject, f"its time was over on {ends:%Y-%m-%d}: clients refuse it", RENEW)
    if now > ends - SOON:
        return warning(subject, f"its time is over on {ends:%Y-%m-%d}", RENEW)
    return ok(subject, f"it holds until {ends:%Y-%m-%d}")


def _names(subject: str, certificate: x509.Certificate, settings: Settings) -> Finding:
    wanted = sorted(_wanted(settings))
    if not wanted:
        return not_checked(
            subject, "the configuration does not say by which name clients come", "write it into [portal] imap_server"
        )
    missing = [name for name in wanted if not names(certificate, name)]
    if missing:
        told = ", ".join(missing)
        return problem(subject, f"it is not for {told}: clients refuse it", f"have one made that names {told}")
    return ok(subject, f"it is for {', '.join(wanted)}")


def _wanted(settings: Settings) -> set[str]:
    portal = settings.portal
    if portal is None:
        return set()
    told = {
        server.host for server in (portal.imap_server, portal.pop3_server, portal.smtp_server) if server is not None
    }
    if portal.own_tls or (settings.listen and not told):
        told.add(urlsplit(portal.public_url).hostname or "")
    return told - {""}


def _is_name(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return True
    return False


def names(certificate: x509.Certificate, name: str) -> bool:
    """Whether it is for this name or address."""
    try:
        told = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    if not _is_name(name):
        return ip_address(name) in told.get_values_for_type(x509.IPAddress)
    _, _, parent = name.lower().partition(".")
    covers = {name.lower(), f"*.{parent}"} if "." in parent else {name.lower()}
    return any(pattern.lower() in covers for pattern in told.get_values_for_type(x509.DNSName))


CHECK = Check(70, "certificates", _examine)
