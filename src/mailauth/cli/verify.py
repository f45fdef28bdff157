"""`mailauth verify`: what a server would say to this password, and why.

Rule: the real Verifier judges, once, on the store and the sources of web passwords; nothing is changed, counted or
remembered, except that the audit log gets a row.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, assert_never

import click

from mailauth import config
from mailauth.attempt import Attempt, Credential, Service
from mailauth.cli import exits, options, passwords, rules, showing
from mailauth.cli.opening import actor, store_of
from mailauth.config import Settings
from mailauth.interfaces import HashUnavailable, Lane, StoreUnavailable
from mailauth.verdict import Accept, Cause, Defer, Outcome, Reason, Reject

if TYPE_CHECKING:
    from mailauth.events import LoginJudged
    from mailauth.keys import KeyRing
    from mailauth.store.engine import Store

EXIT = {Accept: exits.DONE, Reject: exits.REFUSED, Defer: exits.DEFERRED}
VERDICT = {Accept: "accept", Reject: "reject", Defer: "defer"}


class Hashes:
    """Computes one hash at a time where it stands, and never makes a new one: nothing may be rehashed here."""

    async def verify(self, record: str, secret: bytes, lane: Lane = Lane.ORDINARY) -> bool:  # noqa: ARG002
        """See verify.proofs.Hashes."""
        from mailauth.hashing import records  # noqa: PLC0415

        return records.verify(record, secret)

    async def hash(self, secret: bytes, lane: Lane = Lane.ORDINARY) -> str:  # noqa: ARG002
        """See verify.proofs.Hashes."""
        raise HashUnavailable("nothing is hashed anew here")

    def outdated(self, record: str) -> bool:  # noqa: ARG002
        """See verify.proofs.Hashes."""
        return False

    def is_legacy(self, record: str) -> bool:  # noqa: ARG002
        """See verify.proofs.Hashes."""
        return True  # nothing is worth remembering for one login

    def saturated(self, delay_s: float) -> bool:  # noqa: ARG002
        """See verify.proofs.Hashes."""
        return False


def _address(ctx: click.Context, param: click.Parameter, value: str) -> str:  # noqa: ARG001
    try:
        return str(ip_address(value)) if value else ""
    except ValueError:
        raise click.BadParameter(f"{value!r} is no IP address") from None


@click.command("verify", short_help="Say what a server would say to a password, and why.")
@click.argument("address")
@options.choice("--service", *Service, meaning="As which service.", required=True)
@click.option("--from", "peer", default="", callback=_address, metavar="IP", help="As from this address.")
@options.password_stdin
@options.config
@options.as_json
def command(
    *, address: str, service: str, peer: str, password_stdin: bool, config_file: str | None, as_json: bool
) -> None:
    """Judge a password as a server would: say the verdict, the rule that decided, and which app password it is.

    The password is asked for, or read from standard input. Nothing is changed or counted; the audit log gets a row.
    Without --from the attempt has no address, and is in no network. A source of web passwords is asked as a server
    would ask it; an account that a server would make is not made, and is unknown here. The exit code is 0 for accepted,
    77 for refused, 75 for "could not be judged".

    \b
    Example:
      mailauth verify alice@example.com --service imap --from 192.0.2.7
    """
    settings = config.load(config.find(config_file))
    store = store_of(settings)
    try:
        secret = passwords.shown(from_stdin=password_stdin)
        credential = Credential(address, secret.decode("utf-8", "surrogateescape"))
        event = _judged(settings, store, Attempt(credential, Service(service), peer, tls=True))
        told = _told(store, event)
        _note(store, event, told)
    finally:
        store.close()
    if as_json:
        showing.print_json(told)
    else:
        showing.print_fields(_brief(told))
    raise click.exceptions.Exit(EXIT[type(event.outcome)])


def _judged(settings: Settings, store: Store, attempt: Attempt) -> LoginJudged:
    """Raises KeyFileError, WrongKey, SchemaMismatch and StoreBehind: with those, no server would start."""
    import asyncio  # noqa: PLC0415

    from mailauth.events import LoginJudged  # noqa: PLC0415
    from mailauth.store.highwater import require_not_behind  # noqa: PLC0415
    from mailauth.store.keycheck import keys_of  # noqa: PLC0415
    from mailauth.store.upgrade import require_current  # noqa: PLC0415

    try:
        require_current(store)
        ring = keys_of(store, settings.key.file)
        require_not_behind(store)
    except StoreUnavailable as fault:
        return LoginJudged(attempt, Defer(Cause.STORE), None, None, 0.0, str(fault))
    return asyncio.run(_ask(settings, store, ring, attempt))


async def _ask(settings: Settings, store: Store, ring: KeyRing, attempt: Attempt) -> LoginJudged:
    from mailauth.events import Events  # noqa: PLC0415
    from mailauth.store.passdb import open_passdb  # noqa: PLC0415
    from mailauth.verify.verifier import Verifier  # noqa: PLC0415
    from mailauth.websources import open_sources  # noqa: PLC0415

    judged: list[LoginJudged] = []
    events = Events()
    events.subscribe(judged.append)
    passdb = open_passdb(store, ring.ids, deadline_s=settings.store.timeout_s, connections=1)
    outside = open_sources(settings, Hashes(), store, None)
    verifier = Verifier(
        *(passdb, ring, Hashes(), events), outside=outside, aliases_log_in=settings.policy.aliases_log_in
    )
    try:
        await verifier.authenticate(attempt)
    finally:
        await verifier.close()
        await passdb.close()
    return judged[0]


def _told(store: Store, event: LoginJudged) -> dict[str, Any]:
    outcome = event.outcome
    credential_id = _credential_id(outcome)
    return {
        "verdict": VERDICT[type(outcome)],
        "rule": rules.rule(outcome) + _why_only(store, event),
        "code": rules.code(outcome),
        "account": event.login if event.account_id is not None else None,
        "credential_id": credential_id,
        "label": None if credential_id is None else _label(store, event, credential_id),
        "detail": event.detail or None,
    }


def _why_only(store: Store, event: LoginJudged) -> str:
    """What switches the mode on, where that decided."""
    from mailauth.accounts.mailboxes import show_account  # noqa: PLC0415

    decided = isinstance(event.outcome, Reject) and event.outcome.reason is Reason.CLIENT_PASSWORDS_ONLY
    if not decided or event.login is None:
        return ""
    why = show_account(store, event.login).why
    return " (the account's mode is on)" if why == "stored" else f" ({why})"


def _label(store: Store, event: LoginJudged, credential_id: int) -> str | None:
    """None: a revoked one."""
    from mailauth.accounts.apppasswords import listed  # noqa: PLC0415

    live = listed(store, event.login) if event.login else []
    return next((view.label for view in live if view.id == credential_id), None)


def _credential_id(outcome: Outcome) -> int | None:
    match outcome:
        case Accept(principal):
            return principal.credential_id
        case Reject(_, credential_id):
            return credential_id
        case Defer():
            return None
        case _:
            assert_never(outcome)


def _brief(told: dict[str, Any]) -> dict[str, Any]:
    """For people: what there is to say, and no more."""
    brief = {"verdict": told["verdict"], "rule": f"{told['rule']} ({told['code']})"}
    if told["credential_id"] is not None:
        brief["app_password"] = f"{told['credential_id']} {told['label'] or '(revoked)'}"
    if told["detail"]:
        brief["detail"] = told["detail"]
    return brief


def _note(store: Store, event: LoginJudged, told: dict[str, Any]) -> None:
    from mailauth.accounts.history import note  # noqa: PLC0415

    try:
        note(
            store,
            "verify",
            actor=actor(),
            login=event.login,
            account_id=event.account_id,
            service=event.attempt.service,
            peer=event.attempt.peer,
            credential_id=told["credential_id"],
            label=told["label"],
            outcome=told["verdict"],
            detail=told["code"],
        )
    except StoreUnavailable:
        if not isinstance(event.outcome, Defer):  # a store that cannot be read has told so already
            raise
