"""What the API does: for owners and for administrators, on each database; and that it does no more than it says."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from api_site import CHIEF, DOMAIN, EVE, ROOT, Api
from outside_world import KINDS
from portal_site import ALICE, BOB, PEER, Site

from mailauth.accounts import apppasswords, history, mailboxes, tokens
from mailauth.accounts.freshproof import Act
from mailauth.interfaces import ELSEWHERE, NOT_YET, Answer, StoreUnavailable
from mailauth.portal.api.proposals import PROPOSALS
from mailauth.portal.pages.proof import PERFORM
from mailauth.store.changes import Effect

NOTHING_OPEN = {"ended": 0, "silent": [], "ended_elsewhere": False, "open_elsewhere": False}


@pytest.fixture
def api(database, ring) -> Api:
    api = Api(Site(database.store, ring, kinds=KINDS))
    api.people()
    return api


@pytest.fixture
def quick(sqlite_database, ring) -> Api:
    api = Api(Site(sqlite_database.store, ring, kinds=KINDS))
    api.people()
    return api


class Post:
    """portal.house.Post."""

    def __init__(self, works: bool = True) -> None:
        self.works = works
        self.letters: list[tuple[str, str, str, dict[str, str]]] = []

    async def __call__(self, to: str, language: str, kind: str, **values: str) -> bool:
        self.letters.append((to, language, kind, values))
        return self.works


def with_post(api: Api, post: Post) -> None:
    object.__setattr__(api.site.house, "post", post)


# ---- for an owner


async def test_a_webmail_shows_and_ends_what_its_user_has(api: Api) -> None:
    site, token = api.site, api.token(None)
    phone, laptop = api.mint(ALICE, "电话"), api.mint(ALICE, "laptop")
    browser = site.browser()
    await browser.sign_in()
    of = {"account": ALICE.upper()}
    account = (await api.call("show-own-account", token, query=of)).json()
    assert (account["account"]["login"], account["account"]["app_passwords"], account["left"]) == (ALICE, 2, 8)
    listed = (await api.call("list-own-app-passwords", token, query=of)).json()
    assert [(one["id"], one["label"]) for one in listed["app_passwords"]] == [(phone, "电话"), (laptop, "laptop")]
    assert listed["app_passwords"][0]["created_at"] == "2027-01-15T07:59:00Z"
    renamed = await api.call("rename-own-app-password", token, query=of, id=phone, body={"label": " My phone "})
    assert renamed.json()["label"] == "My phone"
    gone = await api.call("delete-own-app-password", token, query=of, id=laptop)
    assert gone.json() == {**NOTHING_OPEN, "deleted": [{"id": laptop, "label": "laptop"}]}
    assert (await api.call("delete-own-app-password", token, query=of, id=laptop)).status_code == 404
    assert (await api.call("delete-own-app-passwords", token, query=of)).json()["deleted"][0]["id"] == phone
    assert (await api.call("delete-own-app-passwords", token, query=of)).json()["deleted"] == []
    assert (await api.call("list-own-connections", token, query=of)).json() == {"connections": [], "silent": []}
    assert (await api.call("close-own-connections", token, query=of)).json() == NOTHING_OPEN
    (open_now,) = (await api.call("list-own-browsers", token, query=of)).json()["browsers"]
    assert (open_now["peer"], open_now["stage"]) == (PEER, "in")
    assert (await api.call("end-own-browser", token, query=of, id=open_now["id"])).json() == {"signed_out": 1}
    assert (await api.call("end-own-browser", token, query=of, id=open_now["id"])).status_code == 404
    assert (await browser.get("/passwords")).to.startswith("/signin")
    assert (await api.call("end-own-browsers", token, query=of)).json() == {"signed_out": 0}
    row = list(history.audit(site.store, ALICE))[-1]
    assert (row.kind, row.actor, row.peer) == ("signed-out", "api:1", PEER)


async def test_what_happened_is_read_page_by_page_and_says_who_but_not_by_name(api: Api) -> None:
    token = api.token(ALICE)
    for number in range(5):
        api.mint(ALICE, f"device {number}")
    found, query = [], {"limit": "2"}
    while True:
        page = (await api.call("list-own-activity", token, query=query)).json()
        found += page["events"]
        if page["next"] is None:
            break
        query["next"] = page["next"]
    assert [one["label"] for one in found if one["kind"] == "app-password-added"] == [
        f"device {n}" for n in (4, 3, 2, 1, 0)
    ]
    assert len({one["id"] for one in found}) == len(found)
    assert {one["by"] for one in found} == {"administrator"}
    assert "somebody" not in json.dumps(found)
    notices, query = [], {"limit": "2"}
    while True:
        page = (await api.call("list-own-notices", token, query=query)).json()
        notices += page["notices"]
        if page["next"] is None:
            break
        query["next"] = page["next"]
    assert [one["kind"] for one in notices].count("app-password-added") == 5
    assert len({one["id"] for one in notices}) == len(notices)
    unseen = (await api.call("list-own-notices", token, query={"unseen": "true", "limit": "200"})).json()["notices"]
    assert unseen == notices  # reading them acknowledges none


async def test_own_tokens_are_listed_without_themselves_and_revoked(api: Api) -> None:
    token, other = api.token(ALICE), api.token(ALICE)
    listed = (await api.call("list-own-api-tokens", token)).json()["api_tokens"]
    assert [one["login"] for one in listed] == [ALICE, ALICE]
    answer = await api.call("revoke-own-api-token", token, id=listed[1]["id"])
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await api.call("revoke-own-api-token", token, id=listed[1]["id"])).status_code == 404
    assert (await api.call("list-own-api-tokens", other)).status_code == 401
    (await api.call("revoke-own-api-token", token, id=listed[0]["id"]))
    assert (await api.call("list-own-api-tokens", token)).status_code == 401


# ---- beginning what takes proof


def test_every_act_that_can_be_begun_has_a_page_that_does_it() -> None:
    begun = {Act.APP_PASSWORD, Act.MODE_OFF, Act.FACTOR_ADD, Act.RECOVERY_CODES, Act.FACTOR_REMOVE, Act.FACTOR_RENAME}
    begun |= {Act.RECOVERY_ADDRESS, Act.API_TOKEN, Act.EXPORT}
    assert begun <= set(PERFORM)
    assert len(PROPOSALS) == len(begun) - 1  # recovery codes are begun as a factor is


async def test_a_program_begins_an_app_password_and_only_its_owner_makes_it(api: Api) -> None:
    site, token = api.site, api.token(None)
    app = await site.enrol_totp()
    wanted = {"account": ALICE, "label": "Webmail's phone", "services": ["imap"], "networks": ["192.0.2.9"]}
    answer = await api.call("begin-app-password", token, body=wanted)
    assert answer.status_code == 202
    url = answer.json()["url"]
    assert answer.headers["location"] == url
    assert url.startswith(f"{site.origin}/proof/")
    path = urlsplit(url).path
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        assert (await site.browser(**headers).get(path)).to.startswith("/signin")
    stranger = site.browser()
    await stranger.sign_in(BOB)
    assert (await stranger.get(path)).status == 410
    assert apppasswords.listed(site.store, ALICE) == []
    owner = site.browser()
    await owner.sign_in()
    await owner.follow(await owner.post("/signin/second/totp", code=app.at(site.clock())))
    page = await owner.get(path)
    assert "Webmail's phone" in page.text
    site.clock.now += 60
    shown = await owner.post(path, way="totp", code=app.at(site.clock()))
    assert "shown only this once" in shown.text
    (made,) = apppasswords.listed(site.store, ALICE)
    assert (made.label, made.services, made.networks) == ("Webmail's phone", ("imap",), ("192.0.2.9/32",))
    assert (await owner.get(path)).status == 410
    kinds = [row.kind for row in history.audit(site.store, ALICE)]
    assert "proof-asked-for" in kinds


BEGUN: list[tuple[str, dict[str, Any]]] = [
    ("begin-app-password", {}),
    ("begin-app-password", {"label": "x", "expires_at": "2028-01-01T00:00:00+08:00", "services": ["imap", "smtp"]}),
    ("begin-mode-off", {}),
    ("begin-mode-off", {"delete_all": True}),
    ("begin-factor", {"kind": "sms"}),
    ("begin-factor", {"kind": "recovery-codes"}),
    ("begin-factor-removed", {"kind": "totp"}),
    ("begin-factor-renamed", {"kind": "totp", "name": "新手机"}),
    ("begin-recovery-address", {"address": "alice@elsewhere.test"}),
    ("begin-recovery-address", {"address": None}),
    ("begin-export", {}),
    ("begin-api-token", {"label": "x", "scopes": ["own:read"], "expires_at": "2028-01-01T00:00:00Z"}),
]


@pytest.mark.parametrize(("name", "body"), BEGUN)
async def test_whatever_is_begun_its_owner_can_prove(quick: Api, name: str, body: dict[str, Any]) -> None:
    site, token = quick.site, quick.token(ALICE)
    app = await site.enrol_totp()
    url = (await quick.call(name, token, body=body)).json()["url"]
    owner = site.browser(bugs=False)
    await owner.sign_in()
    await owner.follow(await owner.post("/signin/second/totp", code=app.at(site.clock())))
    page = await owner.get(urlsplit(url).path)
    assert page.status == 200
    assert "Confirm that it is you" in page.text
    site.clock.now += 60
    if "web-password" in page.html:
        page = await owner.follow(await owner.post(page.path, way="web-password", password="correct horse battery"))
    done = await owner.follow(await owner.post(page.path, way="totp", code=app.at(site.clock())))
    assert done.status == 200, done.text
    assert "This was open for too long" not in done.text


REFUSED: list[tuple[str, dict[str, Any], int, str]] = [
    ("begin-app-password", {"expires_at": "2020-01-01T00:00:00Z"}, 409, "cannot expire in the past"),
    ("begin-app-password", {"label": "a\u202eb"}, 422, "direction of writing"),
    ("begin-app-password", {"label": " "}, 422, "1 to 100"),
    ("begin-app-password", {"services": []}, 422, "a list of 1"),
    ("begin-app-password", {"networks": ["here"]}, 422, "no network"),
    ("begin-app-password", {"proven": True}, 422, "not known here"),
    ("begin-factor", {"kind": "carrier-pigeon"}, 404, "no second factor"),
    ("begin-factor", {"kind": "recovery-codes"}, 409, "enrol that first"),
    ("begin-factor-removed", {"kind": "totp"}, 404, "no such second factor"),
    ("begin-factor-renamed", {"kind": "totp", "name": "x"}, 404, "no such second factor"),
    ("begin-recovery-address", {"address": ALICE}, 409, "another one"),
    ("begin-recovery-address", {"address": "nowhere"}, 422, "no mail address"),
    ("begin-api-token", {"label": "x", "scopes": ["admin:read"]}, 403, "for administrators"),
    ("begin-api-token", {"label": "x", "scopes": ["own:prove"]}, 422, "one of"),
    (
        "begin-api-token",
        {"label": "x", "scopes": ["own:read"], "expires_at": "2020-01-01T00:00:00Z"},
        409,
        "in the past",
    ),
]


@pytest.mark.parametrize(("name", "body", "status", "said"), REFUSED)
async def test_what_could_not_be_done_is_not_begun(quick: Api, name: str, body: Any, status: int, said: str) -> None:
    answer = await quick.call(name, quick.token(ALICE), body=body)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


async def test_what_is_locked_or_full_is_not_begun(quick: Api) -> None:
    token = quick.token(ALICE)
    quick.site.change(ALICE, max_app_passwords=0)
    answer = await quick.call("begin-app-password", token, body={})
    assert answer.status_code == 409
    assert "--max" not in answer.json()["detail"]
    quick.site.change(ALICE, policy="enforced")
    answer = await quick.call("begin-mode-off", token, body={})
    assert (answer.status_code, answer.json()["reason"]) == (409, "locked")


# ---- for administrators


async def test_an_administrator_does_everything(api: Api) -> None:
    site, token = api.site, api.token(ROOT)
    added = await api.call("add-account", token, body={"login": "New@Example.test", "recovery_address": "n@else.test"})
    assert (added.status_code, added.json()) == (201, {"login": "new@example.test", "domain_added": False})
    new = "new@example.test"
    assert added.headers["location"] == f"/api/v1/accounts/{new}"
    at = (await api.send("GET", added.headers["location"].removeprefix("/api/v1"), token)).json()
    assert (at["view"]["login"], at["recovery_address"], at["sessions"]) == (new, "n***@else.test", 0)
    assert "set-account" in at["allowed"]
    change = {"policy": "enforced", "enforce_from": "2030-01-01T00:00:00+01:00", "smtp": False, "max_app_passwords": 3}
    changed = (await api.call("set-account", token, login=new, body=change)).json()["account"]
    assert (changed["policy"], changed["enforce_from"]) == ("enforced", "2029-12-31T23:00:00Z")
    assert changed["services"] == ["imap", "pop3"]
    row_id = api.mint(new)
    revoked = await api.call("revoke-app-password", token, login=new, id=row_id)
    assert revoked.json()["deleted"] == [{"id": row_id, "label": "phone"}]
    assert (await api.call("revoke-app-password", token, login=new, id=row_id)).status_code == 404
    assert (await api.call("revoke-app-passwords", token, login=new)).json()["deleted"] == []
    assert (await api.call("close-connections", token, login=new)).json() == NOTHING_OPEN
    assert (await api.call("sign-out", token, login=new)).json() == {"signed_out": 0}
    assert (await api.call("reset-factors", token, login=new)).json()["factors"] == []
    made = (await api.call("make-enrolment-code", token, login=new)).json()
    assert re.fullmatch(r"(\w{6}-){3}\w{6}", made["code"])
    assert (await api.call("add-alias", token, login=new, body={"alias": "neu@example.test"})).status_code == 201
    taken = await api.call("add-alias", token, login=new, body={"alias": "neu@example.test"})
    assert (taken.status_code, taken.json()["reason"]) == (409, "alias-taken")
    assert (await api.call("remove-alias", token, alias="neu@example.test")).status_code == 204
    assert (await api.call("remove-alias", token, alias="neu@example.test")).status_code == 404
    assert (await api.call("set-role", token, login=new, body={"role": "domain-admin"})).status_code == 204
    assert (await api.call("show-account", token, login=new)).json()["administers"] == [DOMAIN]
    exported = (await api.call("export-account", token, login=new)).json()["personal_data"]
    assert exported["account"]["login"] == new
    erased = (await api.call("erase-account", token, login=new)).json()
    assert erased["pseudonym"].startswith("erased:")
    assert (await api.call("show-account", token, login=new)).status_code == 404
    assert (await api.call("remove-account", token, login=BOB)).json() == NOTHING_OPEN
    assert (await api.call("remove-account", token, login=BOB)).status_code == 404
    (row,) = [row for row in history.audit(site.store, BOB) if row.kind == "account-removed"]
    assert row.peer == PEER
    assert row.actor.startswith("api:")


async def test_domains_and_the_site(api: Api) -> None:
    token = api.token(ROOT)
    assert (await api.call("add-domain", token, body={"name": "Neu.Test"})).json() == {"name": "neu.test"}
    again = await api.call("add-domain", token, body={"name": "neu.test"})
    assert again.status_code == 409
    changed = (await api.call("set-domain", token, name="neu.test", body={"pop3": False})).json()
    assert (changed["domain"]["pop3"], changed["ended"]) == (False, 0)
    names, query = [], {"limit": "1"}
    while True:
        page = (await api.call("list-domains", token, query=query)).json()
        names += [one["name"] for one in page["domains"]]
        if page["next"] is None:
            break
        query["next"] = page["next"]
    assert names == [DOMAIN, "neu.test", "other.test"]
    assert (await api.call("remove-domain", token, name="neu.test")).json()["accounts"] == 0
    full = await api.call("remove-domain", token, name="other.test")
    assert (full.status_code, full.json()["reason"]) == (409, "has-accounts")
    assert "(" not in full.json()["detail"]
    gone = await api.call("remove-domain", token, name="other.test", query={"with_accounts": "true"})
    assert gone.json()["accounts"] == 1
    assert (await api.call("show-domain", token, name="other.test")).status_code == 404
    site = (await api.call("set-site", token, body={"policy": "observe"})).json()["site"]
    assert site["policy"] == "observe"
    shown = (await api.call("show-site", token)).json()
    assert ROOT in [holder["login"] for holder in shown["holders"]]


async def test_accounts_are_found_page_by_page(api: Api) -> None:
    token = api.token(ROOT)
    for number in range(7):
        api.site.add(f"many{number}@example.test")
    found, query = [], {"limit": "3", "begins": "many", "domain": DOMAIN}
    while True:
        page = (await api.call("list-accounts", token, query=query)).json()
        found += [one["login"] for one in page["accounts"]]
        if page["next"] is None:
            break
        query["next"] = page["next"]
    assert found == [f"many{number}@example.test" for number in range(7)]


async def test_the_audit_log_is_read_page_by_page_also_of_who_is_gone(api: Api) -> None:
    token = api.token(ROOT)
    await api.call("remove-account", token, login=BOB)
    found, query = [], {"limit": "2", "login": BOB}
    while True:
        page = (await api.call("show-audit", token, query=query)).json()
        found += page["rows"]
        if page["next"] is None:
            break
        query["next"] = page["next"]
    assert [row["kind"] for row in found] == ["account-removed", "account-added"]
    assert {row["login"] for row in found} == {BOB}


async def test_the_report_and_the_throttle_are_read_and_cleared(api: Api) -> None:
    token = api.token(ROOT)
    assert (await api.call("show-report", token, query={"since": "2026-01-01T00:00:00Z"})).json()["observed"] == []
    assert (await api.call("show-throttle", token)).json() == {"listed": [], "may_clear_all": True}
    for subject, scope in ((BOB, "account"), ("192.0.2.0/24", "source"), ("::ffff:192.0.2.7", "source")):
        cleared = (await api.call("clear-throttle", token, query={"subject": subject})).json()["cleared"]
        assert (cleared["scope"], cleared["counts"]) == (scope, 0)
    assert (await api.call("clear-throttle", token)).json()["cleared"]["subject"] == ""
    assert (await api.call("clear-throttle", token, query={"subject": "here"})).status_code == 422


async def test_a_reset_link_is_mailed_and_shown_to_nobody(quick: Api) -> None:
    post = Post()
    with_post(quick, post)
    quick.recovery_address(BOB)
    for login in (ROOT, CHIEF):
        answer = await quick.call("reset-password", quick.token(login), login=BOB)
        assert answer.json() == {"mailed_to": "a***@elsewhere.test", "link": None, "expires_at": "2027-01-16T08:00:00Z"}
    to, language, kind, values = post.letters[-1]
    assert (to, language, kind, values["login"]) == ("away@elsewhere.test", "en", "password-reset", BOB)
    page = await quick.site.browser().get(values["link"].removeprefix(quick.site.origin))
    assert BOB in page.text


async def test_a_reset_link_that_cannot_be_mailed_is_shown_to_nobody_either(quick: Api) -> None:
    quick.recovery_address(BOB)
    for post in (Post(works=False), None):
        with_post(quick, post)
        answer = await quick.call("reset-password", quick.token(ROOT), login=BOB)
        assert (answer.json()["mailed_to"], answer.json()["link"]) == (None, None)


async def test_without_a_recovery_address_a_site_administrator_hands_the_link_over(quick: Api) -> None:
    answer = await quick.call("reset-password", quick.token(ROOT), login=BOB)
    assert (await quick.site.browser().get(answer.json()["link"].removeprefix(quick.site.origin))).status == 200
    answer = await quick.call("reset-password", quick.token(CHIEF), login=BOB)
    assert (answer.status_code, answer.json()["reason"]) == (409, "no-recovery-address")


async def test_a_domain_administrator_stays_above_the_site_and_in_his_domains(quick: Api) -> None:
    root, chief = quick.token(ROOT), quick.token(CHIEF)
    await quick.call("set-site", root, body={"policy": "observe"})
    answer = await quick.call("set-account", chief, login=BOB, body={"policy": "optional"})
    assert (answer.status_code, answer.json()["reason"]) == (409, "policy-below-site")
    answer = await quick.call("add-alias", chief, login=BOB, body={"alias": "bob@other.test"})
    assert (answer.status_code, answer.json()["denial"]) == (403, "not-your-domain")
    accounts = (await quick.call("list-accounts", chief, query={"limit": "200"})).json()["accounts"]
    assert EVE not in [one["login"] for one in accounts]
    assert [one["name"] for one in (await quick.call("list-domains", chief)).json()["domains"]] == [DOMAIN]


@pytest.mark.parametrize(
    ("report", "elsewhere"),
    [
        ("", (False, False)),
        (f"{ELSEWHERE}dovecot: ended\n", (True, False)),
        (f"{NOT_YET}dovecot: away\n", (False, True)),
    ],
)
async def test_what_ended_is_told(
    quick: Api, monkeypatch: pytest.MonkeyPatch, report: str, elsewhere: tuple[bool, bool]
) -> None:
    def told(store: object, effect: Effect) -> None:
        effect.ended, effect.silent[:], effect.absent[:] = 3, ["mail2:7"], ["mail3:8"]
        effect.answers = {"mail1:1": Answer(3, report)}

    monkeypatch.setattr("mailauth.accounts.unit.wait_until_applied", told)
    row_id = quick.mint(BOB)
    answer = await quick.call("revoke-app-password", quick.token(ROOT), login=BOB, id=row_id)
    assert (answer.json()["ended"], answer.json()["silent"]) == (3, ["mail2:7", "mail3:8"])
    assert (answer.json()["ended_elsewhere"], answer.json()["open_elsewhere"]) == elsewhere
    assert "dovecot" not in answer.text
    row_id = quick.mint(ALICE)
    answer = await quick.call("delete-own-app-password", quick.token(ALICE), id=row_id)
    assert (answer.json()["ended"], answer.json()["silent"]) == (3, ["mail2:7", "mail3:8"])
    assert (answer.json()["ended_elsewhere"], answer.json()["open_elsewhere"]) == elsewhere
    assert "dovecot" not in answer.text


# ---- what is never told


async def test_a01_no_answer_holds_a_secret(quick: Api) -> None:
    """No hash, no selector, no token and no password of anybody's, whatever is asked for."""
    site = quick.site
    await site.enrol_totp()
    token, own = quick.token(ROOT), quick.token(ALICE)
    minted = apppasswords.mint(site.store, site.ring, site.hashing, ALICE, label="x", actor="test")
    with site.store.reading() as tx:
        names = ("record", "selector", "web_record", "digest", "state", "csrf")
        secrets = {
            str(value)
            for table in ("app_passwords", "accounts", "api_tokens", "factors", "portal_sessions")
            for row in tx.rows(f"SELECT * FROM {table}")
            for name, value in row.items()
            if name in names and value is not None and len(str(value)) > 6
        }
    assert secrets
    told = []
    for name in ("accounts", "domains", "site", "report", "throttle", "audit"):
        answer = await quick.send("GET", f"/{name}", token)
        told.append(answer.text)
    told.append((await quick.call("show-account", token, login=ALICE)).text)
    told.append((await quick.call("export-account", token, login=ALICE)).text)
    for name in ("account", "app-passwords", "connections", "browsers", "activity", "notices", "api-tokens"):
        answer = await quick.send("GET", f"/own/{name}", own)
        told.append(answer.text)
    everything = json.dumps(told)
    for secret in (*secrets, minted.password, token, own):
        assert secret not in everything


async def test_an_account_that_came_again_under_the_same_name_is_another(quick: Api) -> None:
    """A token of one that was removed opens nothing of the one that has its name now."""
    token = quick.token(ALICE)
    mailboxes.remove_account(quick.site.store, ALICE, actor="test")
    quick.site.add(ALICE)
    assert (await quick.call("show-own-account", token)).status_code == 401
    assert tokens.listed(quick.site.store) == []


async def test_the_use_of_a_token_is_noted_and_it_counts_when_that_cannot_be_written(quick: Api, monkeypatch) -> None:
    token = quick.token(ALICE)

    def unavailable(*_: object) -> None:
        raise StoreUnavailable("read only")

    with monkeypatch.context() as patch:
        patch.setattr(type(quick.site.store), "transaction", unavailable)
        assert (await quick.call("show-own-account", token)).status_code == 200
    (view,) = tokens.listed(quick.site.store, ALICE)
    assert view.last_used_at is None
    await quick.call("show-own-account", token)
    (view,) = tokens.listed(quick.site.store, ALICE)
    assert (view.last_used_at, view.last_used_peer) == (quick.site.clock(), PEER)
