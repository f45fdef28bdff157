"""What a site keeps is its user's alone, whatever the umask: while it is served, after it was, and where mail is."""

from __future__ import annotations

import os
import smtplib
import stat
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest
from faulty_site import ALICE, secrets_of, serving

from mailauth.attempt import Service
from site_of_tests import Site, said

FOR_EVERYBODY = {"ca.pem", "server.pem"}  # certificates are public
WITHOUT_SECRETS = {"mailauth.toml"}  # secrets are in files of their own


@pytest.fixture(params=["0000", "0022", "0077"])
def umask(request) -> None:
    before = os.umask(int(request.param, 8))
    yield
    os.umask(before)


def too_open(folder: Path) -> list[str]:
    """What anybody but its user may read or change."""
    found = []
    for path in [folder, *folder.rglob("*")]:
        allowed = 0o700 if path.is_dir() else 0o600
        if path.name in FOR_EVERYBODY | WITHOUT_SECRETS:
            allowed = 0o644
        if stat.S_IMODE(path.lstat().st_mode) & ~allowed:
            found.append(f"{path.relative_to(folder.parent)} {stat.filemode(path.lstat().st_mode)}")
    return found


def test_what_init_makes(tmp_path, umask):
    folder = tmp_path / "above" / "site"
    subprocess.run(
        [sys.executable, "-m", "mailauth", "init", "--dir", folder, "--port-offset", "20000"],
        check=True,
        capture_output=True,
    )
    assert too_open(folder) == []
    assert stat.S_IMODE((tmp_path / "above").stat().st_mode) & 0o077 == 0


def test_what_a_served_site_has_and_leaves(tmp_path, umask):
    folder = tmp_path / "site"
    folder.mkdir(0o700)
    site = Site(folder, sections='[throttle]\nenabled = false\n[log]\nfile = "mailauth.log"\n')
    for path in folder.iterdir():  # this test's own
        path.chmod(0o600)
    secrets = secrets_of(site)
    message = EmailMessage()
    message["From"] = message["To"] = ALICE
    message.set_content("Hello")
    with serving(site, secrets):
        with site.client(Service.SMTP) as client:
            assert isinstance(client, smtplib.SMTP)
            said(client, ALICE, secrets["app"])
            client.send_message(message)
        with site.client(Service.IMAP) as client:
            client.login(ALICE, secrets["app"])
            client.create("Archive")
            client.select("INBOX")
            client.copy("1", "Archive")
        names = {path.name for path in folder.rglob("*")}
        assert {"mailauth.db-wal", "mailauth.db-shm", "mailauth.log", "mail"} <= names
        (folder / "serve.log").chmod(0o600)  # this test's own too: what was said on standard error
        assert too_open(folder) == []
    assert too_open(folder) == []
