"""Standard streams that are closed or full: one line, an exit code, and no app password that nobody has seen."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailauth.accounts import apppasswords
from site_of_tests import Site

LOGIN = "ada@example.test"
FULL = Path("/dev/full")


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    site.add(LOGIN, "web password")
    return site


def run(site, command, redirection):
    return subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "mailauth", *command],
        env={**os.environ, "MAILAUTH_CONFIG": str(site.config)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_an_app_password_that_cannot_be_printed_does_not_stay(site):
    done = run(site, ["app-password", "add", LOGIN, "--label", "phone"], ">/dev/full")
    assert done.returncode == 69
    assert done.stderr.startswith("mailauth: app password 1 was revoked again: No space left")
    assert apppasswords.listed(site.store, LOGIN) == []


def test_without_standard_output_nothing_is_minted(site):
    done = run(site, ["app-password", "add", LOGIN, "--label", "phone"], ">&-")
    assert done.returncode == 64
    assert "standard output is closed" in done.stderr
    assert apppasswords.listed(site.store, LOGIN) == []


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_no_bug(site):
    done = run(site, ["account", "list"], ">/dev/full")
    assert done.returncode == 69
    assert done.stderr.startswith("mailauth: the output cannot be written: No space left")


@pytest.mark.parametrize(
    "command", [["account", "passwd", LOGIN, "--password-stdin"], ["verify", LOGIN, "--service=imap"]]
)
def test_a_closed_standard_input_holds_an_empty_password(site, command):
    done = run(site, command, "<&-")
    assert done.returncode == (65 if command[0] == "account" else 77)


def test_verify_takes_an_address_as_servers_do(site):
    app = site.mint(LOGIN, networks=["192.0.2.0/24"])
    for peer in ("192.0.2.9", "::ffff:192.0.2.9", "::ffff:c000:209"):
        assert site.run("verify", LOGIN, "--service", "imap", "--from", peer, password=app.password).returncode == 0


@pytest.mark.parametrize("path", ["server.key", "server.key/mail"])
def test_a_mailbox_that_cannot_be_is_said_at_the_start(site, path):
    site.config.write_text(
        site.config.read_text().replace("[submission]", f'[mailbox]\npath = "{path}"\n[submission]', 1)
    )
    for command in (["config", "check"], ["serve"]):
        done = site.run(*command)
        assert done.returncode == 78
        assert "mailauth.toml: [mailbox] path: " in done.stderr
