"""Whole journeys in a real browser, each from its first page to the mail program that works, or does not any more."""

from __future__ import annotations

import imaplib
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pyotp
import pytest
from browser import LOOKS, Look, Window, chromium, window
from outside_world import KINDS
from playwright.async_api import expect
from portal_site import ALICE, PASSWORD, MailServer, Site

import site_of_tests
from mailauth.accounts.sessions import live_sessions
from mailauth.attempt import Service
from mailauth.factors.factor import Hashing
from mailauth.hashing import records
from mailauth.portal.serving import PortalServer
from mailauth.serving.listen import bind

pytestmark = [pytest.mark.slow, pytest.mark.system]
HASHING = Hashing(site_of_tests.QUICK.hash, records.verify)


class Ahead:
    """The clock of this machine, put forward."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Connections:
    """What is open now, asked of every process."""

    def __init__(self, store) -> None:
        self.store = store

    async def open_now(self, account_id: int, login: str):
        told = live_sessions(self.store, login, actor="test").sessions
        ids = [session.app_password for session in told]
        return {row_id: ids.count(row_id) for row_id in ids}


@asynccontextmanager
async def portal_of(mail: site_of_tests.Site, *kinds: str) -> AsyncIterator[Site]:
    """A portal over the store of this mail server, and the outside world, each served on a port of its own."""
    socks = {name: bind("127.0.0.1", 0) for name in ("portal", "phone", "wechat", "dingtalk")}
    urls = {name: f"http://localhost:{sock.getsockname()[1]}" for name, sock in socks.items()}
    ports = [(str(service), mail.ports[service, "implicit"]) for service in Service]
    site = Site(
        mail.store,
        mail.ring,
        kinds=kinds,
        origin=urls["portal"],
        clock=Ahead(),
        hashing=HASHING,
        connections=Connections(mail.store),
        servers=tuple([MailServer(service, "localhost", port, True) for service, port in ports]),
        places={**urls, "wechat_api": urls["wechat"], "dingtalk_api": urls["dingtalk"]},
    )
    outside = site.outside
    applications = {
        "portal": site.app,
        "phone": outside.phone.application,
        "wechat": outside.wechat.application,
        "dingtalk": outside.dingtalk.application,
    }
    async with AsyncExitStack() as stack:
        for name, application in applications.items():
            server = PortalServer(application, [socks[name]], None)
            await server.start()
            stack.push_async_callback(server.stop)
        yield site


async def signed_in(view: Window) -> None:
    """The sign-in, with the keyboard alone."""
    page = view.page
    await page.goto("/")
    await view.seen_both("signin")
    await page.keyboard.type(ALICE)
    await page.keyboard.press("Tab")
    await page.keyboard.type(PASSWORD)
    await page.keyboard.press("Enter")
    await page.wait_for_url("/")


@pytest.mark.parametrize("look", LOOKS, ids=str)
async def test_a_client_password_is_made_used_and_deleted(tmp_path: Path, look: Look) -> None:
    mail = site_of_tests.Site(tmp_path)
    label = "我的 <iPhone>"
    with mail.serving():
        async with portal_of(mail) as site, chromium() as browser, window(browser, look, site.origin) as view:
            site.add()
            page = view.page
            await signed_in(view)
            await view.seen_both("home")
            await page.click('main a[href="/passwords/new"]')
            await view.seen_both("generate")
            await page.click("main summary")
            await view.seen_both("generate-more")
            await page.click("main form button")
            await page.wait_for_url("**/proof/*")
            await view.seen_both("proof")
            await page.fill("#password", PASSWORD)
            await page.click("main form button")

            # after the proof its name; a wrong one is told, and the proof stays good
            await expect(page.locator("#label")).to_be_focused()
            await view.seen_both("name")
            await page.keyboard.type("x" * 101)
            await page.keyboard.press("Enter")
            await expect(page.locator("#label-error")).to_be_visible()
            await expect(page.locator("#label")).to_have_value("x" * 101)
            await view.seen_both("name-refused")
            await page.go_back()
            await page.reload()
            await expect(page.locator("#label")).to_have_value("")
            await page.fill("#label", label)
            await page.click("main form button")
            await page.wait_for_selector("#secret")
            await view.seen_both("once")

            # what the page shows is all that a mail program needs
            groups = await page.locator("#secret span").all_inner_texts()
            assert [len(group) for group in groups] == [4, 4, 4, 4]
            await page.click("[data-copy]")
            await expect(page.locator("[data-told]")).not_to_be_empty()
            password = await page.evaluate("navigator.clipboard.readText()")
            assert password == "".join(groups)
            _, host, port, _ = await page.locator("main tbody tr").first.locator("th, td").all_inner_texts()
            login = await page.inner_text("main dl dd")
            program = imaplib.IMAP4_SSL(host, int(port), ssl_context=mail.client_tls, timeout=20)
            assert program.login(login, password)[0] == "OK"
            assert mail.ask(Service.IMAP, ALICE, PASSWORD).startswith(site_of_tests.REFUSED[Service.IMAP])

            # it asks before it is left
            asked = []
            page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss())[1])
            await page.evaluate("location.href = '/'")
            await page.wait_for_timeout(0)
            assert asked == ["beforeunload"]
            await page.click("[data-done]")
            await page.wait_for_url("/passwords")
            assert label in await page.inner_text("ul.list")
            await view.seen_both("passwords")

            # nothing brings it back
            await page.go_back()
            assert password not in (await page.content()).replace(" ", "")
            await view.seen_both("proof-gone")

            await page.goto("/passwords")
            await page.click("ul.list a.danger")
            await view.seen_both("delete")
            await page.click("main form button.danger")
            await page.wait_for_url("/passwords")
            said = await page.inner_text("p.done")
            assert label in said
            assert "1" in said  # the program's connection
            await view.seen_both("deleted")
            with pytest.raises(imaplib.IMAP4.abort):
                program.noop()
            program.shutdown()
            assert mail.ask(Service.IMAP, login, password).startswith(site_of_tests.REFUSED[Service.IMAP])


async def proven(view: Window, site: Site, app: pyotp.TOTP | None) -> None:
    """The web password, the app, or both, as the page of a proof asks for it."""
    page = view.page
    if await page.locator("#password").count():
        await page.fill("#password", PASSWORD)
        await page.click("main form button")
        await page.wait_for_load_state()
    if app is not None and await page.locator("#code").count():
        await page.fill("#code", fresh(site, app))
        await page.click("main form button")
        await page.wait_for_load_state()


def fresh(site: Site, app: pyotp.TOTP) -> str:
    """A code of a time that no code was used of: a minute later."""
    site.clock.ahead_s += 60
    return app.at(site.clock())


@pytest.mark.parametrize("look", LOOKS, ids=str)
async def test_each_second_factor_is_set_up_and_used(tmp_path: Path, look: Look) -> None:
    mail = site_of_tests.Site(tmp_path)
    async with portal_of(mail, *KINDS) as site, chromium() as browser, window(browser, look, site.origin) as view:
        site.add()
        page = view.page
        await signed_in(view)
        cdp = await view.context.new_cdp_session(page)
        await cdp.send("WebAuthn.enable")
        options = {"protocol": "ctap2", "transport": "internal", "hasUserVerification": True, "isUserVerified": True}
        authenticator = {**options, "automaticPresenceSimulation": True}
        await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": authenticator})

        await page.goto("/security")
        await view.seen_both("security-empty")
        app = await _totp(view, site)
        await _sms(view, site, app)
        for provider in ("wechat", "dingtalk"):
            await _provider(view, site, provider, app)
        await _passkey(view, site, app)
        codes = await _codes(view, site, app)
        await page.goto("/security")
        await view.seen_both("security-full")

        for kind in KINDS:
            await page.click('form[action="/signout"] button')
            await page.wait_for_url("/signin")
            await page.fill("#address", ALICE)
            await page.fill("#password", PASSWORD)
            await page.click("main form button")
            await page.wait_for_url("**/signin/second/totp")
            await page.click('a[href^="/signin/second?all=1"]')
            if kind == "totp":
                await view.seen_both("second-choose")
            await page.click(f'a[href="/signin/second/{kind}"]')
            await view.seen_both(f"second-{kind}")
            await _answered(view, site, kind, app, codes)
            await page.wait_for_url("/")
        await view.seen_both("home-protected")


async def _begun(view: Window, site: Site, kind: str, app: pyotp.TOTP | None) -> None:
    await view.page.goto("/security")
    await view.page.click(f'form[action="/security/{kind}/add"] button')
    await view.page.wait_for_url("**/proof/*")
    await proven(view, site, app)


async def _totp(view: Window, site: Site) -> pyotp.TOTP:
    page = view.page
    await _begun(view, site, "totp", None)
    await view.seen_both("bind-totp")
    await page.click("main summary")
    app = pyotp.TOTP((await page.inner_text("p.mono")).replace(" ", ""))
    await page.fill("#code", "000000")
    await page.click("main form button")
    await view.seen_both("bind-totp-wrong")
    await page.fill("#code", fresh(site, app))
    await page.fill("#name", "我的手机")
    await page.click("main form button")
    await page.wait_for_url("/security")
    return app


async def _sms(view: Window, site: Site, app: pyotp.TOTP) -> None:
    page = view.page
    await _begun(view, site, "sms", app)
    await page.fill("#number", "+49 170 1234567")
    await page.click("main form button")
    await view.seen_both("bind-sms-abroad")
    await page.fill("#number", "138 0013 8000")
    await page.click("main form button")
    await page.wait_for_url("**/security/sms/confirm?question=*")
    await expect(page.locator("#resend")).to_be_visible()
    await view.seen_both("bind-sms")
    await page.fill("#code", site.outside.texted())
    await page.click("main form button")
    await page.wait_for_url("/security")


async def _provider(view: Window, site: Site, provider: str, app: pyotp.TOTP) -> None:
    page = view.page
    await _begun(view, site, provider, app)
    await view.seen_both(f"bind-{provider}")
    await page.fill("#name", "扫一扫")
    await page.click("main form button")
    await page.click("text=alice")
    await page.wait_for_url("/security")


async def _passkey(view: Window, site: Site, app: pyotp.TOTP) -> None:
    page = view.page
    await _begun(view, site, "webauthn", app)
    await view.seen_both("bind-webauthn")
    await page.fill("#name", "Laptop")
    await page.click("main form button")
    await page.wait_for_url("/security")  # the browser asks its authenticator by itself


async def _codes(view: Window, site: Site, app: pyotp.TOTP) -> list[str]:
    page = view.page
    await _begun(view, site, "recovery-codes", app)
    await view.seen_both("recovery-codes")
    codes = await page.locator("ol.codes li").all_inner_texts()
    async with page.expect_download() as download:
        await page.click("a[download]")
    kept = _text(await (await download.value).path())
    assert len(codes) == 10
    assert all(code in kept for code in codes)
    await page.click("form[data-done] button")
    await page.wait_for_url("/security")
    return codes


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


async def _answered(view: Window, site: Site, kind: str, app: pyotp.TOTP, codes: list[str]) -> None:
    page = view.page
    match kind:
        case "totp":
            await page.fill("#code", fresh(site, app))
            await page.click("main form button")
        case "recovery-codes":
            await page.fill("#code", codes.pop())
            await page.click("main form button")
        case "sms":
            await page.click("main form button")
            await page.wait_for_url("**asked=1*")
            await view.seen_both("second-sms-sent")
            await page.fill("#code", site.outside.texted())
            await page.click("main form button")
        case "webauthn":
            await page.click("main form button")
        case _:
            await page.click("main form button")
            await page.click("text=alice")


@pytest.mark.parametrize("look", LOOKS, ids=str)
async def test_every_page_can_be_seen_and_worked_with(tmp_path: Path, look: Look) -> None:
    """Whatever the journeys do not come by: each is looked at in every look."""
    mail = site_of_tests.Site(tmp_path)
    async with portal_of(mail, *KINDS) as site, chromium() as browser, window(browser, look, site.origin) as view:
        site.add()
        for number, label in enumerate(("我的 iPhone", "Outlook at work", "<b>Printer</b> אבג " + "long" * 20)):
            mail.mint(ALICE, label=label, **({"services": ["smtp"], "networks": ["192.0.2.0/24"]} if number else {}))
        page = view.page
        await page.goto("/signin")
        await page.fill("#address", "nobody@example.test")
        await page.click("main form button")
        await view.seen_both("signin-missing")
        await signed_in(view)
        for name, path in PATHS.items():
            await page.goto(path)
            await view.seen_both(name)
        await page.goto("/passwords/new")
        await page.click("main summary")
        await page.fill("#networks", "nonsense")
        await page.click("main form button")
        await view.seen_both("generate-refused")
        site.change(two_factor=True)
        await page.goto("/")
        await page.wait_for_url("/enrol")
        await view.seen_both("enrol")
        await page.click('a[href="/enrol/sms/begin"]')
        await view.seen_both("enrol-begin")


PATHS = {
    "home-unprotected": "/",
    "passwords-several": "/passwords",
    "rename": "/passwords/1/rename",
    "delete-one": "/passwords/3/delete",
    "delete-all": "/passwords/delete-all",
    "mode": "/mode",
    "web-password": "/password",
    "sessions": "/sessions",
    "activity": "/activity",
    "notices": "/notices",
    "recovery-address": "/security/recovery-address",
    "personal": "/security/data",
    "tokens": "/security/tokens",
    **{f"begin-{kind}": f"/security/{kind}/begin" for kind in KINDS},
    "reset-over": "/reset?code=x",
    "not-found": "/nothing-here",
}


async def test_everything_but_copying_and_passkeys_works_without_scripts(tmp_path: Path) -> None:
    mail = site_of_tests.Site(tmp_path)
    async with (
        portal_of(mail, "sms", "wechat") as site,
        chromium() as browser,
        window(browser, LOOKS[0], site.origin, scripts=False) as view,
    ):
        site.add()
        page = view.page
        await page.goto("/signin")
        await page.fill("#address", ALICE)
        await page.fill("#password", PASSWORD)
        await page.click("main form button")
        for kind in ("sms", "wechat"):
            await page.goto("/security")
            await page.click(f'form[action="/security/{kind}/add"] button')
            await page.fill("#password", PASSWORD)
            await page.click("main form button")
            if kind == "wechat":  # the second one takes the first
                site.clock.ahead_s += 61
                await page.click("main form button")
                await page.fill("#code", site.outside.texted())
                await page.click("main form button")
            if kind == "sms":
                await page.fill("#number", "13800138000")
                await page.click("main form button")
                await page.fill("#code", site.outside.texted())
                await page.click("main form button >> nth=0")
            else:
                await page.click("main form button")
                await page.click("a[data-follow]")
                await page.click("text=alice")
            await page.wait_for_url("/security")
        await page.click('header button[value="zh"]')
        await page.goto("/passwords/new")
        await page.click("main form button")
        site.clock.ahead_s += 61
        await page.click("main form button")
        await page.fill("#code", site.outside.texted())
        await page.click("main form button >> nth=0")
        await page.fill("#label", "手机")
        await page.click("main form button")
        assert len((await page.inner_text("#secret")).replace("\n", "").replace(" ", "")) == 16
        await page.click("[data-done]")
        assert "手机" in await page.inner_text("ul.list")
