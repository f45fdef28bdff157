"""What each door offers before TLS and after it: a password is not to be asked for on a line that others can read."""

from __future__ import annotations

from collections.abc import Iterator

from mailauth.doctor.case import OURS, Case, is_for_servers
from mailauth.doctor.finding import Check, Finding, not_checked, ok, problem, warning
from mailauth.doctor.hosts.host import Door
from mailauth.doctor.sources import source_for
from mailauth.doctor.talk import NoTalk, Offer, opened

AFTER_TLS = {
    OURS: 'write tls = "starttls" or "implicit" in its [[listen]]',
    "Postfix": "smtpd_tls_security_level=encrypt and smtpd_tls_auth_only=yes, in master.cf at this service",
    "Dovecot": "disable_plaintext_auth = yes and ssl = required (2.4: auth_allow_cleartext = no)",
    "Exim": "server_advertise_condition = ${if def:tls_in_cipher} in each authenticator",
    "Cyrus IMAP": "allowplaintext: no in imapd.conf",
    "nginx": "starttls only; in this server, or listen ... ssl",
}
STARTTLS = "give it a certificate and STARTTLS, or TLS from the first byte"
MX = "switch it on at the submission services (587, 465) alone: in master.cf, not in main.cf"


def _examine(case: Case) -> Iterator[Finding]:
    if not case.doors:
        yield not_checked("doors", "none is known", "name one: --host imap://HOST:PORT")
    for door in case.doors:
        if door.proxied:
            yield not_checked(str(door), "connections begin with a PROXY header", "name its proxy: --host")
            continue
        try:
            yield from _at(door)
        except NoTalk as why:
            yield _silent(door, str(why))


def _silent(door: Door, why: str) -> Finding:
    if door.named or door.owner == OURS:
        return problem(str(door), f"nobody can log in there: {why}", f"start {door.owner}, and look into its log")
    return not_checked(str(door), why, f"start {door.owner}, if it is to be used")


def _at(door: Door) -> Iterator[Finding]:
    with opened(door, source_for(door)) as talk:
        first = talk.offer()
        if talk.is_secure:
            yield _only_after(door, None, first)
            return
        if not first.starttls:
            yield _without_tls(door, first)
            return
        talk.starttls()
        yield _only_after(door, first, talk.offer())


def _without_tls(door: Door, offer: Offer) -> Finding:
    if not offer.lets_log_in:
        return _nothing(door)
    told = f"it has no TLS, and lets clients log in ({offer}): passwords go in clear"
    return _graded(door, told, STARTTLS)


def _only_after(door: Door, before: Offer | None, after: Offer) -> Finding:
    if before is not None and before.lets_log_in:
        told = f"it lets clients log in before TLS ({before}): passwords may go in clear"
        return _graded(door, told, AFTER_TLS.get(door.owner, "have it offer AUTH after STARTTLS only"))
    if not after.lets_log_in:
        return _nothing(door)
    if is_for_servers(door):
        return warning(str(door), f"port 25, where other servers deliver, offers {after}", MX)
    return ok(str(door), f"AUTH after TLS only: {after}")


def _nothing(door: Door) -> Finding:
    if is_for_servers(door):
        return ok(str(door), "no AUTH where other servers deliver")
    if not door.lets_in:
        return ok(str(door), "no AUTH, as it is configured")
    return problem(str(door), "it offers no way to log in", "look at its AUTH mechanisms: PLAIN and LOGIN; and its log")


def _graded(door: Door, told: str, mend: str) -> Finding:
    """On the loopback nobody reads along: it may be meant so, behind a proxy."""
    if door.named or door.everywhere:
        return problem(str(door), told, mend)
    return warning(str(door), f"{told}; only this machine gets there", mend)


CHECK = Check(85, "AUTH only after TLS", _examine)
