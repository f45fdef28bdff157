"""One's own API tokens: what programs do for an account without its owner being there.

Rule: one more takes a fresh proof, and is shown once; none gives a proof itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import tokens
from mailauth.accounts.freshproof import Action
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.tokens import MOST_TOKENS, OWN, Scope, TokenView
from mailauth.portal.guards import Entry, Page
from mailauth.portal.language import DEFAULT
from mailauth.portal.pages.generate import expiry
from mailauth.portal.pages.passwords import label_problem
from mailauth.portal.pages.proof import PROOF
from mailauth.portal.pages.security import SECURITY
from mailauth.portal.visit import Visit

TOKENS = SECURITY + "/tokens"
SCOPES = {
    Scope.OWN_READ: "tokens.own_read",
    Scope.OWN_REVOKE: "tokens.own_revoke",
    Scope.OWN_ASK: "tokens.own_ask",
    Scope.ADMIN_READ: "tokens.admin_read",
    Scope.ADMIN_WRITE: "tokens.admin_write",
}
BETWEEN = {"en": Markup("; "), "zh": Markup("；")}


@dataclass(frozen=True, slots=True)
class Typed:
    """The form as it was filled in."""

    label: str = ""
    scopes: tuple[str, ...] = (str(Scope.OWN_READ),)
    expires: str = ""


@dataclass(slots=True)
class Errors:
    """What is wrong with it, field by field; "": nothing."""

    label: str = ""
    scopes: str = ""
    expires: str = ""

    def __bool__(self) -> bool:
        return bool(self.label or self.scopes or self.expires)


@dataclass(frozen=True, slots=True)
class Terms:
    """What was asked for, understood. expires_at: epoch seconds, None: never."""

    expires_at: float | None
    errors: Errors = field(default_factory=Errors)


async def show(visit: Visit) -> Response:
    """The list, and the form for one more; also once more, for one that was out of date."""
    return await _page(visit, _typed(visit) if visit.stale else Typed(), Errors(), 403 if visit.stale else 200)


async def ask(visit: Visit) -> Response:
    """Begin the proof for one more."""
    typed = _typed(visit)
    terms = _understood(visit, typed)
    if terms.errors:
        return await _page(visit, typed, terms.errors, 422)
    try:
        proof = await visit.ask(
            tokens.ask_to_add,
            visit.me,
            label=typed.label,
            scopes=typed.scopes,
            expires_at=terms.expires_at,
            now=visit.now,
        )
    except Refused:  # to administrate with, for somebody who does not
        return await _page(visit, typed, Errors(scopes=visit.text("tokens.scopes_missing")), 422)
    return visit.go(f"{PROOF}/{proof}")


async def perform(visit: Visit, proof: str, action: Action) -> Response:
    """Make it and show it."""
    try:
        issued = await visit.ask(tokens.add_own, visit.me, proof, now=visit.now)
    except Refused:  # too many by now, or it would be over already
        return await _page(visit, Typed(), Errors(), 409)
    return visit.page("token_once", leaves_nothing=True, issued=issued, label=action.params["label"])


async def revoke(visit: Visit) -> Response:
    """Revoke one."""
    try:
        gone = await visit.ask(tokens.revoke_own, visit.me, visit.number("id"), now=visit.now)
    except NoSuch:
        return visit.go(TOKENS, "tokens.gone")
    return visit.go(TOKENS, "tokens.revoked", label=gone.label)


def act_words(visit: Visit, action: Action) -> Markup:
    """What is about to be made: its name, and all that it may."""
    params = action.params
    return visit.text("tokens.words", label=params["label"], may=_may(visit, params["scopes"]))


def _may(visit: Visit, scopes: Collection[str]) -> Markup:
    """What these allow, in the order of the form."""
    between = BETWEEN.get(visit.language.code, BETWEEN[DEFAULT])
    return between.join([visit.text(word) for scope, word in SCOPES.items() if scope in scopes])


def _is_over(view: TokenView, now: float) -> bool:
    return view.expires_at is not None and view.expires_at <= now


def _typed(visit: Visit) -> Typed:
    form = visit.form
    chosen = tuple([str(scope) for scope in SCOPES if scope in form.every("scopes")])
    return Typed(form.text("label"), chosen, form.text("expires"))


def _understood(visit: Visit, typed: Typed) -> Terms:
    """What it means, and what is wrong with it."""
    errors = Errors()
    errors.label = label_problem(visit) if typed.label else visit.text("tokens.label_missing")
    if not typed.scopes:
        errors.scopes = visit.text("tokens.scopes_missing")
    expires_at, errors.expires = expiry(visit, typed.expires)
    return Terms(expires_at, errors)


async def _page(visit: Visit, typed: Typed, errors: Errors, status: int = 200) -> Response:
    listed = await visit.ask(tokens.own, visit.me, now=visit.now)
    return visit.page(
        "tokens",
        status,
        listed=[(view, _may(visit, view.scopes), _is_over(view, visit.now)) for view in listed],
        scopes={scope: SCOPES[scope] for scope in Scope if scope in OWN or visit.me.administers},
        full=len(listed) >= MOST_TOKENS,
        most=MOST_TOKENS,
        typed=typed,
        errors=errors,
        stale=visit.stale,
    )


PAGES = (
    Page(TOKENS, Entry.MEMBER, show, ask, again=show),
    Page(TOKENS + "/{id:int}/revoke", Entry.MEMBER, post=revoke),
)
