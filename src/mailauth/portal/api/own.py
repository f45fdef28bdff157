"""What a program does for the owner of an account: showing, ending, deleting.

Rule: nothing here opens anything, and nothing is marked as read. Whose account it is follows from the token, or, of a
token that serves many, from the name in the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mailauth.accounts import onbehalf
from mailauth.accounts.advice import Advice
from mailauth.accounts.apppasswords import Revoked
from mailauth.accounts.factorrows import FactorView
from mailauth.accounts.notices import NoticeView
from mailauth.accounts.onbehalf import Browser, Event, Owner
from mailauth.accounts.sessions import SessionView
from mailauth.accounts.terms import label_from
from mailauth.accounts.tokens import TokenView
from mailauth.accounts.views import AccountView, AppPasswordView
from mailauth.portal.api.keys import LIMIT, MOST_ROWS, Instant, key_of, next_of
from mailauth.portal.api.problem import Errors
from mailauth.portal.api.shapes import ID, LOGIN, Field, Flag, Text, Whole
from mailauth.portal.api.table import OWN_READ, OWN_REVOKE, Access, Answer, Call, Ended, Handler, Operation, ended
from mailauth.store.changes import Effect

ACCOUNT = Field(
    "account", LOGIN, "Whose. Only a token that serves many accounts needs it.", example="alice@example.com"
)
LABEL = Text(most=100, check=label_from)
APP_PASSWORD = (Field("id", ID, "Of the app password.", example=7),)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an account stands. left: so many more app passwords can be made."""

    account: AccountView
    left: int
    factors: tuple[FactorView, ...]
    advice: tuple[Advice, ...]


@dataclass(frozen=True, slots=True)
class AppPasswords:
    """The live app passwords, oldest first. most: so many there may be."""

    app_passwords: tuple[AppPasswordView, ...]
    most: int


@dataclass(frozen=True, slots=True)
class Deleted(Ended):
    """What was deleted, and what came of it."""

    deleted: tuple[Revoked, ...]


@dataclass(frozen=True, slots=True)
class Connections:
    """Who reads and sends mail now. silent: processes that did not answer, and may have more."""

    connections: tuple[SessionView, ...]
    silent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Browsers:
    """Where somebody is signed in to the portal, the latest used first."""

    browsers: tuple[Browser, ...]


@dataclass(frozen=True, slots=True)
class SignedOut:
    """How many browsers were signed out."""

    signed_out: int


