"""One way through everything, on each database."""

from __future__ import annotations

import pytest
from outside_world import KINDS
from portal_site import ALICE, PASSWORD, Site
from test_portal_passwords import SHOWN, named
from test_portal_second import Hands

from mailauth.accounts import apppasswords
from mailauth.accounts.mailboxes import show_account


@pytest.fixture
def site(database, ring) -> Site:
    return Site(database.store, ring, kinds=KINDS)


async def test_from_the_first_sign_in_to_the_last_deletion(site: Site) -> None:
    site.add()
    hands, browser = Hands(site), site.browser()
    await browser.sign_in()
    for kind in KINDS:
        assert (await hands.set_up(browser, kind)).path == "/security"
        site.clock.now += 61
    assert show_account(site.store, ALICE).mode == "on"
    for kind in KINDS:
        again = site.browser(language="zh")
        await again.sign_in()
        assert (await hands.answer(again, kind)).to == "/", kind
        site.clock.now += 61
    await again.get("/passwords/new")
    proof = await again.follow(await again.post("/passwords/new", services=["imap", "smtp"]))
    page = await again.follow(await again.post(proof.path, way="totp", code=hands.app.at(site.clock())))
    page = await named(again, page, "手机")
    assert SHOWN.search(page.html), page.text
    assert [view.label for view in apppasswords.listed(site.store, ALICE)] == ["手机"]
    await again.get("/mode")
    proof = await again.follow(await again.post("/mode", mode="off", delete_all="1"))
    site.clock.now += 60
    page = await again.follow(await again.post(proof.path, way="totp", code=hands.app.at(site.clock())))
    assert page.path == "/passwords"
    assert apppasswords.listed(site.store, ALICE) == []
    await again.get("/password")
    fields = {"current": PASSWORD, "new": "a brand new secret", "again": "a brand new secret"}
    assert (await again.post("/password", **fields)).to == "/security"
    for path in ("/", "/activity", "/notices", "/sessions"):
        assert (await again.get(path)).status == 200
    page = await again.follow(await again.post("/sessions", others="1"))
    assert "已让其他浏览器退出" in page.text
    await again.post("/signout")
    assert (await again.get("/")).to.startswith("/signin")
