"""Who may call what: every operation of the API, by everybody. What is not in the tables here fails."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from api_site import (
    AUDITOR,
    CHIEF,
    DOMAIN,
    EVE,
    EVERYTHING,
    OPERATION,
    OTHER,
    ROOT,
    ROOT2,
    Api,
    everything,
)
from portal_site import ALICE, BOB, Site

from mailauth.accounts import roleholders, tokens
from mailauth.accounts.changes import DomainChange
from mailauth.accounts.deeds import DEEDS
from mailauth.accounts.domains import set_domain
from mailauth.accounts.roles import Role, Verb
from mailauth.accounts.tokens import OWN, Scope
from mailauth.portal.api.operations import OPERATIONS

# Who may: a site administrator, a domain administrator in his own domain, an auditor. Nobody else ever does.
SITE, CHIEFS, READERS = {ROOT}, {ROOT, CHIEF}, {ROOT, CHIEF, AUDITOR}
MAY: dict[str, set[str]] = {
    "list-accounts": READERS,
    "show-account": READERS,
    "list-connections": READERS,
    "list-domains": READERS,
    "show-domain": READERS,
    "show-site": READERS,
    "show-report": READERS,
    "show-throttle": READERS,
    "show-audit": READERS,
    "add-account": CHIEFS,
    "set-account": CHIEFS,
    "remove-account": CHIEFS,
    "erase-account": SITE,
    "export-account": SITE,
    "set-role": SITE,
    "set-recovery-address": SITE,
    "reset-password": CHIEFS,
    "reset-factors": CHIEFS,
    "make-enrolment-code": CHIEFS,
    "revoke-app-password": CHIEFS,
    "revoke-app-passwords": CHIEFS,
    "revoke-api-token": SITE,
    "close-connections": CHIEFS,
    "sign-out": CHIEFS,
    "add-alias": CHIEFS,
    "remove-alias": CHIEFS,
    "add-domain": SITE,
    "set-domain": CHIEFS,
    "remove-domain": SITE,
    "set-site": SITE,
    "clear-throttle": CHIEFS,
}
# By what a token has to have. An operation that is in none of these, nor above, is one that nobody has thought about.
OWN_SCOPES: dict[str, Scope] = {
    "show-own-account": Scope.OWN_READ,
    "list-own-app-passwords": Scope.OWN_READ,
    "rename-own-app-password": Scope.OWN_REVOKE,
    "delete-own-app-password": Scope.OWN_REVOKE,
    "delete-own-app-passwords": Scope.OWN_REVOKE,
    "list-own-connections": Scope.OWN_READ,
    "close-own-connections": Scope.OWN_REVOKE,
    "list-own-browsers": Scope.OWN_READ,
    "end-own-browser": Scope.OWN_REVOKE,
    "end-own-browsers": Scope.OWN_REVOKE,
    "list-own-activity": Scope.OWN_READ,
    "list-own-notices": Scope.OWN_READ,
    "list-own-api-tokens": Scope.OWN_READ,
    "revoke-own-api-token": Scope.OWN_REVOKE,
    "begin-app-password": Scope.OWN_ASK,
    "begin-mode-off": Scope.OWN_ASK,
    "begin-factor": Scope.OWN_ASK,
    "begin-factor-removed": Scope.OWN_ASK,
    "begin-factor-renamed": Scope.OWN_ASK,
    "begin-recovery-address": Scope.OWN_ASK,
    "begin-export": Scope.OWN_ASK,
    "begin-api-token": Scope.OWN_ASK,
}
PUBLIC = {"show-document", "show-problem"}
NOT_HERE = {Verb.SET_PASSWORD}  # of nobody; see accounts.roles
WITHOUT_TARGET = {"list-domains", "show-site", "show-throttle", "add-domain", "set-site"}
NOT_OF_ACCOUNTS = {"list-accounts", "show-domain", "show-report", "set-domain", "remove-domain", "add-account"}
READING = {name for name, who in MAY.items() if who is READERS}

fresh = itertools.count()


@pytest.fixture
def api(sqlite_database, ring) -> Api:
    api = Api(Site(sqlite_database.store, ring, kinds=("totp", "recovery-codes")))
    api.people()
    return api


def arguments(api: Api, name: str, login: str) -> dict[str, Any]:
    """A call of this operation about this account, or about its domain, that means something."""
    domain, one = login.rpartition("@")[2], f"new{next(fresh)}"
    match name:
        case "list-accounts" | "show-report":
            return {"query": {"domain": domain}}
        case "show-audit":
            return {"query": {"login": login}}
        case "clear-throttle":
            return {"query": {"subject": login}}
        case "add-account":
            return {"body": {"login": f"{one}@{domain}"}}
        case "set-account":
            return {"login": login, "body": {"pop3": False}}
        case "set-role":
            return {"login": login, "body": {"role": "auditor"}}
        case "set-recovery-address":
            return {"login": login, "body": {"address": "away@elsewhere.test"}}
        case "revoke-app-password":
            return {"login": login, "id": api.mint(login)}
        case "revoke-api-token":
            return {"login": login, "id": api.spare_token(login)}
        case "add-alias":
            return {"login": login, "body": {"alias": f"{one}@{domain}"}}
        case "remove-alias":
            return {"alias": api.alias(f"{one}@{domain}", login)}
        case "show-domain":
            return {"name": domain}
        case "set-domain":
            return {"name": domain, "body": {"max_app_passwords": 3}}
        case "remove-domain":
            return {"name": domain, "query": {"with_accounts": "true"}}
        case "add-domain":
            return {"body": {"name": f"{one}.test"}}
        case "set-site":
            return {"body": {"max_app_passwords": 9}}
        case _ if name in WITHOUT_TARGET:
            return {}
    return {"login": login}


def own_arguments(api: Api, name: str, account: str = "") -> dict[str, Any]:
    """The same of an owner's. account: the name that is said with it."""
    said = {"account": account} if account else {}
    bodies: dict[str, dict[str, Any]] = {
        "begin-app-password": {"label": "x"},
        "begin-mode-off": {},
        "begin-export": {},
        "begin-factor": {"kind": "totp"},
        "begin-factor-removed": {"kind": "totp"},
        "begin-factor-renamed": {"kind": "totp", "name": "x"},
        "begin-recovery-address": {"address": None},
        "begin-api-token": {"label": "x", "scopes": ["own:read"]},
    }
    if name in bodies:
        return {"body": bodies[name] | said}
    arguments: dict[str, Any] = {"query": said}
    if name.endswith("own-app-password"):
        arguments["id"] = api.mint(account or ALICE)
    if name == "end-own-browser":
        arguments["id"] = "0" * 64
    if name == "revoke-own-api-token":
        arguments["id"] = 1
    if name == "rename-own-app-password":
        arguments["body"] = {"label": "x"}
    return arguments


