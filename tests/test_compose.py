"""Embedding: open_authenticator judges, writes its log, and leaves nothing behind."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

import mailauth
from mailauth import Accept, Attempt, Credential, Reject, Service, open_authenticator
from mailauth.config import ConfigError
from mailauth.keys import KeyFileError, KeyRing
from mailauth.store.keycheck import WrongKey
from mailauth.verdict import Reason
from site_of_tests import Site

LOGIN = "ada@example.test"


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.add(LOGIN, "web password", mode=True)
    return site


def attempt(password: str, peer: object = "127.0.0.1") -> Attempt:
    return Attempt(Credential(LOGIN, password), Service.IMAP, peer, True)  # type: ignore[arg-type]


async def test_an_authenticator_judges_and_what_it_judged_is_on_record(site):
    app = site.mint(LOGIN, label="phone")
    async with open_authenticator(site.config) as authenticator:
        outcome = await authenticator.authenticate(attempt(app.password, ("127.0.0.1", 5)))
        assert type(outcome) is Accept
        assert (outcome.principal.login, outcome.principal.credential_id) == (LOGIN, app.id)
        assert await authenticator.authenticate(attempt("web password")) == Reject(Reason.CLIENT_PASSWORDS_ONLY)
    assert [t.name for t in threading.enumerate() if not t.name.startswith(("asyncio", "MainThread"))] == []
    log = site.run("audit", LOGIN, "--json").stdout
    assert "client-passwords-only" in log
    assert app.password not in log
    assert "phone" in site.run("app-password", "list", LOGIN).stdout


async def test_what_is_wrong_is_said_before_anything_is_judged(site, tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        async with open_authenticator(tmp_path / "nowhere.toml"):
            pass
    key = site.folder / "mailauth.key"
    key.rename(site.folder / "away")
    with pytest.raises(KeyFileError, match=r"mailauth\.key"):
        async with open_authenticator(site.config):
            pass
    KeyRing.create(key)
    with pytest.raises(WrongKey):
        async with open_authenticator(site.config):
            pass


def test_every_public_name_is_there():
    for name in mailauth.__all__:
        assert getattr(mailauth, name) is not None
    with pytest.raises(AttributeError):
        mailauth.nothing  # noqa: B018


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="limits are read in /proc")
def test_no_core_is_dumped_of_a_server(site):
    with site.serving() as process:
        limits = Path(f"/proc/{process.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
