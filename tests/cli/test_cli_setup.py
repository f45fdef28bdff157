"""`mailauth setup`: what is printed, what is written, and what it says of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from commandline import Cli
from mailauth import config

FAKE = """#!/bin/sh
case "$*" in
  *"-s reload"*) echo reloaded > "{place}/reloaded" ;;
  *-q*) grep -q refused "{place}/nginx/mailauth-mail.conf" && {{ echo "it is refused" >&2; exit 1; }}; exit 0 ;;
  *) echo "nginx version: nginx/1.22.1" >&2 ;;
esac
"""


@pytest.fixture
def nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an nginx's configuration, and a program that takes it, but for one word."""
    folder, programs = tmp_path / "nginx", tmp_path / "bin"
    folder.mkdir()
    programs.mkdir()
    (folder / "nginx.conf").write_text("events { }\n")
    (programs / "nginx").write_text(FAKE.format(place=tmp_path))
    (programs / "nginx").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return folder


def words(nginx: Path, *more: str, name: str = "mail.example.org") -> list[str]:
    where = ["--config-dir", str(nginx), "--address", "127.0.0.1:8413"]
    return ["setup", "nginx", *where, "--backend", "imap 192.0.2.10:143", "--name", name, *more]


def test_without_write_nothing_is_touched(mailauth: Cli, site: Path, nginx: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (*site.iterdir(), *nginx.iterdir())}
    said = mailauth(*words(nginx))
    assert said.code == 0
    assert {path: path.stat().st_mtime_ns for path in (*site.iterdir(), *nginx.iterdir())} == before
    assert "nginx 1.22.1, set up in" in said.out
    assert '[[bridge]]\nkind = "nginx"\naddress = "127.0.0.1:8413"\nallow_tcp = true\n' in said.out
    assert f"+include {nginx}/mailauth-mail.conf;" in said.out
    assert "auth_http_header X-Auth-Key TOKEN;" in said.out
    assert said.out.splitlines()[-1].endswith("Then: mailauth doctor")


def test_it_is_written_once_and_then_there_is_nothing_to_do(mailauth: Cli, site: Path, nginx: Path) -> None:
    said = mailauth(*words(nginx, "--write"))
    assert said.code == 0, said.err
    token = (site / "nginx.token").read_text().strip()
    assert token in (nginx / "mailauth-auth.conf").read_text()
    assert token not in said.out
    assert f"wrote {nginx}/nginx.conf (what was there: {nginx}/nginx.conf.before-mailauth)" in said.out
    assert config.load(site / "mailauth.toml").bridge[0].kind == "nginx"
    files = {path: path.read_bytes() for path in (*site.iterdir(), *nginx.iterdir())}
    again = mailauth(*words(nginx, "--write"))
    assert "Nothing was changed: everything is there already." in again.out
    assert {path: path.read_bytes() for path in (*site.iterdir(), *nginx.iterdir())} == files
    shown = mailauth(*words(nginx))
    assert "the [[bridge]] is there already" in shown.out
    assert "Its own files: everything is there already." in shown.out


def test_what_the_host_does_not_take_is_put_back(mailauth: Cli, site: Path, nginx: Path) -> None:
    before = {path: path.read_bytes() for path in (*site.iterdir(), *nginx.iterdir())}
    said = mailauth(*words(nginx, "--write", name="refused"))
    assert said.code == 78
    assert "it is refused" in said.err
    assert {path: path.read_bytes() for path in (*site.iterdir(), *nginx.iterdir())} == before


def test_nothing_is_reloaded_without_being_asked(mailauth: Cli, nginx: Path) -> None:
    assert mailauth(*words(nginx, "--write")).code == 0
    assert not (nginx.parent / "reloaded").exists()
    said = mailauth(*words(nginx, "--write", "--reload"))
    assert said.out.splitlines()[-1].startswith("done: nginx -c")
    assert (nginx.parent / "reloaded").exists()


def test_systemd_reads_the_units_before_it_is_to_enable_them(
    mailauth: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "systemd-analyze").write_text("#!/bin/sh\necho systemd 252\n")
    (tmp_path / "systemd-analyze").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    said = mailauth("setup", "systemd", "--config-dir", str(tmp_path / "units")).out
    steps = said[said.index("What else") :]
    assert 0 < steps.index("chown -R") < steps.index("systemctl daemon-reload") < steps.index("systemctl enable --now")


def test_reload_goes_with_write_and_a_host_that_is_here(mailauth: Cli, nginx: Path) -> None:
    assert mailauth(*words(nginx, "--reload")).code == 64
    assert mailauth(*words(nginx, "--write", "--reload", "--version", "1.22")).code == 64


def test_of_a_host_elsewhere_only_our_side_is_written(mailauth: Cli, site: Path, nginx: Path) -> None:
    said = mailauth(*words(nginx, "--write", "--version", "1.24.0"))
    assert said.code == 0, said.err
    assert (site / "nginx.token").is_file()
    assert [path.name for path in nginx.iterdir()] == ["nginx.conf"]
    assert "mail {" in said.out
    assert "Where TOKEN stands" in said.out


def test_what_is_not_installed_is_told_with_what_to_do(
    mailauth: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailauth.setup.programs.PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    for host, package in (("postfix", "postfix"), ("dovecot", "dovecot-core"), ("exim", "exim4-daemon-heavy")):
        said = mailauth("setup", host)
        assert said.code == 78
        assert f"apt install {package}" in said.err
        assert "--version" in said.err


@pytest.mark.parametrize("host", ["postfix", "dovecot", "exim", "nginx", "cyrus", "systemd"])
def test_every_host_explains_itself_with_an_example(mailauth: Cli, host: str) -> None:
    said = mailauth("setup", host, "--help")
    assert f"mailauth setup {host}" in said.out
    assert "Example:" in said.out
