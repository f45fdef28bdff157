"""The client passwords of an account: the list, the switch beside it, renaming and deleting.

Rule: nothing can be edited but the name. Deleting says how many connections it has closed.
"""

from __future__ import annotations

from starlette.responses import Response

from mailauth.accounts import clientpasswords
from mailauth.accounts.advice import Advice, Need
from mailauth.accounts.overview import overview
from mailauth.accounts.refusals import NoSuch, Refused
from mailauth.accounts.terms import MAX_LABEL_CHARACTERS, label_from
from mailauth.accounts.views import AppPasswordView
from mailauth.portal.guards import Entry, Page
from mailauth.portal.pages.closing import went
from mailauth.portal.visit import Visit
from mailauth.store.changes import Effect

PASSWORDS = "/passwords"
LOCKS = {
    "enforced by site": "passwords.locked_site",
    "enforced by domain": "passwords.locked_domain",
    "enforced by account": "passwords.locked_account",
}


def lock_text(locked_by: str) -> str:
    """The key of the text that says why the mode cannot be switched off; "" if it can."""
    return LOCKS.get(locked_by, "passwords.locked_second") if locked_by else ""


def advice_texts(visit: Visit, advice: list[Advice]) -> list[dict[str, object]]:
    """As sentences, each with the time at which it was seen last."""
    return [
        {
            "text": visit.text(
                f"advice.{one.need}",
                client=one.client or visit.text("common.unknown_program"),
                service=visit.text(f"service.{one.service}"),
                peer=one.network or visit.text("common.no_address"),
                label=one.label,
            ),
            "last_at": one.last_at,
        }
        for one in advice
    ]


def by_web_password(advice: list[Advice]) -> list[Advice]:
    """Of these, the programs that stop working once client passwords alone open mail."""
    return [one for one in advice if one.need in {Need.USES_WEB, Need.WOULD_BREAK}]


async def show(visit: Visit) -> Response:
    """The list."""
    has = await visit.ask(overview, visit.me, now=visit.now)
    account = has.account
    return visit.page(
        "passwords",
        account=account,
        mode_on=visit.me.client_passwords_only,
        locked=lock_text(visit.me.locked_by),
        mode_from=has.mode_from,
        listed=has.listed,
        left=has.left,
        most=account.most_app_passwords,
        open_now=await visit.house.connections.open_now(visit.me.account_id, visit.me.login),
        advice=advice_texts(visit, has.advice),
    )


async def _one(visit: Visit) -> AppPasswordView | None:
    """The app password that the address names, if the account has it."""
    row_id = visit.number("id")
    has = await visit.ask(clientpasswords.listed, visit.me, now=visit.now)
    return next((one for one in has.listed if one.id == row_id), None)


def _gone(visit: Visit) -> Response:
    return visit.go(PASSWORDS, "passwords.gone")


# ---- renaming


async def show_rename(visit: Visit) -> Response:
    """The form, also once more for one that was out of date."""
    one = await _one(visit)
    if one is None:
        return _gone(visit)
    typed = visit.form.text("label") if visit.stale else one.label
    status = 403 if visit.stale else 200
    return visit.page("password_rename", status, one=one, typed=typed, error="", stale=visit.stale)


async def rename(visit: Visit) -> Response:
    """Give it another name."""
    one, typed = await _one(visit), visit.form.text("label")
    if one is None:
        return _gone(visit)
    error = label_problem(visit)
    if error:
        return visit.page("password_rename", 422, one=one, typed=typed, error=error, stale=False)
    try:
        await visit.ask(clientpasswords.rename, visit.me, one.id, typed, now=visit.now)
    except NoSuch:
        return _gone(visit)
    return visit.go(PASSWORDS, "passwords.renamed", label=typed)


def label_problem(visit: Visit) -> str:
    """What is wrong with the name in this form, for people; "": nothing."""
    typed = visit.form.text("label")
    if not typed:
        return visit.text("new.label_missing")
    if len(typed) > MAX_LABEL_CHARACTERS:
        return visit.text("new.label_long", most=MAX_LABEL_CHARACTERS)
    try:
        label_from(visit.form.raw("label"))
    except Refused:
        return visit.text("new.label_bad")
    return ""


# ---- deleting


async def show_delete(visit: Visit) -> Response:
    """The question whether it is meant."""
    one = await _one(visit)
    if one is None:
        return _gone(visit)
    open_now = await visit.house.connections.open_now(visit.me.account_id, visit.me.login) or {}
    return visit.page("password_delete", one=one, open_now=open_now.get(one.id, 0))


async def delete(visit: Visit) -> Response:
    """Delete it; nobody gets in with it any more when this is answered."""
    effect = Effect()
    try:
        (one,) = await visit.ask(clientpasswords.delete, visit.me, [visit.number("id")], now=visit.now, effect=effect)
    except NoSuch:
        return _gone(visit)
    return went(visit, PASSWORDS, effect, "passwords.deleted", label=one.label)


async def show_delete_all(visit: Visit) -> Response:
    """The same for all of them."""
    has = await visit.ask(clientpasswords.listed, visit.me, now=visit.now)
    return visit.page("passwords_delete_all", listed=has.listed) if has.listed else _gone(visit)


async def delete_all(visit: Visit) -> Response:
    """Delete all of them."""
    effect = Effect()
    revoked = await visit.ask(clientpasswords.delete, visit.me, None, now=visit.now, effect=effect)
    return went(visit, PASSWORDS, effect, "passwords.deleted_all", count=len(revoked))


async def confirm(visit: Visit) -> Response:
    """Let one that was paused open mail again."""
    one = await _one(visit)
    if one is None:
        return _gone(visit)
    try:
        await visit.ask(clientpasswords.confirm, visit.me, [one.id], now=visit.now)
    except NoSuch:
        return _gone(visit)
    return visit.go(PASSWORDS, "passwords.confirmed", label=one.label)


PAGES = (
    Page(PASSWORDS, Entry.MEMBER, show),
    Page(PASSWORDS + "/{id:int}/rename", Entry.MEMBER, show_rename, rename, again=show_rename),
    Page(PASSWORDS + "/{id:int}/delete", Entry.MEMBER, show_delete, delete),
    Page(PASSWORDS + "/{id:int}/confirm", Entry.MEMBER, post=confirm),
    Page(PASSWORDS + "/delete-all", Entry.MEMBER, show_delete_all, delete_all),
)