def own(name: str) -> bool:
    return name in OWN_SCOPES


def test_every_operation_has_said_whom_it_is_for() -> None:
    names = [operation.name for operation in OPERATIONS]
    assert sorted(names) == sorted([*MAY, *OWN_SCOPES, *PUBLIC])
    assert {operation.name for operation in OPERATIONS if operation.access.scope is None} == PUBLIC
    assert {operation.name: operation.access.scope for operation in OPERATIONS if own(operation.name)} == OWN_SCOPES
    for name, who in MAY.items():
        wanted = Scope.ADMIN_READ if who is READERS else Scope.ADMIN_WRITE
        assert OPERATION[name].access.scope is wanted, name
        assert (OPERATION[name].method == "GET") == (wanted is Scope.ADMIN_READ), name


def test_everything_that_administrators_do_can_be_done_here() -> None:
    assert {operation.access.verb for operation in OPERATIONS} - {None} == set(Verb) - NOT_HERE
    assert set(DEEDS) <= {operation.access.verb for operation in OPERATIONS}


@pytest.mark.parametrize("name", [*MAY, *OWN_SCOPES])
async def test_w01_no_operation_is_done_without_a_good_token_of_its_scope(api: Api, name: str) -> None:
    """Nor by a cookie, an app password or a web password, whatever the header calls them."""
    given = own_arguments(api, name) if own(name) else arguments(api, name, BOB)
    login = ALICE if own(name) else ROOT
    scope = OPERATION[name].access.scope
    revoked, over = api.token(login), api.token(login, expires_at=api.site.clock() - 1)
    number = max(view.id for view in tokens.listed(api.site.store, login) if view.expires_at is None)
    tokens.revoke(api.site.store, number, actor="test")
    others = api.token(login, *[each for each in EVERYTHING if each != scope])
    off, cut = api.token(AUDITOR), api.token(login)[:-1]
    api.site.change(AUDITOR, enabled=False)
    before = everything(api.site)
    for bad in (None, revoked, over, off, "mailauth_", "mailauth_" + "x" * 43, "", cut):
        answer = await api.call(name, bad, **given)
        assert answer.status_code == 401, (bad, answer.text)
        assert answer.headers["www-authenticate"].startswith('Bearer realm="mailauth"')
        assert ("invalid_token" in answer.headers["www-authenticate"]) == (bad is not None)
    answer = await api.call(name, others, **given)
    assert answer.status_code == 403
    assert answer.json()["scope"] == scope
    assert f'scope="{scope}"' in answer.headers["www-authenticate"]
    assert everything(api.site) == before


