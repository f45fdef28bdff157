"""Signing in at the web portal: from the web password to a session that is in, and the browsers that are known.

Rule: the session's token changes at each step, and the old one opens nothing any more. Nothing is written on behalf of
the account before the last step.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mailauth.accounts import bearer
from mailauth.accounts.finding import folded
from mailauth.accounts.means import Means
from mailauth.accounts.portalsessions import (
    MAX_AGENT_CHARACTERS,
    MOST_SESSIONS,
    STAGE_S,
    PortalSession,
    SignedOut,
    Stage,
    enrolment_ends_at,
)
from mailauth.accounts.refusals import Refused
from mailauth.accounts.unit import Unit, changing, looking
from mailauth.accounts.views import second_factor_since
from mailauth.interfaces import WebMatch
from mailauth.store.engine import Row, Store

MOST_DEVICES = 20  # of one account
EQUAL_S = 60.0  # refusals that are alike within so long are one row


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session at its next stage. token: for the session's cookie. device: for the browser's own, "" to leave it."""

    token: str = field(repr=False)
    stage: Stage
    device: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Browser:
    """Where the request comes from. device: the token of its cookie, "" for none."""

    peer: str
    agent: str
    device: str = field(default="", repr=False)


def begin(
    means: Means,
    match: WebMatch,
    *,
    peer: str,
    agent: str,
    device: str = "",
    replaces: str = "",
    language: str | None = None,
    now: float | None = None,
) -> SignedIn:
    """Open a session, now that the web password was right.

    device: the token of the browser's own cookie. replaces: the token of the session that the browser had, which ends.
    language: chosen on the page of the sign-in.
    Raises SignedOut: the account is gone, or its web password is another by now. StoreUnavailable, BadRecord.
    """
    browser, token = _Browser(peer, _agent(agent), device), bearer.new()
    with changing(means.store, f"portal:{match.login}", now, peer=peer, agent=browser.agent) as unit:
        unit.tx.row(unit.sql.LOCK_ACCOUNT, login=match.login)
        row = unit.tx.row(unit.sql.PORTAL_ACCOUNT, account_id=match.account_id)
        if row is None or not _may_begin(row, match):
            raise SignedOut
        unit.tx.write(unit.sql.END_PORTAL_SESSION, account_id=match.account_id, row_id=bearer.digest(replaces))
        stage = _first_stage(means, row, unit.now)
        _open(unit, means, row, browser, token=token, stage=stage, language=language)
        unit.tx.write(unit.sql.TRIM_PORTAL_SESSIONS, account_id=match.account_id, keep=MOST_SESSIONS)
        known = _noted(unit, row, browser, "web password") if stage is Stage.IN else ""
    return SignedIn(token, stage, known)


def completed(unit: Unit, means: Means, session: PortalSession, row: Row, *, factor: str, device: str = "") -> SignedIn:
    """Put a session that is in in the place of this one, within the change in which its factor was found right.

    row: the session's. device: the token of the browser's own cookie, "" for none.
    """
    token, browser = bearer.new(), _Browser(session.peer, session.agent, device)
    unit.tx.write(unit.sql.END_PORTAL_SESSION, account_id=session.account_id, row_id=session.id)
    _open(unit, means, row, browser, token=token, stage=Stage.IN, factor=factor, language=row["language"])
    return SignedIn(token, Stage.IN, _noted(unit, row, browser, f"web password and {factor}"))


def note_refused(store: Store, login: str, *, peer: str, agent: str, now: float | None = None) -> None:
    """Have an owner see that somebody showed something else than his web password; nothing, if it is no account's.

    login: as typed. Raises StoreUnavailable.
    """
    try:
        login = folded(login)
    except Refused:
        return
    with looking(store, now) as unit:
        row, at = unit.tx.row(unit.sql.ACCOUNT, login=login), unit.now
    if row is None:
        return
    detail = "wrong-password" if row["enabled"] else "disabled"
    with store.transaction() as tx:
        tx.write(
            store.sql.COUNT_REFUSED_SIGN_IN,
            fold=f"sign-in {row['id']} {int(at // EQUAL_S)} {peer} {detail}",
            at=at,
            actor="client",
            kind="sign-in",
            login=login,
            account_id=row["id"],
            service="portal",
            peer=peer,
            outcome="reject",
            detail=detail,
            client=_agent(agent),
        )


def _may_begin(row: Row, match: WebMatch) -> bool:
    if row["login"] != match.login or not row["enabled"] or not row["domain_enabled"]:
        return False
    return bool(row["web_changed_at"] == match.web_changed_at)


def _first_stage(means: Means, row: Row, now: float) -> Stage:
    if row["has_factor"]:  # also one that the site does not offer any more: then nobody gets in before it is reset
        return Stage.PASSWORD
    since = second_factor_since(row, now)
    if since is None:
        return Stage.IN
    return Stage.ENROL if now < enrolment_ends_at(means, row, since) else Stage.CODE


def _open(
    unit: Unit,
    means: Means,
    row: Row,
    browser: _Browser,
    *,
    token: str,
    stage: Stage,
    factor: str | None = None,
    language: str | None,
) -> None:
    lasts_s = STAGE_S.get(stage, means.rules.session_s)
    unit.tx.write(
        unit.sql.ADD_PORTAL_SESSION,
        id=bearer.digest(token),
        account_id=row["account_id"],
        stage=str(stage),
        factor=factor,
        created_at=unit.now,
        seen_at=unit.now,
        ends_at=unit.now + lasts_s,
        peer=browser.peer,
        agent=browser.agent,
        csrf=bearer.new(),
        language=language,
    )


def _noted(unit: Unit, row: Row, browser: _Browser, how: str) -> str:
    """Write down that somebody is in, and that his browser is known from now on; the token that it is known by."""
    account = {"id": row["account_id"], "login": row["login"]}
    whose = {"account_id": row["account_id"]}
    unit.record("sign-in", account, outcome="accept", detail=how, service="portal", client=browser.agent)
    known_by = bearer.digest(browser.device)
    is_known = unit.tx.row(unit.sql.DEVICE, row_id=known_by, **whose) is not None
    if not is_known and unit.tx.row(unit.sql.ANY_DEVICE, **whose) is not None:
        unit.record("new-device", account, detail=browser.agent, service="portal")
    is_ours = is_known or unit.tx.row(unit.sql.KNOWN_DEVICE, row_id=known_by) is not None
    token = browser.device if is_ours else bearer.new()  # never one that somebody else has put there
    unit.tx.write(unit.sql.SEE_DEVICE, id=bearer.digest(token), **whose, created_at=unit.now, seen_at=unit.now)
    unit.tx.write(unit.sql.TRIM_DEVICES, **whose, keep=MOST_DEVICES)
    return token


def _agent(text: str) -> str:
    return "".join([character for character in text if character.isprintable()])[:MAX_AGENT_CHARACTERS]
