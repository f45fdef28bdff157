"""Generating a client password: its terms, and, after the proof, its name, and the one page that shows it.

Rule: the password is in one answer and nowhere else: no address, no cookie, no second look.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from markupsafe import Markup
from starlette.responses import Response

from mailauth.accounts import clientpasswords
from mailauth.accounts.freshproof import Action
from mailauth.accounts.overview import overview
from mailauth.accounts.refusals import Refused
from mailauth.accounts.terms import MAX_NETWORKS, networks_from
from mailauth.attempt import Service
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.passwords import PASSWORDS, advice_texts, by_web_password, label_problem
from mailauth.portal.pages.proof import PROOF
from mailauth.portal.visit import Visit

SERVICES = tuple([str(service) for service in Service])
NEW = PASSWORDS + "/new"
CONFUSABLE = frozenset("0o1il")


@dataclass(frozen=True, slots=True)
class Typed:
    """The form as it was filled in."""

    services: tuple[str, ...] = SERVICES
    expires: str = ""
    networks: str = ""

    @property
    def changed(self) -> bool:
        """Whether there is anything under "more"."""
        return self.services != SERVICES or bool(self.expires or self.networks)


@dataclass(slots=True)
class Errors:
    """What is wrong with it, field by field; "": nothing."""

    services: str = ""
    expires: str = ""
    networks: str = ""

    def __bool__(self) -> bool:
        return bool(self.services or self.expires or self.networks)


@dataclass(frozen=True, slots=True)
class Terms:
    """What was asked for, understood. expires_at: epoch seconds, None: never."""

    services: tuple[str, ...]
    networks: tuple[str, ...]
    expires_at: float | None
    errors: Errors = field(default_factory=Errors)


async def show(visit: Visit) -> Response:
    """The form; also once more, for one that was out of date."""
    return await _form(visit, typed(visit) if visit.stale else Typed(), Errors(), 403 if visit.stale else 200)


async def ask(visit: Visit) -> Response:
    """Begin the proof for it."""
    filled = typed(visit)
    terms = understood(visit, filled)
    if terms.errors:
        return await _form(visit, filled, terms.errors, 422)
    try:
        proof = await visit.ask(
            clientpasswords.ask_to_generate,
            visit.me,
            services=terms.services,
            networks=terms.networks,
            expires_at=terms.expires_at,
            now=visit.now,
        )
    except Refused:  # at the maximum; everything else has been looked at
        return await _form(visit, filled, Errors(), 409)
    return visit.go(f"{PROOF}/{proof}")


async def perform(visit: Visit, proof: str, action: Action) -> Response:
    """Make it and show it, once it has a name: a program may have given one, else its owner does now."""
    label = str(action.params.get("label") or "")
    if not label and not visit.form.has("label"):
        return visit.go(f"{PROOF}/{proof}")  # where `ask_name` is
    if not label and (error := label_problem(visit)):
        return _name_page(visit, proof, 422, error=error)
    label = label or visit.form.text("label")
    try:
        made = await visit.ask(clientpasswords.generate, visit.me, proof, label=label, now=visit.now)
    except Refused:
        return await _form(visit, Typed(), Errors(), 409)
    servers = [server for server in visit.house.servers if server.service in action.params["services"]]
    return visit.page(
        "password_once",
        leaves_nothing=True,
        minted=made.minted,
        turned_on=made.turned_on,
        servers=servers,
        plain=CONFUSABLE.isdisjoint(visit.means.rules.alphabet),
    )


def ask_name(visit: Visit, proof: str, action: Action, status: int, problem: str) -> Response | None:
    """The page that asks for the name; None: it has one. problem: what else is to be told."""
    return None if action.params.get("label") else _name_page(visit, proof, status, problem=problem)


def _name_page(visit: Visit, proof: str, status: int, *, error: str = "", problem: str = "") -> Response:
    typed = visit.form.text("label")
    return visit.page("password_name", status, address=f"{PROOF}/{proof}", typed=typed, error=error, problem=problem)


def typed(visit: Visit) -> Typed:
    """What is in the posted form."""
    form = visit.form
    chosen = tuple([service for service in SERVICES if service in form.every("services")])
    return Typed(chosen, form.text("expires"), form.raw("networks"))


def understood(visit: Visit, filled: Typed) -> Terms:
    """What it means, and what is wrong with it."""
    errors = Errors()
    if not filled.services:
        errors.services = visit.text("new.services_missing")
    expires_at, errors.expires = expiry(visit, filled.expires)
    networks = visit.form.lines("networks")
    errors.networks = networks_problem(visit, networks)
    return Terms(filled.services, networks, expires_at, errors)


def networks_problem(visit: Visit, networks: tuple[str, ...]) -> Markup | str:
    """What is wrong with these, for people; "": nothing."""
    if len(networks) > MAX_NETWORKS:
        return visit.text("new.networks_many", most=MAX_NETWORKS)
    for network in networks:
        try:
            networks_from([network])
        except Refused:
            return visit.text("new.networks_bad", network=network[:60])
    return ""


def expiry(visit: Visit, day: str) -> tuple[float | None, Markup | str]:
    """When what has this day as its last is over, None: never; and what is wrong with the day, "": nothing."""
    ends_at = end_of_day(visit, day) if day else None
    is_bad = bool(day) and (ends_at is None or ends_at <= visit.now)
    return ends_at, visit.text("new.expires_bad") if is_bad else ""


def end_of_day(visit: Visit, day: str) -> float | None:
    """When this day (ISO 8601) ends in the zone that the pages have; None: it is no day."""
    try:
        after = date.fromisoformat(day) + timedelta(days=1)
        return datetime(after.year, after.month, after.day, tzinfo=visit.house.rendering.zone).timestamp()
    except (ValueError, OverflowError):
        return None


async def _form(visit: Visit, filled: Typed, errors: Errors, status: int = 200) -> Response:
    has = await visit.ask(overview, visit.me, now=visit.now)
    return visit.page(
        "password_new",
        status,
        full=has.left == 0,
        most=has.account.most_app_passwords,
        advice=advice_texts(visit, by_web_password(has.advice)),
        mode_on=visit.me.client_passwords_only,
        typed=filled,
        errors=errors,
        services=SERVICES,
        on=has.account.services,
        stale=visit.stale,
    )


PAGES = (Page(NEW, Entry.MEMBER, show, ask, again=show),)
