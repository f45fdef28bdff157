"""Who may do what to whom: every role, every verb, every kind of target."""

import itertools

import pytest

from mailauth.accounts.deeds import DEEDS
from mailauth.accounts.roles import (
    OF_NOBODY,
    RANK,
    READING,
    SITE,
    Actor,
    Denial,
    Role,
    Target,
    Verb,
    allowed,
    denied,
    may_give,
    outranked,
)

HERE, ELSEWHERE = 1, 2
ME = 100
ACTORS = {role: Actor(ME, role, frozenset({HERE}) if role is Role.DOMAIN_ADMIN else frozenset()) for role in Role}
TARGETS = {
    "site": SITE,
    "own domain": Target(domain_id=HERE),
    "other domain": Target(domain_id=ELSEWHERE),
    **{f"{role} here": Target(7, role, HERE) for role in Role},
    **{f"{role} elsewhere": Target(8, role, ELSEWHERE) for role in Role},
    "himself": None,
}
READ = "list-accounts show-account show-audit show-domain show-site show-report show-throttle"
CARE = (
    "set-account add-account remove-account reset-password reset-factors enrolment-code revoke-app-passwords "
    "close-sessions sign-out add-alias remove-alias clear-throttle set-domain"
)
SITES = "erase-account export-account set-role set-recovery-address add-domain remove-domain set-site revoke-api-token"
OVER = {
    Role.USER: set(),
    Role.AUDITOR: {Role.USER, Role.AUDITOR, Role.DOMAIN_ADMIN, Role.SITE_ADMIN},
    Role.DOMAIN_ADMIN: {Role.USER},
    Role.SITE_ADMIN: {Role.USER, Role.AUDITOR, Role.DOMAIN_ADMIN},
}


def wanted(role, target):
    """What is written in so many words, without a look at the rules: the verbs that a role has over a target."""
    if role is Role.USER:
        return set()
    near = target in {"own domain", "himself"} or target.endswith(" here")
    read = set(READ.split())
    if role is Role.DOMAIN_ADMIN and not near:
        read = {"show-site"}
    changes = set()
    on = Role(target.split()[0]) if target.split()[0] in set(Role) else None
    if role is Role.SITE_ADMIN:
        changes = set(f"{CARE} {SITES}".split())
    elif role is Role.DOMAIN_ADMIN and near:
        changes = set(CARE.split())
    if target == "himself" or (on is not None and on not in OVER[role]):
        changes = set()
    return read | changes


@pytest.mark.parametrize(("role", "target"), list(itertools.product(Role, TARGETS)))
def test_each_role_has_exactly_its_verbs_over_each_target(role, target):
    about = TARGETS[target] or Target(ME, role, HERE)
    expected = wanted(role, target)
    assert {str(verb) for verb in allowed(ACTORS[role], about)} == expected
    for verb in Verb:
        assert (denied(ACTORS[role], verb, about) is None) == (str(verb) in expected)


def test_every_verb_is_on_one_list_and_every_change_can_be_done():
    assert {str(verb) for verb in Verb} == {*f"{READ} {CARE} {SITES}".split(), *OF_NOBODY}
    assert set(DEEDS) == set(Verb) - READING - OF_NOBODY


def test_why_not_is_said():
    admin, auditor = ACTORS[Role.DOMAIN_ADMIN], ACTORS[Role.AUDITOR]
    for actor, verb, target, why in (
        (ACTORS[Role.USER], Verb.SHOW_ACCOUNT, TARGETS["user here"], Denial.NO_ROLE),
        (auditor, Verb.SET_ACCOUNT, TARGETS["user here"], Denial.READ_ONLY),
        (admin, Verb.SET_ACCOUNT, TARGETS["user elsewhere"], Denial.NOT_YOUR_DOMAIN),
        (admin, Verb.SHOW_ACCOUNT, TARGETS["user elsewhere"], Denial.NOT_YOUR_DOMAIN),
        (admin, Verb.SET_SITE, SITE, Denial.SITE_ONLY),
        (admin, Verb.SET_ACCOUNT, TARGETS["domain-admin here"], Denial.EQUAL_OR_HIGHER),
        (admin, Verb.SET_ACCOUNT, Target(ME, Role.DOMAIN_ADMIN, HERE), Denial.EQUAL_OR_HIGHER),
        (ACTORS[Role.SITE_ADMIN], Verb.SET_PASSWORD, TARGETS["user here"], Denial.NOBODY),
    ):
        assert denied(actor, verb, target) is why


def test_an_auditor_is_out_of_reach_of_a_domain_administrator():
    assert RANK[Role.AUDITOR] >= RANK[Role.DOMAIN_ADMIN]


@pytest.mark.parametrize(("role", "given"), list(itertools.product(Role, Role)))
def test_only_a_site_administrator_gives_roles(role, given):
    assert (may_give(ACTORS[role], given) is None) == (role is Role.SITE_ADMIN)


def test_a_domain_is_shut_over_lower_roles_only():
    assert outranked(ACTORS[Role.SITE_ADMIN], [Role.AUDITOR, Role.DOMAIN_ADMIN])
    assert not outranked(ACTORS[Role.SITE_ADMIN], [Role.SITE_ADMIN])
    assert not outranked(ACTORS[Role.DOMAIN_ADMIN], [Role.AUDITOR])
    assert outranked(ACTORS[Role.DOMAIN_ADMIN], [])
