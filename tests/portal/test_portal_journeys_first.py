"""First enrolments in a real browser: each second factor by somebody who had none, by will and by demand."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pyotp
import pytest
from browser import NARROW, WIDE, Look, Window, chromium, window
from outside_world import KINDS
from playwright.async_api import expect
from portal_site import ALICE, PASSWORD, Site
from test_portal_journeys import fresh, portal_of, signed_in

import site_of_tests
from mailauth.accounts import vouchers
from mailauth.accounts.mailboxes import show_account
from mailauth.accounts.unit import changing

pytestmark = [pytest.mark.slow, pytest.mark.system]
DAY_S = 86400.0
NUMBER = "138 0013 8000"
# Each journey once; every language in every width, every width in every colour.
FIRST = (
    ("sms", Look("zh", NARROW, "light")),
    ("wechat", Look("zh", WIDE, "dark")),
    ("dingtalk", Look("en", NARROW, "dark")),
    ("totp", Look("en", WIDE, "light")),
    ("webauthn", Look("zh", WIDE, "light")),
)
DEMANDED = (
    ("sms", Look("en", WIDE, "dark")),
    ("wechat", Look("en", NARROW, "light")),
    ("dingtalk", Look("zh", WIDE, "light")),
    ("totp", Look("zh", NARROW, "dark")),
    ("webauthn", Look("en", NARROW, "dark")),
)


class Somebody:
    """At a window, with a phone and a key."""

    def __init__(self, view: Window, site: Site) -> None:
        self.view = view
        self.page = view.page
        self.site = site
        self.app: pyotp.TOTP | None = None

    async def plug_in_a_key(self) -> None:
        """That asks for a finger, and gets one."""
        cdp = await self.view.context.new_cdp_session(self.page)
        await cdp.send("WebAuthn.enable")
        kind = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
        works = {"isUserVerified": True, "automaticPresenceSimulation": True}
        await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": {**kind, **works}})

    async def press(self) -> None:
        await self.page.click("main form button >> nth=0")

    async def set_up(self, kind: str) -> None:
        """From the page that begins it to the one that says that it is done."""
        page, view = self.page, self.view
        if kind != "totp":
            await view.seen_both(f"first-{kind}-begin")
            if kind == "sms":
                await page.fill("#number", NUMBER)
            await page.fill("#name", "我的 <phone>")
            await self.press()
        if kind in {"wechat", "dingtalk"}:
            await page.click("text=alice")
        if kind == "sms":
            await page.wait_for_url("**/sms/confirm?question=*")
            await expect(page.locator("button[data-wait]")).to_be_disabled()
            await view.seen_both("first-sms-confirm")
            await page.fill("#code", self.site.outside.texted())
            await self.press()
        if kind == "totp":
            await page.wait_for_url("**/totp/confirm?question=*")
            await view.seen_both("first-totp-confirm")
            await page.click("main ol summary")
            self.app = pyotp.TOTP((await page.inner_text("p.mono")).replace(" ", ""))
            await page.fill("#code", fresh(self.site, self.app))
            await page.fill("#name", "我的 <phone>")
            await self.press()

    async def use(self, kind: str) -> None:
        """What is asked for on this page."""
        page = self.page
        if kind == "totp":
            assert self.app is not None
            await page.fill("#code", fresh(self.site, self.app))
        await self.press()
        if kind in {"wechat", "dingtalk"}:
            await page.click("text=alice")
        if kind == "sms":
            await page.wait_for_url("**asked=1*")
            await page.fill("#code", self.site.outside.texted())
            await self.press()

    async def sign_in_again(self, kind: str) -> None:
        page = self.page
        self.site.clock.ahead_s += 61
        await page.click('form[action="/signout"] button')
        await page.wait_for_url("/signin")
        await page.fill("#address", ALICE)
        await page.fill("#password", PASSWORD)
        await self.press()
        await page.wait_for_url(f"**/signin/second/{kind}")
        await self.view.seen_both(f"first-{kind}-second")
        await self.use(kind)
        await page.wait_for_url("/")


@asynccontextmanager
async def somebody(tmp_path: Path, look: Look) -> AsyncIterator[Somebody]:
    """Who has an account, and nothing else."""
    mail = site_of_tests.Site(tmp_path)
    async with portal_of(mail, *KINDS) as site, chromium() as browser, window(browser, look, site.origin) as view:
        site.add()
        person = Somebody(view, site)
        await person.plug_in_a_key()
        yield person


@pytest.mark.parametrize(("kind", "look"), FIRST, ids=str)
async def test_the_first_second_factor(tmp_path: Path, kind: str, look: Look) -> None:
    async with somebody(tmp_path, look) as person:
        page, view, site = person.page, person.view, person.site
        await signed_in(view)
        await page.click('main a.button[href="/security"]')
        await expect(page.locator("details.guide")).to_have_attribute("open", "")  # the help to choose is open
        await view.seen_both("first-security")
        await page.click(f'ul.list form[action="/security/{kind}/add"] button')
        await page.wait_for_url("**/proof/*")
        await page.fill("#password", "not this one")
        await person.press()
        await view.seen_both("first-proof-wrong")
        await page.fill("#password", PASSWORD)
        await person.press()
        await person.set_up(kind)
        await page.wait_for_url("/security")
        await view.seen_both(f"first-{kind}-done")
        assert "我的 <phone>" in await page.inner_text("ul.list >> nth=0")
        assert show_account(site.store, ALICE).mode == "on"

        await person.sign_in_again(kind)
        await page.goto("/notices")
        await view.seen_both(f"first-{kind}-notices")
        await page.click('button[name="all"]')
        await expect(page.locator('button[name="notice"]')).to_have_count(0)

        # and with it the first client password
        site.clock.ahead_s += 61
        await page.goto("/security")
        await page.click("p.note a")
        await person.press()
        await view.seen_both(f"first-{kind}-proof")
        await person.use(kind)
        await page.fill("#label", "手机")
        await view.seen_both(f"first-{kind}-name")
        await person.press()
        await page.wait_for_selector("#secret")
        assert re.fullmatch(r"\w{4}\s\w{4}\s\w{4}\s\w{4}", await page.inner_text("#secret"))
        await page.click("[data-done]")


@pytest.mark.parametrize(("kind", "look"), DEMANDED, ids=str)
async def test_a_demanded_second_factor_comes_before_everything_else(tmp_path: Path, kind: str, look: Look) -> None:
    async with somebody(tmp_path, look) as person:
        page, view, site = person.page, person.view, person.site
        site.change(two_factor=True)
        await page.goto("/passwords")
        await page.fill("#address", ALICE)
        await page.fill("#password", PASSWORD)
        await person.press()
        await page.wait_for_url("**/enrol?next=/passwords")
        for path in (
            "/",
            "/passwords",
            "/passwords/new",
            "/security",
            f"/security/{kind}/begin",
            "/mode",
            "/signin/second",
        ):
            await page.goto(path)
            assert page.url == f"{site.origin}/enrol", path
        await view.seen_both("demanded")
        choice = (
            f'ul.list a[href="/enrol/{kind}/begin"]'
            if kind != "totp"
            else 'ul.list form[action="/enrol/totp/begin"] button'
        )
        await page.click(choice)
        await person.set_up(kind)
        await page.wait_for_url("/passwords")  # the page that was asked for first
        await view.seen_both("demanded-done")
        await expect(page.locator("p.lock")).to_be_visible()  # the switch is on, and says why it stays so
        await expect(page.locator('a[href="/mode"]')).to_have_count(0)
        await view.seen_both("demanded-locked")
        await page.goto("/security")
        await page.click(f'a[href^="/security/{kind}/remove"]')
        await view.seen_both("demanded-last")
        await expect(page.locator(f'form[action="/security/{kind}/remove"]')).to_have_count(0)
        await person.sign_in_again(kind)


@pytest.mark.parametrize("look", (Look("en", NARROW, "dark"), Look("zh", WIDE, "light")), ids=str)
async def test_who_comes_too_late_needs_an_administrators_code(tmp_path: Path, look: Look) -> None:
    async with somebody(tmp_path, look) as person:
        page, view, site = person.page, person.view, person.site
        site.change(two_factor=True)
        site.clock.ahead_s += 15 * DAY_S
        with changing(site.store, "test", site.clock()) as unit:
            account = {"id": site.account_id(), "login": ALICE}
            code = vouchers.issue(unit, account, vouchers.Kind.ENROLMENT).code
        await page.goto("/signin")
        await page.fill("#address", ALICE)
        await page.fill("#password", PASSWORD)
        await person.press()
        await page.wait_for_url("/enrol")
        await page.fill("#code", "not-a-code")
        await person.press()
        await view.seen_both("demanded-late")
        await page.fill("#code", code)
        await person.press()
        await page.click('ul.list form[action="/enrol/totp/begin"] button')
        await person.set_up("totp")
        await page.wait_for_url("/")
