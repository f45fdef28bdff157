"""Administration in a real browser: every page looked at, and a policy enforced until a user's switch is locked."""

from __future__ import annotations

import time
from pathlib import Path

import pyotp
import pytest
from browser import LOOKS, NARROW, WIDE, Look, Window, chromium, window
from portal_administrators import observed, slow_down
from portal_site import ALICE, PASSWORD, Site
from test_portal_journeys import _text, fresh, portal_of

import site_of_tests
from mailauth.accounts import roleholders
from mailauth.accounts.aliases import add_alias
from mailauth.accounts.domains import add_domain
from mailauth.accounts.mailboxes import add_account
from mailauth.accounts.roles import Role

pytestmark = [pytest.mark.slow, pytest.mark.system]
ROOT = "root@example.test"
NASTY = "<b>Printer</b> \u05d0\u05d1\u05d2 " + "long" * 15


async def root_in(view: Window, site: Site) -> pyotp.TOTP:
    """A site administrator, signed in at this window."""
    site.add(ROOT)
    app = await site.enrol_totp(ROOT)
    roleholders.set_role(site.store, ROOT, Role.SITE_ADMIN, actor="test")
    page = view.page
    await page.goto("/signin")
    await page.fill("#address", ROOT)
    await page.fill("#password", PASSWORD)
    await page.click("main form button")
    await page.fill("#code", fresh(site, app))
    await page.click("main form button")
    await page.wait_for_url("/")
    return app


async def proven(view: Window, site: Site, app: pyotp.TOTP) -> None:
    await view.page.wait_for_url("**/proof/*")
    await view.page.fill("#code", fresh(site, app))
    await view.page.click("main form button")
    await view.page.wait_for_load_state()


def crowd(site: Site, mail: site_of_tests.Site) -> None:
    """Enough of everything to fill the pages."""
    add_domain(site.store, "other.test", actor="test")
    site.add()
    for number in range(60):
        add_account(site.store, f"user{number:02}@{'example' if number % 3 else 'other'}.test", None, actor="test")
    add_account(site.store, "a" * 60 + "@" + "b" * 60 + ".example.test", None, actor="test")
    add_alias(site.store, ALICE, "sales@other.test", actor="test")
    for label in ("我的 iPhone", NASTY):
        mail.mint(ALICE, label=label)
    observed(site, ALICE, "user01@example.test", client=NASTY[:80])
    slow_down(site, ("source", "203.0.113.9"), ("account", str(site.account_id())))


PATHS = {
    "admin-accounts": "/admin/accounts",
    "admin-accounts-none": "/admin/accounts?text=nobody",
    "admin-account": f"/admin/accounts/{ALICE}",
    "admin-account-own": f"/admin/accounts/{ROOT}",
    "admin-account-settings": f"/admin/accounts/{ALICE}/settings",
    "admin-account-policy": f"/admin/accounts/{ALICE}/policy",
    "admin-account-second": f"/admin/accounts/{ALICE}/second-step",
    "admin-account-role": f"/admin/accounts/{ALICE}/role",
    "admin-account-recovery": f"/admin/accounts/{ALICE}/recovery-address",
    "admin-account-alias": f"/admin/accounts/{ALICE}/new-alias",
    "admin-account-reset": f"/admin/accounts/{ALICE}/reset-password",
    "admin-account-delete-all": f"/admin/accounts/{ALICE}/delete-app-passwords",
    "admin-account-erase": f"/admin/accounts/{ALICE}/erase",
    "admin-account-new": "/admin/new-account",
    "admin-domains": "/admin/domains",
    "admin-domain": "/admin/domains/other.test",
    "admin-domain-settings": "/admin/domains/other.test/settings",
    "admin-domain-remove": "/admin/domains/other.test/remove",
    "admin-site": "/admin/site",
    "admin-report": "/admin/report",
    "admin-throttle": "/admin/throttle",
    "admin-audit": "/admin/audit",
    "admin-domain-audit": "/admin/domains/example.test/audit",
    "admin-nothing": "/admin/accounts/nobody@example.test",
}