@dataclass(frozen=True, slots=True)
class Events:
    """What happened, the latest first."""

    events: tuple[Event, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Notices:
    """What the owner is told of changes, the latest first."""

    notices: tuple[NoticeView, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ApiTokens:
    """The live API tokens, oldest first."""

    api_tokens: tuple[TokenView, ...]


def owner(call: Call, given: Mapping[str, Any] | None = None) -> Owner:
    """Whom it is about. given: where the name is; the query, if it is not said. Raises Problem, NoSuch."""
    login = (call.query if given is None else given).get(ACCOUNT.name)
    if login is None and call.caller.account_id is None:
        errors = Errors("query" if given is None else "body")
        errors.add(ACCOUNT.name, "is missing: this token serves many accounts")
        errors.end()
    return onbehalf.owner(call.means, call.caller, login)


def show(call: Call) -> Answer:
    """The account."""
    has = onbehalf.standing(call.means, owner(call), now=call.now)
    return Answer(Standing(has.account, has.left, tuple(has.factors), tuple(has.advice)))


def app_passwords(call: Call) -> Answer:
    """Its app passwords."""
    has = onbehalf.standing(call.means, owner(call), now=call.now)
    return Answer(AppPasswords(has.listed, has.account.most_app_passwords))


def rename(call: Call) -> Answer:
    """Call one otherwise."""
    view = onbehalf.rename(call.means, owner(call), call.path["id"], call.body["label"], now=call.now)
    return Answer(view)


def delete(call: Call) -> Answer:
    """Delete one, or all."""
    effect, ids = Effect(), [call.path["id"]] if call.path else None
    deleted = onbehalf.delete(call.means, owner(call), ids, now=call.now, effect=effect)
    return Answer(Deleted(**ended(effect), deleted=tuple(deleted)))


def connections(call: Call) -> Answer:
    """Who reads and sends mail now."""
    found, silent = onbehalf.connections(call.means, owner(call), now=call.now)
    return Answer(Connections(tuple(found), tuple(silent)))


def close_connections(call: Call) -> Answer:
    """End that."""
    return Answer(Ended(**ended(onbehalf.close_connections(call.means, owner(call), now=call.now))))


def browsers(call: Call) -> Answer:
    """Where somebody is signed in."""
    return Answer(Browsers(tuple(onbehalf.browsers(call.means, owner(call), now=call.now))))


def sign_out(call: Call) -> Answer:
    """End one session, or all."""
    return Answer(SignedOut(onbehalf.sign_out(call.means, owner(call), call.path.get("id"), now=call.now)))


def activity(call: Call) -> Answer:
    """What happened."""
    found = onbehalf.history(
        call.means,
        owner(call),
        days=call.house.activity_days,
        before=call.query.get("next"),
        limit=call.query.get("limit", MOST_ROWS),
        now=call.now,
    )
    return Answer(Events(found.events, key_of(*found.following) if found.following else None))


def notices(call: Call) -> Answer:
    """What was changed."""
    limit = call.query.get("limit", MOST_ROWS)
    before = call.query.get("next", (None,))[0]
    unseen = call.query.get("unseen", False)
    found = onbehalf.notices(call.means, owner(call), unseen=unseen, before_id=before, limit=limit + 1)
    following = key_of(found[limit - 1].id) if len(found) > limit else None
    return Answer(Notices(tuple(found[:limit]), following))


def api_tokens(call: Call) -> Answer:
    """The API tokens."""
    return Answer(ApiTokens(tuple(onbehalf.api_tokens(call.means, owner(call)))))


def revoke_api_token(call: Call) -> Answer:
    """Revoke one."""
    onbehalf.revoke_api_token(call.means, owner(call), call.path["id"], now=call.now)
    return Answer()


def _own(address: str, name: str, summary: str, handler: Handler, **more: Any) -> Operation:
    method, path = address.split()
    access: Access = OWN_READ if method == "GET" else OWN_REVOKE
    query = (ACCOUNT, *more.pop("query", ()))
    return Operation(method, f"/own{path}", name, summary, access, handler, query=query, **more)


SESSION = (Field("id", Text(least=64, most=64, pattern="[0-9a-f]{64}"), "Of the session.", example="0" * 64),)
TOKEN = (Field("id", ID, "Of the token.", example=3),)
RENAMED = (Field("label", LABEL, "What it is called from now on.", required=True, example="My iPhone"),)
UNSEEN = Field("unseen", Flag(), "Only those that the owner has not acknowledged.")

OPERATIONS = (
    _own("GET /account", "show-own-account", "How the account stands", show, answers=Standing),
    _own("GET /app-passwords", "list-own-app-passwords", "Its app passwords", app_passwords, answers=AppPasswords),
    _own(
        "PATCH /app-passwords/{id}",
        "rename-own-app-password",
        "Call an app password otherwise",
        rename,
        answers=AppPasswordView,
        params=APP_PASSWORD,
        body=RENAMED,
    ),
    _own(
        "DELETE /app-passwords/{id}",
        "delete-own-app-password",
        "Delete an app password, and end what is open by it",
        delete,
        answers=Deleted,
        params=APP_PASSWORD,
    ),
    _own("DELETE /app-passwords", "delete-own-app-passwords", "Delete all app passwords", delete, answers=Deleted),
    _own("GET /connections", "list-own-connections", "Who reads and sends mail now", connections, answers=Connections),
    _own("DELETE /connections", "close-own-connections", "End all mail connections", close_connections, answers=Ended),
    _own("GET /browsers", "list-own-browsers", "Where it is signed in to the portal", browsers, answers=Browsers),
    _own(
        "DELETE /browsers/{id}",
        "end-own-browser",
        "Sign one browser out of the portal",
        sign_out,
        answers=SignedOut,
        params=SESSION,
    ),
    _own("DELETE /browsers", "end-own-browsers", "Sign all browsers out of the portal", sign_out, answers=SignedOut),
    _own(
        "GET /activity",
        "list-own-activity",
        "What happened to the account",
        activity,
        answers=Events,
        query=(LIMIT, next_of(Instant(), Whole())),
    ),
    _own(
        "GET /notices",
        "list-own-notices",
        "What the owner is told of changes",
        notices,
        answers=Notices,
        query=(LIMIT, next_of(ID), UNSEEN),
    ),
    _own("GET /api-tokens", "list-own-api-tokens", "Its API tokens", api_tokens, answers=ApiTokens),
    _own(
        "DELETE /api-tokens/{id}",
        "revoke-own-api-token",
        "Revoke an API token",
        revoke_api_token,
        status=204,
        params=TOKEN,
    ),
)
