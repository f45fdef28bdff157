"""All operations of the API, in the order in which they are described.

Rule: what is not here is not served.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from mailauth.accounts.changes import MOST_APP_PASSWORDS
from mailauth.accounts.mailboxes import Added
from mailauth.accounts.roles import Role, Verb
from mailauth.interfaces import PolicyLevel
from mailauth.portal.api import acting, administering, own, proposals
from mailauth.portal.api.administering import IN_PATH, NAME_IN_PATH
from mailauth.portal.api.answers import encoded
from mailauth.portal.api.openapi import document
from mailauth.portal.api.problem import KINDS, Kind, Problem
from mailauth.portal.api.shapes import DOMAIN, LOGIN, SUBJECT, Choice, Field, Flag, Many, Moment, OrNull, Text, Whole
from mailauth.portal.api.table import PUBLIC, Answer, Call, Ended, Handler, Operation, changes


def show_document(call: Call) -> Answer:
    """This list, for programs."""
    return Answer(_documented(call.house.origin))


@cache
def _documented(origin: str) -> bytes:
    return encoded(document(OPERATIONS, origin))


def show_problem(call: Call) -> Answer:
    """What the type of a problem means."""
    kind = KINDS.get(call.path["name"])
    if kind is None:
        raise Problem("not-found")
    return Answer(kind)


def _change(address: str, name: str, summary: str, verb: Verb, handler: Handler, **more: Any) -> Operation:
    method, path = address.split()
    known = {field.name: field for field in (*IN_NAMES, *more.pop("params", ()))}
    params = tuple([field for field in known.values() if f"{{{field.name}}}" in path])
    return Operation(method, path, name, summary, changes(verb), handler, params=params, **more)


ALIAS = Field("alias", LOGIN, "The alias.", example="robert@example.com")
IN_NAMES = (IN_PATH, NAME_IN_PATH, ALIAS, *own.APP_PASSWORD)
ADDRESS = Field("recovery_address", OrNull(LOGIN), "Where a reset link is mailed.", example="bob@example.org")
POLICY = (
    Field("policy", Choice(PolicyLevel), "Whether mail programs need app passwords.", example="observe"),
    Field("enforce_from", Moment(), "When what this change sets begins.", example="2099-01-01T00:00:00Z"),
    Field("two_factor", Flag(), "Whether a second factor is demanded.", example=True),
    Field("max_app_passwords", Whole(0, MOST_APP_PASSWORDS), "So many an account may have.", example=10),
)
SERVICES = tuple(
    [Field(name, Flag(), f"Whether {name.upper()} is on.", example=True) for name in ("imap", "pop3", "smtp")]
)
ENABLED = Field("enabled", Flag(), "Whether it is on at all.", example=True)
MODE = Field("mode", Flag(), "The switch: client passwords only.", example=True)
CLIENT_LOGON = Field("client_logon", Flag(), "Whether mail programs get in at all.", example=True)
ROLE = (
    Field("role", Choice(Role), "The role.", required=True, example="domain-admin"),
    Field("domains", Many(DOMAIN), "Of a domain administrator; nothing: the account's own.", example=["example.com"]),
)
TO_ADDRESS = (Field("address", OrNull(LOGIN), "null: none.", required=True, example="bob@example.org"),)
WITH_ACCOUNTS = Field("with_accounts", Flag(), "Whether its accounts go too.")
CLEARED = Field("subject", SUBJECT, "An account, an address or a network; nothing: all.", example="192.0.2.7")

NEW_ACCOUNT = (Field("login", LOGIN, "Its address.", required=True, example="bob@example.com"), ADDRESS)
NEW_ALIAS = (Field("alias", LOGIN, "The other address.", required=True, example="robert@example.com"),)
NEW_DOMAIN = (Field("name", DOMAIN, "Its name.", required=True, example="example.net"),)
ACCOUNT_CHANGE = (*POLICY, ENABLED, *SERVICES, MODE, CLIENT_LOGON)
DOMAIN_CHANGE = (*POLICY, ENABLED, *SERVICES)

ACTING = (
    _change(
        "POST /accounts",
        "add-account",
        "Add an account",
        Verb.ADD_ACCOUNT,
        acting.add_account,
        answers=Added,
        status=201,
        body=NEW_ACCOUNT,
    ),
    _change(
        "PATCH /accounts/{login}",
        "set-account",
        "Change an account",
        Verb.SET_ACCOUNT,
        acting.set_account,
        answers=acting.AccountChanged,
        body=ACCOUNT_CHANGE,
        some_of=True,
    ),
    _change(
        "DELETE /accounts/{login}",
        "remove-account",
        "Remove an account",
        Verb.REMOVE_ACCOUNT,
        acting.remove_account,
        answers=Ended,
    ),
    _change(
        "POST /accounts/{login}/erase",
        "erase-account",
        "Remove an account and forget its owner",
        Verb.ERASE_ACCOUNT,
        acting.erase_account,
        answers=acting.Erased,
    ),
    _change(
        "POST /accounts/{login}/export",
        "export-account",
        "Everything that is kept of an account",
        Verb.EXPORT_ACCOUNT,
        acting.export_account,
        answers=acting.Exported,
    ),
    _change(
        "PUT /accounts/{login}/role",
        "set-role",
        "Give an account a role",
        Verb.SET_ROLE,
        acting.set_role,
        status=204,
        body=ROLE,
    ),
    _change(
        "PUT /accounts/{login}/recovery-address",
        "set-recovery-address",
        "Write the recovery address",
        Verb.SET_RECOVERY_ADDRESS,
        acting.set_recovery_address,
        status=204,
        body=TO_ADDRESS,
    ),
    _change(
        "POST /accounts/{login}/password-reset",
        "reset-password",
        "Have the owner choose another web password",
        Verb.RESET_PASSWORD,
        acting.reset_password,
        answers=acting.PasswordReset,
    ),
    _change(
        "DELETE /accounts/{login}/factors",
        "reset-factors",
        "Forget all second factors",
        Verb.RESET_FACTORS,
        acting.reset_factors,
        answers=acting.FactorsReset,
    ),
    _change(
        "POST /accounts/{login}/enrolment-code",
        "make-enrolment-code",
        "A code to enrol a second factor with",
        Verb.ENROLMENT_CODE,
        acting.enrolment_code,
        answers=acting.EnrolmentCode,
    ),
    _change(
        "DELETE /accounts/{login}/app-passwords/{id}",
        "revoke-app-password",
        "Revoke an app password",
        Verb.REVOKE,
        acting.revoke,
        answers=own.Deleted,
    ),
    _change(
        "DELETE /accounts/{login}/app-passwords",
        "revoke-app-passwords",
        "Revoke all app passwords",
        Verb.REVOKE,
        acting.revoke,
        answers=own.Deleted,
    ),
    _change(
        "DELETE /accounts/{login}/api-tokens/{id}",
        "revoke-api-token",
        "Revoke an API token",
        Verb.REVOKE_TOKEN,
        acting.revoke_api_token,
        status=204,
        params=own.TOKEN,
    ),
    _change(
        "DELETE /accounts/{login}/connections",
        "close-connections",
        "End all mail connections",
        Verb.CLOSE_SESSIONS,
        acting.close_connections,
        answers=Ended,
    ),
    _change(
        "DELETE /accounts/{login}/browsers",
        "sign-out",
        "Sign all browsers out of the portal",
        Verb.SIGN_OUT,
        acting.sign_out,
        answers=own.SignedOut,
    ),
    _change(
        "POST /accounts/{login}/aliases",
        "add-alias",
        "Give an account another address",
        Verb.ADD_ALIAS,
        acting.add_alias,
        answers=acting.NewAlias,
        status=201,
        body=NEW_ALIAS,
    ),
    _change(
        "DELETE /aliases/{alias}",
        "remove-alias",
        "Take an alias away",
        Verb.REMOVE_ALIAS,
        acting.remove_alias,
        status=204,
    ),
    _change(
        "POST /domains",
        "add-domain",
        "Add a domain",
        Verb.ADD_DOMAIN,
        acting.add_domain,
        answers=acting.NewDomain,
        status=201,
        body=NEW_DOMAIN,
    ),
    _change(
        "PATCH /domains/{name}",
        "set-domain",
        "Change a domain",
        Verb.SET_DOMAIN,
        acting.set_domain,
        answers=acting.DomainChanged,
        body=DOMAIN_CHANGE,
        some_of=True,
    ),
    _change(
        "DELETE /domains/{name}",
        "remove-domain",
        "Remove a domain",
        Verb.REMOVE_DOMAIN,
        acting.remove_domain,
        answers=acting.DomainRemoved,
        query=(WITH_ACCOUNTS,),
    ),
    _change(
        "PATCH /site",
        "set-site",
        "Change the site",
        Verb.SET_SITE,
        acting.set_site,
        answers=acting.SiteChanged,
        body=POLICY,
        some_of=True,
    ),
    _change(
        "DELETE /throttle",
        "clear-throttle",
        "Forget what was counted of wrong passwords",
        Verb.CLEAR_THROTTLE,
        acting.clear_throttle,
        answers=acting.ThrottleCleared,
        query=(CLEARED,),
    ),
)
OPEN = (
    Operation("GET", "/openapi.json", "show-document", "This document", PUBLIC, show_document, answers=dict[str, Any]),
    Operation(
        "GET",
        "/problems/{name}",
        "show-problem",
        "What the type of a problem means",
        PUBLIC,
        show_problem,
        answers=Kind,
        params=(Field("name", Text(most=40, pattern="[a-z-]+"), "Of the kind.", example="conflict"),),
    ),
)
OPERATIONS: tuple[Operation, ...] = (
    *own.OPERATIONS,
    *proposals.OPERATIONS,
    *administering.OPERATIONS,
    *ACTING,
    *OPEN,
)
