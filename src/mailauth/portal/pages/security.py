"""The security of an account: its second factors, and the ways to the web password and the signed-in browsers.

Rule: adding, renaming and removing a factor each begin here and are done after their proof.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from mailauth.accounts import bindings, enrolment, recovery, secondfactor
from mailauth.accounts.factorrows import FactorView
from mailauth.accounts.freshproof import Action
from mailauth.accounts.means import Means
from mailauth.accounts.overview import overview
from mailauth.accounts.portalsessions import PortalSession
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.factors import typed
from mailauth.factors.factor import Part
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.proof import PROOF
from mailauth.portal.visit import Visit

SECURITY = "/security"
SEVERAL = frozenset({"webauthn"})  # of these one can have more than one


@dataclass(frozen=True, slots=True)
class Security:
    """What the page shows. open: kinds that can be set up. helpers: of these, those that only help out. left: how many
    client passwords can still be made."""

    bound: list[FactorView]
    open: tuple[str, ...]
    helpers: frozenset[str]
    outside: frozenset[str]
    web_changed_at: float | None
    recovery: str | None
    left: int
    has_client_passwords: bool

    @property
    def alone(self) -> list[FactorView]:
        """Those with which there is a second factor."""
        return [view for view in self.bound if view.is_alone]


def security(means: Means, session: PortalSession, now: float) -> Security:
    """Raises SignedOut, NoSuch, StoreUnavailable."""
    seen = overview(means, session, now=now)
    bound = seen.factors
    has = {view.kind for view in bound}
    helpers = frozenset([kind for kind, factor in means.factors.items() if not factor.nature.alone])
    return Security(
        bound=bound,
        open=tuple([kind for kind in means.factors if kind not in has and (kind not in helpers or session.has_factor)]),
        helpers=helpers,
        outside=frozenset([kind for kind, factor in means.factors.items() if factor.nature.outside]),
        web_changed_at=seen.account.web_changed_at,
        recovery=recovery.shown(means, session),
        left=seen.left,
        has_client_passwords=bool(seen.listed),
    )


async def show(visit: Visit) -> Response:
    """The page."""
    has = await visit.ask(security, visit.me, visit.now)
    return visit.page("security", has=has, demanded=visit.me.demanded, several=SEVERAL)


async def ask_to_add(visit: Visit) -> Response:
    """Begin the proof for one more."""
    try:
        proof = await visit.ask(enrolment.ask, visit.me, visit.path("kind"), now=visit.now)
    except Refused:  # codes on paper without anything that they could help out for
        return visit.go(SECURITY, "security.unavailable")
    return visit.go(f"{PROOF}/{proof}")


async def show_rename(visit: Visit) -> Response:
    """The form; also once more, for one that was out of date."""
    view, part = await _part(visit)
    name = visit.form.text("name") if visit.stale else part.name
    return visit.page("factor_rename", 403 if visit.stale else 200, kind=view.kind, part=part, name=name)


async def ask_to_rename(visit: Visit) -> Response:
    """Begin the proof for another name."""
    kind, part = visit.path("kind"), visit.form.text("part")
    name = typed.name(visit.form.text("name"))
    proof = await visit.ask(bindings.ask_to_rename, visit.me, kind, part, name, now=visit.now)
    return visit.go(f"{PROOF}/{proof}")


async def rename(visit: Visit, proof: str, action: Action) -> Response:  # noqa: ARG001  its terms are with the proof
    """Give it that name."""
    await visit.ask(bindings.rename, visit.me, proof, now=visit.now)
    return visit.go(SECURITY, "security.renamed")


async def show_remove(visit: Visit) -> Response:
    """The question whether it is meant, and what follows from it."""
    view, part = await _part(visit)
    has = await visit.ask(security, visit.me, visit.now)
    is_last = view.is_alone and len(has.alone) == 1 and len(view.parts) <= 1
    return visit.page("factor_remove", kind=view.kind, part=part, is_last=is_last, demanded=visit.me.demanded)


async def ask_to_remove(visit: Visit) -> Response:
    """Begin the proof for it."""
    kind, part = visit.path("kind"), visit.form.text("part")
    try:
        proof = await visit.ask(bindings.ask_to_remove, visit.me, kind, part, now=visit.now)
    except Refused:  # the last one, and one is demanded
        return visit.go(f"{SECURITY}/{kind}/remove")
    return visit.go(f"{PROOF}/{proof}")


async def remove(visit: Visit, proof: str, action: Action) -> Response:  # noqa: ARG001  its terms are with the proof
    """Remove it."""
    try:
        await visit.ask(bindings.remove, visit.me, proof, now=visit.now)
    except Refused:
        return visit.go(SECURITY, "security.remove_demanded")
    return visit.go(SECURITY, "security.removed")


async def _part(visit: Visit) -> tuple[FactorView, Part]:
    """What the address names. Raises NoSuch."""
    kind, part = visit.path("kind"), visit.form.text("part") or visit.query("part")
    for view in await visit.ask(secondfactor.bound, visit.me, now=visit.now):
        for each in view.parts:
            if view.kind == kind and each.id == part:
                return view, each
    raise NoSuch("no such factor")


PAGES = (
    Page(SECURITY, Entry.MEMBER, show),
    Page(SECURITY + "/{kind}/add", Entry.MEMBER, post=ask_to_add),
    Page(SECURITY + "/{kind}/rename", Entry.MEMBER, show_rename, ask_to_rename, again=show_rename),
    Page(SECURITY + "/{kind}/remove", Entry.MEMBER, show_remove, ask_to_remove),
)