@pytest.mark.parametrize("name", [*MAY, *OWN_SCOPES])
async def test_w01_no_operation_is_done_by_a_cookie(api: Api, name: str) -> None:
    given = own_arguments(api, name) if own(name) else arguments(api, name, BOB)
    browser = api.site.browser()
    await browser.sign_in(ROOT)
    session = browser.client.cookies["mailauth-session"]
    before = everything(api.site)
    answer = await api.call(name, None, **given)
    cookie = {"Cookie": f"mailauth-session={session}"}
    operation = OPERATION[name]
    path = operation.path.format(**{key: str(value) for key, value in given.items()})
    body = {"json": given["body"]} if "body" in given else {}
    for headers in (cookie, {**cookie, "Authorization": f"Bearer {session}"}):
        answer = await api.send(operation.method, path, headers=headers, params=given.get("query", {}), **body)
        assert answer.status_code == 401
    assert everything(api.site) == before


@pytest.mark.parametrize("name", MAY)
async def test_p06_each_verb_by_each_role(api: Api, name: str) -> None:
    """Whoever may not changes nothing; and then whoever may, does."""
    everybody = {login: api.token(login) for login in (ROOT, CHIEF, AUDITOR, ALICE)}
    given = arguments(api, name, BOB)
    before = everything(api.site)
    for login, token in everybody.items():
        if login in MAY[name]:
            continue
        answer = await api.call(name, token, **given)
        assert answer.status_code == 403, (login, answer.text)
        assert answer.json()["denial"] in {"no-role", "read-only", "site-only"}
    assert everything(api.site) == before
    for place, login in enumerate(sorted(MAY[name])):
        target = f"target{place}@{OTHER if name == 'remove-domain' else DOMAIN}"
        api.site.add(target)
        api.recovery_address(target)
        answer = await api.call(name, everybody[login], **arguments(api, name, target))
        assert answer.status_code == OPERATION[name].status, (login, answer.text)


@pytest.mark.parametrize("name", sorted(set(MAY) - WITHOUT_TARGET))
async def test_p07_a_domain_administrator_does_nothing_in_other_domains(api: Api, name: str) -> None:
    """And is told the same of what is there and of what is not."""
    token = api.token(CHIEF)
    given, nobody = arguments(api, name, EVE), arguments_of_nobody(name)
    before = everything(api.site)
    there, not_there = await api.call(name, token, **given), await api.call(name, token, **nobody)
    assert there.status_code == not_there.status_code == 403, (there.text, not_there.text)
    assert there.json()["denial"] in {"not-your-domain", "site-only"}
    if name not in {"show-audit", "clear-throttle"} | {name for name in MAY if MAY[name] is SITE}:
        assert there.json() == not_there.json()
    assert everything(api.site) == before


def arguments_of_nobody(name: str) -> dict[str, Any]:
    """The same, of an account or a domain that is not there."""
    operation = OPERATION[name]
    nobody, nowhere = f"nobody@{OTHER}", "nowhere.test"
    given: dict[str, Any] = {}
    if "{login}" in operation.path:
        given["login"] = nobody
    if "{alias}" in operation.path:
        given["alias"] = nobody
    if "{name}" in operation.path:
        given["name"] = nowhere
    if "{id}" in operation.path:
        given["id"] = 1
    if "{" not in operation.path:
        shown = {
            "list-accounts": {"domain": nowhere},
            "show-report": {"domain": nowhere},
            "show-audit": {"login": nobody},
        }
        given["query"] = shown.get(name, {"subject": nobody} if name == "clear-throttle" else {})
    bodies = {
        "add-account": {"login": "x@nowhere.test"},
        "set-account": {"pop3": False},
        "set-role": {"role": "auditor"},
        "set-recovery-address": {"address": None},
        "add-alias": {"alias": f"x@{OTHER}"},
        "set-domain": {"pop3": False},
    }
    return given | ({"body": bodies[name]} if name in bodies else {})