@pytest.mark.parametrize("look", [*LOOKS, Look("en", NARROW, "light"), Look("zh", WIDE, "dark")], ids=str)
async def test_every_page_of_administration_can_be_seen_and_worked_with(tmp_path: Path, look: Look) -> None:
    mail = site_of_tests.Site(tmp_path)
    async with portal_of(mail, "totp") as site, chromium() as browser, window(browser, look, site.origin) as view:
        crowd(site, mail)
        app = await root_in(view, site)
        page = view.page
        for name, path in PATHS.items():
            await page.goto(path)
            await view.seen(name)
        await page.goto("/admin/new-account")
        await page.fill("#login", "someone@elsewhere.test")
        await page.click("main form.card button")
        await view.seen("admin-account-new-refused")
        assert await page.input_value("#login") == "someone@elsewhere.test"
        await page.goto(f"/admin/accounts/{ALICE}/enrolment-code")
        await page.click("main form button")
        await page.wait_for_url("**/proof/*")
        await view.seen("admin-proof")
        await proven(view, site, app)
        await view.seen("admin-code")
        await page.click("[data-done]")
        await page.wait_for_url("/admin/accounts/*")


@pytest.mark.parametrize("look", LOOKS, ids=str)
async def test_a_policy_is_observed_then_enforced_and_the_users_switch_locks(tmp_path: Path, look: Look) -> None:
    mail = site_of_tests.Site(tmp_path)
    async with (
        portal_of(mail, "totp") as site,
        chromium() as browser,
        window(browser, look, site.origin) as view,
        window(browser, look, site.origin) as user,
    ):
        site.add()
        app = await root_in(view, site)
        page = view.page
        await user.page.goto("/signin")
        await user.page.fill("#address", ALICE)
        await user.page.fill("#password", PASSWORD)
        await user.page.click("main form button")
        await user.page.wait_for_url("/")
        await user.page.goto("/passwords")
        assert await user.page.locator('a[href="/mode"]').count() == 1

        # enforcing at once leads through observing
        await page.click('nav a[href="/admin/accounts"]')
        await page.click('nav a[href="/admin/site"]')
        await page.click('main a[href="/admin/site/policy"]')
        await page.check('input[value="enforced"]')
        await page.click("main form button")
        await view.seen("admin-observe-first")
        assert await page.is_checked('input[value="enforced"]')
        await page.click('button[value="observe"]')
        await proven(view, site, app)
        await page.wait_for_url("/admin/site")
        await user.page.reload()
        assert await user.page.locator('a[href="/mode"]').count() == 1

        # the report says whom it would stop, as a page and as a file
        observed(site, ALICE)
        await page.goto("/admin/report")
        await view.seen("admin-report-observed")
        async with page.expect_download() as download:
            await page.click("a[download]")
        assert ALICE in _text(await (await download.value).path())

        # with a date the user is told of it; without one, it takes one more click
        await page.click('main a[href="/admin/site/policy?policy=enforced"]')
        await page.fill("#day", time.strftime("%Y-%m-%d", time.gmtime(time.time() + 20 * 86400)))
        await page.click("main form button")
        await proven(view, site, app)
        await view.seen("admin-site-dated")
        await user.page.reload()
        await user.seen("passwords-dated")
        await page.goto("/admin/site/policy")
        await page.fill("#day", "")
        await page.click("main form button")
        await view.seen("admin-stops-now")
        await page.click('button[name="anyway"]')
        await proven(view, site, app)
        await page.wait_for_url("/admin/site")
        await view.seen("admin-site-enforced")
        await user.page.reload()
        assert await user.page.locator('a[href="/mode"]').count() == 0
        await user.seen("passwords-locked")
        await user.page.goto("/mode")
        assert await user.page.locator("main form").count() == 0
        await user.seen("mode-locked")
