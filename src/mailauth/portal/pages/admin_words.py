"""An act of administration in words, whole: for the page of its proof and for what is said when it is done.

Rule: everything in the act that was asked for is in the sentence; values are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mailauth.accounts.freshproof import Action
from mailauth.accounts.roles import Verb
from mailauth.portal.visit import Visit

SENTENCES = {
    Verb.SET_ACCOUNT: "admin_act.set-account",
    Verb.SET_DOMAIN: "admin_act.set-domain",
    Verb.SET_SITE: "admin_act.set-site",
    Verb.ADD_ACCOUNT: "admin_act.add-account",
    Verb.REMOVE_ACCOUNT: "admin_act.remove-account",
    Verb.ERASE_ACCOUNT: "admin_act.erase-account",
    Verb.EXPORT_ACCOUNT: "admin_act.export-account",
    Verb.SET_ROLE: "admin_act.set-role",
    Verb.SET_RECOVERY_ADDRESS: "admin_act.set-recovery-address",
    Verb.RESET_PASSWORD: "admin_act.reset-password",
    Verb.RESET_FACTORS: "admin_act.reset-factors",
    Verb.ENROLMENT_CODE: "admin_act.enrolment-code",
    Verb.REVOKE: "admin_act.revoke",
    Verb.REVOKE_TOKEN: "admin_act.revoke-api-token",
    Verb.CLOSE_SESSIONS: "admin_act.close-sessions",
    Verb.SIGN_OUT: "admin_act.sign-out",
    Verb.ADD_ALIAS: "admin_act.add-alias",
    Verb.REMOVE_ALIAS: "admin_act.remove-alias",
    Verb.CLEAR_THROTTLE: "admin_act.clear-throttle",
    Verb.ADD_DOMAIN: "admin_act.add-domain",
    Verb.REMOVE_DOMAIN: "admin_act.remove-domain",
}
PARTS = {
    ("enabled", True): "admin_change.enabled_on",
    ("enabled", False): "admin_change.enabled_off",
    ("client_logon", True): "admin_change.client_logon_on",
    ("client_logon", False): "admin_change.client_logon_off",
    ("imap", True): "admin_change.imap_on",
    ("imap", False): "admin_change.imap_off",
    ("pop3", True): "admin_change.pop3_on",
    ("pop3", False): "admin_change.pop3_off",
    ("smtp", True): "admin_change.smtp_on",
    ("smtp", False): "admin_change.smtp_off",
    ("two_factor", True): "admin_change.two_factor_on",
    ("two_factor", False): "admin_change.two_factor_off",
}
ORDER = ("enabled", "client_logon", "imap", "pop3", "smtp", "policy", "two_factor", "enforce_from", "max_app_passwords")
COMMAS = {"en": Markup(", "), "zh": Markup("、")}
LOCKS = {
    "enforced by site": "admin_lock.enforced_site",
    "enforced by domain": "admin_lock.enforced_domain",
    "enforced by account": "admin_lock.enforced_account",
    "second factor demanded by site": "admin_lock.second_site",
    "second factor demanded by domain": "admin_lock.second_domain",
    "second factor demanded by account": "admin_lock.second_account",
}


def lock_text(visit: Visit, why: str) -> Markup:
    """What locks the mode of an account. why: of AccountView; "" when nothing does."""
    return visit.text(LOCKS[why]) if why in LOCKS else Markup()


def act_words(visit: Visit, action: Action) -> Markup:
    """What is about to be done."""
    params = action.params
    return words(visit, Verb(params["verb"]), str(params["name"]), params["change"])


def words(visit: Visit, verb: Verb, name: str, change: Mapping[str, Any]) -> Markup:
    """The same of its parts; see administration.ask."""
    match verb:
        case Verb.SET_ROLE:
            return _role(visit, name, change)
        case Verb.SET_RECOVERY_ADDRESS if not change.get("address"):
            return visit.text("admin_act.no-recovery-address", name=name)
        case Verb.ADD_ACCOUNT if change.get("recovery_address"):
            return visit.text("admin_act.add-account-with", name=name, address=change["recovery_address"])
        case Verb.REVOKE if "ids" not in change:
            return visit.text("admin_act.revoke-all", name=name)
        case Verb.CLEAR_THROTTLE if not name:
            return visit.text("admin_act.clear-all")
        case Verb.REMOVE_DOMAIN if change.get("with_accounts"):
            return visit.text("admin_act.remove-domain-with", name=name, count=change.get("accounts", "?"))
    return visit.text(
        SENTENCES.get(verb, "admin_act.other"),
        name=name,
        verb=verb,
        changes=_changes(visit, change),
        address=change.get("address", ""),
        alias=change.get("alias", ""),
        label=change.get("label", ""),
        count=len(change.get("ids", ())),
        labels=_joined(visit, [visit.text("admin_act.label", label=label) for label in change.get("labels", ())]),
    )


def _role(visit: Visit, name: str, change: Mapping[str, Any]) -> Markup:
    role = visit.text(f"admin_role.{change['role']}")
    if not change.get("domains"):
        return visit.text("admin_act.set-role", name=name, role=role)
    domains = _joined(visit, [Markup("{}").format(domain) for domain in change["domains"]])
    return visit.text("admin_act.set-role-of", name=name, role=role, domains=domains)


def _changes(visit: Visit, change: Mapping[str, Any]) -> Markup:
    """Of settings."""
    told = []
    for key in (name for name in ORDER if name in change):
        value = change[key]
        if (key, value) in PARTS:
            told.append(visit.text(PARTS[key, value]))
        elif key == "policy":
            told.append(visit.text("admin_change.policy", policy=visit.text(f"admin_policy.{value}")))
        elif key == "max_app_passwords":
            told.append(visit.text("admin_change.most", most=value))
        elif key == "enforce_from":
            zone = visit.house.rendering.zone
            told.append(visit.text("admin_change.from", when=visit.language.moment(value, zone)))
    return _joined(visit, told)


def _joined(visit: Visit, parts: list[Markup]) -> Markup:
    return COMMAS[visit.language.code].join(parts)