@pytest.mark.parametrize("name", sorted(set(MAY) - READING - WITHOUT_TARGET - NOT_OF_ACCOUNTS))
@pytest.mark.parametrize(
    ("login", "target"), [(ROOT, ROOT2), (ROOT, ROOT), (CHIEF, ROOT), (CHIEF, CHIEF), (CHIEF, AUDITOR)]
)
async def test_nobody_acts_on_his_own_role_or_a_higher_one(api: Api, name: str, login: str, target: str) -> None:
    token, given = api.token(login), arguments(api, name, target)
    before = everything(api.site)
    answer = await api.call(name, token, **given)
    assert answer.status_code == 403
    assert answer.json()["denial"] in {"equal-or-higher", "site-only"}
    assert everything(api.site) == before


@pytest.mark.parametrize("name", MAY)
async def test_a_program_that_serves_many_administrates_nothing(api: Api, name: str) -> None:
    """Not even if its row says that it may."""
    token = api.token(None)
    with api.site.store.transaction() as tx:
        tx._connection.execute("UPDATE api_tokens SET scopes = 'admin:read admin:write'")
    answer = await api.call(name, token, **arguments(api, name, BOB))
    assert (answer.status_code, answer.json()["denial"]) == (403, "no-role")


@pytest.mark.parametrize("name", MAY)
async def test_whoever_loses_his_role_loses_it_here_too(api: Api, name: str) -> None:
    token, given = api.token(ROOT), arguments(api, name, BOB)
    roleholders.set_role(api.site.store, ROOT, Role.USER, actor="test")
    before = everything(api.site)
    answer = await api.call(name, token, **given)
    assert (answer.status_code, answer.json()["denial"]) == (403, "no-role")
    assert everything(api.site) == before


@pytest.mark.parametrize("name", OWN_SCOPES)
async def test_one_account_s_token_does_nothing_to_another(api: Api, name: str) -> None:
    """Nor an administrator's, who has operations of his own for that; nor by the number of what is another's."""
    operation = OPERATION[name]
    for login in (ALICE, ROOT):
        token, given = api.token(login), own_arguments(api, name, BOB)
        before = everything(api.site)
        answer = await api.call(name, token, **given)
        assert answer.status_code == 404, answer.text
        if operation.params and name != "end-own-browser":
            given = {**own_arguments(api, name), "id": given["id"] if "app-password" in name else number_of(api, BOB)}
            before = everything(api.site)
            assert (await api.call(name, token, **given)).status_code == 404
        assert everything(api.site) == before


def number_of(api: Api, login: str) -> int:
    api.token(login)
    return tokens.listed(api.site.store, login)[-1].id


@pytest.mark.parametrize("name", OWN_SCOPES)
async def test_a_program_that_serves_many_says_for_whom(api: Api, name: str) -> None:
    token = api.token(None)
    silent = await api.call(name, token, **own_arguments(api, name))
    assert silent.status_code == 422
    assert silent.json()["errors"][0]["name"] == "account"
    set_domain(api.site.store, OTHER, DomainChange(enabled=False), actor="test")
    for nobody in ("nobody@example.test", EVE):
        given = own_arguments(api, name)
        before = everything(api.site)
        place = "body" if name.startswith("begin-") else "query"
        given[place] = {**given.get(place, {}), "account": nobody}
        answer = await api.call(name, token, **given)
        assert answer.status_code == 404, answer.text
        assert "no such account for this token" in answer.json()["detail"]
        assert everything(api.site) == before


async def test_a_domain_administrator_of_nothing_sees_nothing(api: Api) -> None:
    token = api.token(CHIEF)
    with api.site.store.transaction() as tx:
        tx._connection.execute("DELETE FROM domain_admins")
    assert (await api.call("list-accounts", token)).json()["accounts"] == []
    assert (await api.call("list-domains", token)).json()["domains"] == []
    assert (await api.call("show-account", token, login=BOB)).status_code == 403


@pytest.mark.parametrize("name", sorted(PUBLIC))
async def test_what_is_open_needs_no_token_and_looks_at_none(api: Api, name: str) -> None:
    given = {"name": "clash"} if name == "show-problem" else {}
    for token in (None, "mailauth_wrong"):
        assert (await api.call(name, token, **given)).status_code == 200
    assert api.site.passwords.asked == []


def test_own_scopes_are_all_there_are() -> None:
    assert set(OWN_SCOPES.values()) == set(OWN)
