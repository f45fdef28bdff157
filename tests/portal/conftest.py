"""A portal for each test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from portal_site import Browser, Site

from mailauth.keys import KeyRing

sys.path.append(str(Path(__file__).parents[1] / "factors"))  # where the security key in software is


@pytest.fixture
def site(sqlite_database, ring: KeyRing) -> Site:
    """A portal over SQLite."""
    return Site(sqlite_database.store, ring)


@pytest.fixture
async def alice(site: Site) -> Browser:
    """Somebody who is signed in."""
    site.add()
    browser = site.browser()
    await browser.sign_in()
    return browser
