"""A real browser for tests: Debian's Chromium, driven by Playwright; what it shows is kept and checked.

Screenshots go into the folder that $MAILAUTH_SCREENSHOTS names, if it names one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Error, Page, async_playwright

CHROMIUM = os.environ.get("MAILAUTH_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
AXE = Path(__file__).with_name("axe") / "axe.min.js"
FOLDER = os.environ.get("MAILAUTH_SCREENSHOTS")
LOCALES = {"en": "en-GB", "zh": "zh-CN"}
SERIOUS = {"serious", "critical"}
PATIENCE_MS = 30_000
HEIGHT = 800
TRIES = 5


@dataclass(frozen=True)
class Look:
    """How somebody sees the pages."""

    language: str
    width: int
    scheme: str

    @property
    def opposite(self) -> Look:
        """In the same language, in the other width and the other colours."""
        width = NARROW if self.width == WIDE else WIDE
        return Look(self.language, width, "light" if self.scheme == "dark" else "dark")

    def __str__(self) -> str:
        return f"{self.language}-{self.width}-{self.scheme}"


WIDE, NARROW = 1280, 375
LOOKS = (Look("en", WIDE, "light"), Look("zh", NARROW, "dark"))
ALL_LOOKS = (*LOOKS, Look("en", NARROW, "light"), Look("zh", WIDE, "dark"))


def required() -> None:
    """Skip where there is no such browser, or nothing to write Chinese with; in CI that is a failure."""
    reason = _missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def _missing() -> str:
    if not Path(CHROMIUM).exists():
        return f"there is no Chromium at {CHROMIUM}: apt install chromium, or name one in MAILAUTH_CHROMIUM"
    if shutil.which("fc-list") is None:
        return "fc-list is not there to find fonts with: apt install fontconfig"
    fonts = subprocess.run(["fc-list", ":lang=zh-cn"], capture_output=True, text=True, check=False).stdout
    return "" if fonts.strip() else "there is no font for Chinese: apt install fonts-noto-cjk"


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """The browser itself."""
    required()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@asynccontextmanager
async def window(browser: Browser, look: Look, origin: str, *, scripts: bool = True) -> AsyncIterator[Window]:
    """A window with cookies of its own; at the end, nothing in it may have complained."""
    context = await browser.new_context(
        locale=LOCALES[look.language],
        viewport={"width": look.width, "height": HEIGHT},
        color_scheme="dark" if look.scheme == "dark" else "light",
        timezone_id="Asia/Shanghai",
        reduced_motion="reduce",  # nothing is looked at half-way from one colour to another
        permissions=["clipboard-read", "clipboard-write"],
        base_url=origin,
        java_script_enabled=scripts,
    )
    context.set_default_timeout(PATIENCE_MS)
    view = Window(context, await context.new_page(), look)
    try:
        yield view
    finally:
        await context.close()
    assert not view.complaints


class Window:
    """One window. complaints: of the browser, such as what the Content-Security-Policy forbade."""

    def __init__(self, context: BrowserContext, page: Page, look: Look) -> None:
        self.context = context
        self.page = page
        self.look = look
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        status = "Failed to load resource: the server responded with a status of"  # what tests bring about on purpose
        if message.type in {"error", "warning"} and not message.text.startswith(status):
            self.complaints.append(message.text)

    async def seen(self, name: str) -> None:
        """Keep a picture, and see that nothing is seriously wrong for people who see or work otherwise.

        No page may be wider than the window, and each says its language.
        """
        page = self.page
        if FOLDER:
            await _keep(page, Path(FOLDER) / f"{name}-{self.look}.png")
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is too wide"
        assert (await page.get_attribute("html", "lang") or "").startswith(self.look.language)
        found = await self._axe()
        assert not found, f"{name}: {found}"

    async def seen_both(self, name: str) -> None:
        """The same, and once more as somebody sees it who has neither this width nor these colours."""
        mine = self.look
        await self.seen(name)
        await self._look(mine.opposite)
        await self.seen(name)
        await self._look(mine)

    async def _look(self, look: Look) -> None:
        self.look = look
        await self.page.set_viewport_size({"width": look.width, "height": HEIGHT})
        await self.page.emulate_media(color_scheme="dark" if look.scheme == "dark" else "light")

    async def _axe(self) -> list[str]:
        await self.page.evaluate(AXE.read_text(encoding="utf-8") + "; undefined")
        results = await self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{violation['id']}: {violation['help']}: {node['html'][:200]}: {node.get('failureSummary', '')[:300]}"
            for violation in results["violations"]
            for node in violation["nodes"]
            if violation["impact"] in SERIOUS
        ]


async def _keep(page: Page, picture: Path) -> None:
    """On a busy machine Chromium is sometimes unable to take one, and is a moment later; the page is what is tested."""
    for _ in range(TRIES):
        try:
            await page.screenshot(path=picture, full_page=True)
        except Error as error:
            if "Unable to capture screenshot" not in str(error):
                raise
        else:
            return
    raise AssertionError(f"no picture of {picture.name} after {TRIES} tries")
