"""A test login by every door: a right password lets in, a wrong one does not, nor does one that was revoked; and the
address that it comes from arrives.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.trials import LABEL
from mailauth.attempt import BRIDGE
from mailauth.doctor import trial
from mailauth.doctor.case import OURS, Case
from mailauth.doctor.finding import Check, Finding, not_checked, ok, problem, warning
from mailauth.doctor.sources import is_here
from mailauth.doctor.talk import Entry
from mailauth.doctor.trial import Trial
from mailauth.doctor.trying import Tried

NAMELESS = f"{BRIDGE}saslauthd"  # whose protocol has no place for an address
PERSONAL = frozenset({"disabled", "domain-disabled", "client-logon-off", "service-off"})  # verdict.Reason
HIDDEN = "every client counts as one source for the bounds on guessing, and networks of app passwords mean nothing"
CACHE = (
    "switch off what it remembers passwords in (Dovecot: auth_cache_size = 0; saslauthd: no -c), or give it doveadm_url"
)
UNASKED = "look into its log and that of mailauth: a socket out of reach, a wrong token, two different places?"
PROXY = {
    OURS: "proxy_from",
    "Postfix": "smtpd_upstream_proxy_protocol",
    "Dovecot": "haproxy = yes, login_trusted_networks",
    "Exim": "hosts_proxy",
    "nginx": "proxy_protocol, set_real_ip_from",
}


def _examine(case: Case) -> Iterator[Finding]:
    if not case.login:
        yield not_checked(
            "test logins", "no account was named", "--account ADDRESS has one tried, and leaves it as it is"
        )
        return
    try:
        seen = trial.run(case)
    except (NoSuch, Refused) as error:
        yield problem(f"test logins of {case.login}", str(error), "name an account of this site that may have one more")
        return
    except trial.NotCleaned as why:
        told = f"the store was lost on the way: {why}; the app password {LABEL!r} ends by itself in 15 minutes"
        yield problem(
            f"test logins of {case.login}", told, f"mailauth app-password revoke {case.login} --label {LABEL!r}"
        )
        return
    if not seen.places:
        yield not_checked("test logins", "no door is known", "name one: --host imap://HOST:PORT")
    for wrong, right in zip(seen.wrong, seen.right, strict=True):
        found = list(_found(seen, wrong, right))
        yield from found or [_well(right)]
    for name in seen.silent:
        yield problem("revoking", f"{name} did not answer", "look into its log, and start it anew")


def _well(right: Tried) -> Finding:
    told = "a right password lets in, a wrong one does not, nor does a revoked one"
    return ok(str(right.place.door), f"{told}; the address that it came from ({right.source}) arrives")


def _found(seen: Trial, wrong: Tried, right: Tried) -> Iterator[Finding]:
    """What is not as it should be."""
    door = str(right.place.door)
    if wrong.entry is Entry.IN:
        yield problem(
            door, "a wrong password lets in", "it asks something else than mailauth, too: look at its passdbs"
        )
    if right.answer is None:
        yield not_checked(door, right.why)
        return
    if right.entry is not Entry.IN:
        yield _kept_out(seen, right)
        return
    if wrong.answer is not None and wrong.entry is Entry.LATER:
        yield warning(door, f"a wrong password is answered by {wrong.answer.line!r}", "look into its log, and ours")
    yield from _address(seen, right)
    yield from _after(seen, right)


def _kept_out(seen: Trial, right: Tried) -> Finding:
    door, line = str(right.place.door), "" if right.answer is None else right.answer.line
    rows = [row for row in seen.from_source(right) if row.outcome != "accept"]
    told = f"a right password does not let in: it answers {line!r}"
    if not rows and right.entry is Entry.LATER:
        return problem(door, f"{told}; it could not ask mailauth", UNASKED)
    if not rows and not right.place.door.named and right.place.door.owner != OURS:
        return not_checked(
            door, f"{told}; mailauth was not asked", "if mailauth is to judge there, see docs/bridges.md"
        )
    if not rows:
        return problem(
            door, f"{told}; mailauth was not asked", "see docs/bridges.md, and the log of whoever listens there"
        )
    why = rows[-1].detail
    if why in PERSONAL:
        return not_checked(door, f"the account may not log in there ({why})", "name another with --account")
    return problem(
        door, f"{told}; mailauth judged: {rows[-1].outcome} ({why})", "`mailauth audit` and its log say more"
    )


def _address(seen: Trial, right: Tried) -> Iterator[Finding]:
    door = right.place.door
    if right.source in {"127.0.0.1", "::1"}:
        yield not_checked(str(door), "whether addresses arrive: it was tried from where a proxy would come from, too")
        return
    if any(row.peer == right.source for row in seen.accepted):
        return
    sources = {one.source for one in seen.right}
    others = sorted({row.peer for row in seen.accepted if row.service == door.service and row.peer not in sources})
    if not others:
        yield problem(
            str(door),
            "it lets in, and mailauth was not asked",
            "it asks something else, too, or remembers passwords: look at its passdbs and caches",
        )
        return
    told = f"a login from {right.source} arrives as from {', '.join(others)}: {HIDDEN}"
    if others == [NAMELESS]:
        yield warning(
            str(door), told, "its protocol names no address; where you can, take another bridge (docs/bridges.md)"
        )
    elif not is_here(door.host) and not ip_address(right.source).is_loopback:
        yield warning(
            str(door), f"{told}; or there is NAT on the way", "try it from a machine that has a public address"
        )
    else:
        known = f" ({PROXY[door.owner]})" if door.owner in PROXY else ""
        mend = f"have the proxy before it tell the client's address{known}; and look at `clients` of the [[bridge]]"
        yield problem(str(door), told, mend)


def _after(seen: Trial, right: Tried) -> Iterator[Finding]:
    door = str(right.place.door)
    after = next((one for one in seen.revoked if one.place == right.place), None)
    if after is None or after.answer is None:
        yield not_checked(door, f"a revoked password: {'' if after is None else after.why}")
    elif after.entry is Entry.IN:
        yield problem(door, "a revoked password still lets in: it remembers passwords by itself", CACHE)
    elif after.entry is Entry.LATER:
        yield warning(door, f"a revoked password is answered by {after.answer.line!r}", "look into its log, and ours")


CHECK = Check(100, "test logins", _examine)
