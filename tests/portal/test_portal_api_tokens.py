"""One's own API tokens, on their page: made with proof, shown once, good for what was ticked, revoked."""

from __future__ import annotations

import re

import pytest
from outside_world import KINDS
from portal_site import ALICE, BOB, PASSWORD, Browser, Reply, Site

from mailauth.accounts import roleholders, tokens
from mailauth.accounts.history import audit
from mailauth.accounts.roles import Role
from mailauth.accounts.tokens import MOST_TOKENS

TOKEN = re.compile(r'data-plain="(mailauth_[A-Za-z0-9_-]{43})"')
PATH = "/security/tokens"


@pytest.fixture
def site(sqlite_database, ring) -> Site:
    return Site(sqlite_database.store, ring, kinds=KINDS)


async def made(browser: Browser, **fields: object) -> Reply:
    """A token of somebody who has no second factor yet."""
    await browser.get(PATH)
    given = {"label": "Calendar", "scopes": ["own:read"], **fields}
    proof = await browser.follow(await browser.post(PATH, **given))
    return await browser.post(proof.path, way="web-password", password=PASSWORD)


def calls(site: Site, token: str) -> Browser:
    """A program that has this token."""
    return site.browser(Authorization=f"Bearer {token}")


async def test_a_token_is_made_with_proof_shown_once_and_does_what_was_ticked(alice: Browser, site: Site) -> None:
    await alice.get("/security")
    assert f'href="{PATH}"' in alice.page.html
    await alice.get(PATH)
    assert "There is none yet" in alice.page.text
    proof = await alice.follow(await alice.post(PATH, label="My calendar", scopes=["own:read", "own:revoke"]))
    assert "“My calendar”. It may: see how your account stands; rename and delete client passwords" in proof.text
    assert tokens.listed(site.store) == []
    shown = await alice.post(proof.path, way="web-password", password=PASSWORD)
    token = TOKEN.search(shown.html)[1]
    assert shown.response.headers["cache-control"] == "no-store"
    program = calls(site, token)
    assert (await program.get("/api/v1/own/account")).response.json()["account"]["login"] == ALICE
    assert (await program.client.delete("/api/v1/own/browsers/" + "0" * 64)).status_code == 404
    begun = await program.client.post("/api/v1/own/acts/mode-off", json={})
    assert (begun.status_code, begun.json()["scope"]) == (403, "own:ask")
    page = await alice.get(PATH)
    assert "My calendar" in page.text
    assert token not in page.html
    assert (await alice.get(proof.path)).status == 410
    assert "api-token-added" in [row.kind for row in audit(site.store, ALICE)]


async def test_without_the_right_proof_there_is_none(alice: Browser, site: Site) -> None:
    await alice.get(PATH)
    proof = await alice.follow(await alice.post(PATH, label="x", scopes=["own:read"]))
    assert (await alice.post(proof.path, way="web-password", password="wrong")).status == 422
    assert (await alice.post(proof.path, perform="1")).status == 410
    assert tokens.listed(site.store) == []


async def test_the_sign_in_s_own_factor_does_not_count(site: Site) -> None:
    site.add()
    app = await site.enrol_totp()
    browser = site.browser()
    await browser.sign_in()
    code = app.at(site.clock())
    await browser.follow(await browser.post("/signin/second/totp", code=code))
    await browser.get(PATH)
    proof = await browser.follow(await browser.post(PATH, label="x", scopes=["own:read"]))
    assert (await browser.post(proof.path, way="totp", code=code)).status == 422
    site.clock.now += 60
    assert TOKEN.search((await browser.post(proof.path, way="totp", code=app.at(site.clock()))).html)


async def test_a_token_is_revoked(alice: Browser, site: Site) -> None:
    token = TOKEN.search((await made(alice)).html)[1]
    (view,) = tokens.listed(site.store, ALICE)
    await alice.get(PATH)
    page = await alice.follow(await alice.post(f"{PATH}/{view.id}/revoke"))
    assert "“Calendar” is revoked" in page.text
    assert (await calls(site, token).get("/api/v1/own/account")).status == 401
    page = await alice.follow(await alice.post(f"{PATH}/{view.id}/revoke"))
    assert "not there any more" in page.text


