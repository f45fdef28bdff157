"""An SQLite store that the server may only read any more: logins go on, and what others change still counts."""

from __future__ import annotations

import contextlib
import gc
import imaplib
import os
import poplib
import shutil
import smtplib
from collections.abc import Iterator

import pytest
from faulty_site import ALICE, answers, assert_judged, assert_judged_soon, files, is_deferred, secrets_of, serving

from mailauth.accounts import apppasswords
from mailauth.attempt import Service
from mailauth.store.changes import Effect
from site_of_tests import ACTOR, REFUSED, Site

BOUND_BY_MODES = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", "--")  # as root is not
NOT_WRITTEN = "last uses and audit rows are kept in memory"


@pytest.fixture
def site(tmp_path) -> Site:
    """One whose server is bound by file modes."""
    if os.geteuid() != 0:
        return Site(tmp_path, timeout_s=1.0)
    if shutil.which(BOUND_BY_MODES[0]) is None:
        pytest.skip("file modes do not bind root, and there is no setpriv to make them")
    return Site(tmp_path, timeout_s=1.0, launcher=BOUND_BY_MODES)


@contextlib.contextmanager
def read_only(site: Site) -> Iterator[None]:
    for file in files(site):
        file.chmod(0o444)
    site.folder.chmod(0o500)
    yield
    site.folder.chmod(0o700)
    for file in files(site):
        file.chmod(0o600)


def test_logins_go_on_and_last_uses_wait(site):
    secrets = secrets_of(site)
    with serving(site, secrets):
        with read_only(site):
            for _ in range(3):
                assert_judged(answers(site, secrets))
            site.logged(NOT_WRITTEN)
            assert_judged(answers(site, secrets))
        site.logged("last uses and audit rows are written again")
        assert_judged(answers(site, secrets))
    assert apppasswords.listed(site.store, ALICE)[0].last_used_at
    assert "verdict=defer" not in site.log


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # clients that never came to be
@pytest.mark.skipif(os.geteuid() != 0, reason="needs somebody whom file modes do not bind: root")
def test_a_revocation_by_who_can_write_counts(site):
    secrets = secrets_of(site)
    minted = site.mint(ALICE, label="lost")
    with serving(site, secrets), read_only(site), site.client(Service.IMAP) as lost, site.client(Service.IMAP) as kept:
        lost.login(ALICE, minted.password)
        kept.login(ALICE, secrets["app"])
        apppasswords.revoke(site.store, ALICE, ids=[minted.id], actor=ACTOR, effect=Effect())
        for service in Service:
            try:
                reply = site.ask(service, ALICE, minted.password)
            except (imaplib.IMAP4.error, poplib.error_proto, smtplib.SMTPException) as early:
                assert "now" in str(early) or "UNAVAILABLE" in str(early)  # told before a password was sent
                del early
                gc.collect()
                continue
            assert reply == REFUSED[service] or is_deferred(service, reply), reply
        assert b"* BYE " in lost.readline()
        assert kept.noop()[0] == "OK"
    with serving(site, secrets):
        assert_judged_soon(site, secrets | {"wrong": minted.password})
