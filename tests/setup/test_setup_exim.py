"""Exim's configuration as Debian has it, split or in one file, and of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import Asking

from mailauth.setup import exim
from mailauth.setup.plan import CannotSetUp, File

VERSION = """Exim version 4.96 #2 built 01-Jan-2024
Authenticators: cram_md5 cyrus_sasl {} plaintext spa tls
Configuration file is /etc/exim4/exim4.conf
"""
OWN = (
    "primary_hostname = x\n\nbegin acl\n\nbegin authenticators\n\nsends_on:\n  driver = plaintext\n"
    "  public_name = PLAIN\n  client_send = : a : b\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a configuration; and an Exim that has the driver."""
    installed(tmp_path, monkeypatch, "dovecot")
    place = tmp_path / "exim4"
    place.mkdir()
    return place


def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    (programs / "exim4").write_text(f"#!/bin/sh\ncat <<END\n{VERSION.format(driver)}END\n")
    (programs / "exim4").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")


def planned(asking: Asking, folder: Path) -> File:
    (file,) = exim.plan(asking(folder)).files
    return file


def test_split_it_is_a_file_of_its_own(asking: Asking, folder: Path) -> None:
    (folder / "update-exim4.conf.conf").write_text("dc_eximconfig_configtype='local'\ndc_use_split_config='true'\n")
    plan = exim.plan(asking(folder))
    (file,) = plan.files
    assert file.path == folder / "conf.d" / "auth" / "10_mailauth"
    assert file.text.count("driver = dovecot") == 2
    assert any("update-exim4.conf" in step for step in plan.to_do)
    assert plan.check == []


def test_in_one_file_it_stands_in_front_and_is_found_again(asking: Asking, folder: Path) -> None:
    (folder / "update-exim4.conf.conf").write_text("dc_use_split_config='false'\n")
    template = folder / "exim4.conf.template"
    template.write_text(OWN)
    file = planned(asking, folder)
    assert file.path == template
    assert file.text.index("mailauth_login:") < file.text.index("sends_on:")
    assert exim.OURS.sub("", file.text).split() == OWN.split()
    template.write_text(file.text)
    assert planned(asking, folder).is_there
    template.write_text(file.text.replace("/run/mailauth/exim", "/run/elsewhere"))
    assert planned(asking, folder).text == file.text


def test_one_of_ones_own_goes_before_debians(asking: Asking, folder: Path) -> None:
    (folder / "update-exim4.conf.conf").write_text("dc_use_split_config='true'\n")
    (folder / "exim4.conf").write_text("primary_hostname = x\n")
    plan = exim.plan(asking(folder))
    assert plan.files[0].text.startswith("primary_hostname = x\n\nbegin authenticators\n\n# mailauth: from here\n")
    assert plan.check[-1] == "-bV"


@pytest.mark.parametrize("name", ["PLAIN", "login"])
def test_a_second_authenticator_of_a_name_is_told(asking: Asking, folder: Path, name: str) -> None:
    own = OWN + f"\nmine:\n  driver = plaintext\n  public_name = {name}\n  server_condition = true\n"
    (folder / "exim4.conf").write_text(own)
    with pytest.raises(CannotSetUp, match="mine offers PLAIN or LOGIN already"):
        planned(asking, folder)
    (folder / "exim4.conf").unlink()
    (folder / "update-exim4.conf.conf").write_text("dc_use_split_config='true'\n")
    (folder / "conf.d" / "auth").mkdir(parents=True)
    (folder / "conf.d" / "auth" / "30_mine").write_text(own.partition("begin authenticators\n")[2])
    with pytest.raises(CannotSetUp, match="30_mine: mine"):
        planned(asking, folder)


def test_an_exim_without_the_driver_is_told(
    asking: Asking, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, monkeypatch, "")
    with pytest.raises(CannotSetUp, match="exim4-daemon-heavy"):
        planned(asking, folder)


def test_what_is_not_there_is_told(asking: Asking, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotSetUp, match="--config-dir"):
        planned(asking, folder)
    (folder / "exim4.conf").write_text("begin authenticators\nbegin authenticators\n")
    with pytest.raises(CannotSetUp, match="more than once"):
        planned(asking, folder)
    monkeypatch.setattr("mailauth.setup.exim.found", lambda *_: None)
    with pytest.raises(CannotSetUp, match="not installed here"):
        planned(asking, folder)


def test_elsewhere_it_is_printed_for_the_address(asking: Asking) -> None:
    plan = exim.plan(asking(version="4.97", address="192.0.2.5:12345"))
    assert "  server_socket = 192.0.2.5 12345" in plan.commands
    assert plan.is_elsewhere