async def test_nobody_revokes_another_s(alice: Browser, site: Site) -> None:
    site.add(BOB)
    tokens.add(site.store, BOB, label="Bob's", scopes=["own:read"], actor="test")
    (view,) = tokens.listed(site.store, BOB)
    await alice.get(PATH)
    assert "Bob's" not in alice.page.text
    page = await alice.follow(await alice.post(f"{PATH}/{view.id}/revoke"))
    assert "not there any more" in page.text
    assert tokens.listed(site.store, BOB) == [view]


BAD = [
    ({"label": ""}, "Say what it is for"),
    ({"label": "x" * 10_000}, "too long"),
    ({"scopes": []}, "Tick at least one"),
    ({"scopes": ["admin:write"]}, "Tick at least one"),
    ({"scopes": ["own:everything"]}, "Tick at least one"),
    ({"expires": "yesterday"}, "no date in the future"),
    ({"expires": "2020-01-01"}, "no date in the future"),
]


@pytest.mark.parametrize(("fields", "said"), BAD)
async def test_what_cannot_be_is_said_at_its_field_and_nothing_typed_is_lost(alice: Browser, fields, said: str) -> None:
    await alice.get(PATH)
    typed = {"label": "<b>Kalender</b>", "scopes": ["own:ask"], "expires": "2030-05-01", **fields}
    page = await alice.post(PATH, **typed)
    assert (page.status, said in page.text) == (422, True)
    if "label" not in fields:
        assert 'value="&lt;b&gt;Kalender&lt;/b&gt;"' in page.html
    if "expires" not in fields:
        assert 'value="2030-05-01"' in page.html
    if "scopes" not in fields:
        assert 'value="own:ask" checked' in page.html


async def test_a_form_that_is_out_of_date_is_shown_again_as_it_was_filled_in(alice: Browser) -> None:
    await alice.get(PATH)
    answer = await alice.send(PATH, {"csrf": "old", "label": "Calendar", "scopes": ["own:ask"]})
    assert answer.status == 403
    assert 'value="Calendar"' in answer.html
    assert 'value="own:ask" checked' in answer.html


async def test_only_administrators_are_offered_to_administrate(site: Site) -> None:
    site.add()
    roleholders.set_role(site.store, ALICE, Role.SITE_ADMIN, actor="test")
    app = await site.enrol_totp()
    browser = site.browser()
    await browser.sign_in()
    await browser.follow(await browser.post("/signin/second/totp", code=app.at(site.clock())))
    page = await browser.get(PATH)
    assert 'value="admin:write"' in page.html
    proof = await browser.follow(await browser.post(PATH, label="Reports", scopes=["admin:read"], expires="2030-01-01"))
    assert "see what administrators see" in proof.text
    site.clock.now += 60
    token = TOKEN.search((await browser.post(proof.path, way="totp", code=app.at(site.clock()))).html)[1]
    program = calls(site, token)
    assert (await program.get("/api/v1/accounts")).status == 200
    assert (await program.client.patch("/api/v1/site", json={"max_app_passwords": 3})).status_code == 403
    assert "until you revoke it" in page.text
    site.clock.now = 1_900_000_000.0
    assert (await program.get("/api/v1/accounts")).status == 401


async def test_a_user_is_not_offered_to_administrate(alice: Browser) -> None:
    assert 'value="admin:' not in (await alice.get(PATH)).html


async def test_there_are_so_many_and_no_more(alice: Browser, site: Site) -> None:
    await alice.get(PATH)
    proof = await alice.follow(await alice.post(PATH, label="one too many", scopes=["own:read"]))
    for number in range(MOST_TOKENS):
        tokens.add(site.store, ALICE, label=f"{number}", scopes=["own:read"], actor="test")
    page = await alice.post(proof.path, way="web-password", password=PASSWORD)
    assert (page.status, f"You have {MOST_TOKENS} tokens" in page.text) == (409, True)
    assert "one too many" not in [view.label for view in tokens.listed(site.store, ALICE)]


async def test_the_page_in_chinese(site: Site) -> None:
    site.add()
    browser = site.browser(language="zh-CN")
    await browser.sign_in()
    page = await browser.get(PATH)
    assert "API 令牌" in page.text
    proof = await browser.follow(await browser.post(PATH, label="日历", scopes=["own:read", "own:ask"]))
    assert "“日历”，权限：查看帐号状态；发起操作，再由您在本页面确认" in proof.text
