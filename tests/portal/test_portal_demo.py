"""`mailauth demo` in a real browser: from the web password to a mail program that works, and does not any more."""

from __future__ import annotations

import imaplib
import re
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import LOOKS, Window, chromium, window
from playwright.async_api import expect

from commandline import Serving, free_offset, serving
from mailauth.demo.memory import Memory

pytestmark = [pytest.mark.slow, pytest.mark.system]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def demo(folder: Path) -> Iterator[Serving]:
    with serving("demo", "--dir", str(folder), "--port-offset", str(free_offset())) as server:
        server.wait_for("'))\"")
        yield server


def memory(folder: Path) -> Memory:
    kept = Memory.read(folder)
    assert kept is not None
    return kept


async def sign_in(view: Window, login: str, password: str) -> None:
    await view.page.goto("/signin")
    await view.page.fill("#address", login)
    await view.page.fill("#password", password)
    await view.page.click("main form button")
    await view.page.wait_for_url(re.compile(r"/(signin/second.*)?$"))


async def texted(view: Window) -> str:
    """The code on the simulated telephone, which stands open in another tab."""
    phone = await view.context.new_page()
    await phone.goto("/simulated/phone/")
    code = phone.get_by_text(re.compile(r"\+8613800138000: .*\d{6}")).first
    await expect(code).to_be_visible()
    assert "模拟页面" in await phone.inner_text("main")
    found = re.search(r"\d{6}", (await code.inner_text()).partition(":")[2])
    assert found
    await phone.close()
    return found[0]


async def bind_phone(view: Window, password: str) -> None:
    page = view.page
    await page.goto("/security")
    await page.click('form[action="/security/sms/add"] button')
    await page.fill("#password", password)
    await page.click("main form button")
    await page.fill("#number", "13800138000")
    await page.click("main form button")
    await page.fill("#code", await texted(view))
    await page.click("main form button >> nth=0")
    await page.wait_for_url("/security")


async def bind_by_scanning(view: Window, kind: str, password: str) -> None:
    page = view.page
    await page.goto("/security")
    await page.click(f'form[action="/security/{kind}/add"] button')
    await page.fill("#password", password)
    await page.click("main form button")
    await page.click("main form button")
    await page.wait_for_url(re.compile("/simulated/"))
    assert "模拟页面" in await page.inner_text("main")
    await page.click("text=alice")
    await page.wait_for_url("/security")


async def test_the_demo_lets_its_account_make_and_delete_client_passwords(demo: Serving, folder: Path) -> None:
    kept = memory(folder)
    trust = ssl.create_default_context(cafile=kept.ca)
    async with chromium() as browser, window(browser, LOOKS[0], kept.portal) as view:
        page = view.page
        await sign_in(view, kept.account, kept.web_password)
        await bind_by_scanning(view, "wechat", kept.web_password)
        await page.goto("/passwords/new")
        await page.click("main form button")
        await page.click("main form button")  # to WeChat
        await page.wait_for_url(re.compile("/simulated/"))
        await page.click("text=alice")
        await page.fill("#label", "Laptop")
        await page.click("main form button")
        shown = (await page.inner_text("#secret")).replace("\n", "").replace(" ", "")
        assert str(kept.ports["imap"]["implicit"]) in await page.inner_text("table")
        await page.click("[data-done]")
        with imaplib.IMAP4_SSL("localhost", kept.ports["imap"]["implicit"], ssl_context=trust) as imap:
            imap.login(kept.account, shown)
            imap.select()
            await page.goto("/passwords")
            row = page.locator("ul.list > li", has_text="Laptop")
            await expect(row.locator("dd").nth(1)).to_have_text("1")
            await row.locator("a.danger").click()
            await page.click("main form button")
            assert "1" in await page.inner_text("[role=status]")
            with pytest.raises((imaplib.IMAP4.abort, imaplib.IMAP4.error, OSError)):
                imap.noop()
        with (
            imaplib.IMAP4_SSL("localhost", kept.ports["imap"]["implicit"], ssl_context=trust) as imap,
            pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"),
        ):
            imap.login(kept.account, shown)
    assert demo.end() == 0
    log = demo.seen[demo.seen.index("'))\"") :]
    assert shown not in log
    assert kept.web_password not in log


async def test_the_demos_telephone_and_administrator(demo: Serving, folder: Path) -> None:
    kept = memory(folder)
    async with chromium() as browser:
        async with window(browser, LOOKS[1], kept.portal) as view:
            await sign_in(view, kept.account, kept.web_password)
            await bind_phone(view, kept.web_password)
            assert "138****8000" in await view.page.inner_text("main")
        async with window(browser, LOOKS[0], kept.portal) as view:
            await sign_in(view, kept.administrator, kept.administrator_password)
            await bind_by_scanning(view, "dingtalk", kept.administrator_password)
            await view.page.click("header form[action='/signout'] button")
            await view.page.wait_for_url(re.compile("/signin"))
            await sign_in(view, kept.administrator, kept.administrator_password)
            await view.page.click("main form button")  # the second step
            await view.page.wait_for_url(re.compile("/simulated/"))
            await view.page.click("text=alice")
            await view.page.click("header a[href^='/admin']")
            await expect(view.page.get_by_text(kept.account)).to_be_visible()
    assert demo.end() == 0
