"""The options of what asks saslauthd."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from asking import Asking

from mailauth.setup import cyrus
from mailauth.setup.plan import CannotSetUp

needs_postfix = pytest.mark.skipif(shutil.which("postconf", path="/usr/sbin") is None, reason="no postfix")


@pytest.fixture(autouse=True)
def saslauthd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that tells its version as the real one does, on standard error."""
    program = tmp_path / "bin" / "saslauthd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'saslauthd 2.1.28' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/sbin:/usr/bin:/bin")


def test_each_option_once_and_the_others_as_they_were(asking: Asking, tmp_path: Path) -> None:
    mechanisms = "sasl_mech_list: CRAM-MD5\n# sasl_mech_list: X\n"
    own = f"admins: cyrus\n{mechanisms}sasl_pwcheck_method: auxprop\nsasl_mech_list: Y\n"
    (tmp_path / "imapd.conf").write_text(own)
    plan = cyrus.plan(asking(tmp_path))
    assert plan.files[0].text == (
        "admins: cyrus\nsasl_mech_list: PLAIN LOGIN\n# sasl_mech_list: X\nsasl_pwcheck_method: saslauthd\n"
        "sasl_saslauthd_path: /run/mailauth/mux\nallowplaintext: no\n"
    )
    assert "Cyrus SASL 2.1.28" in plan.host
    (tmp_path / "imapd.conf").write_text(plan.files[0].text)
    assert cyrus.plan(asking(tmp_path)).files[0].is_there


def test_openldap_asks_for_a_service_of_its_own(asking: Asking, tmp_path: Path) -> None:
    plan = cyrus.plan(asking(tmp_path), "slapd")
    assert plan.files[0].path.name == "slapd.conf"
    assert plan.table is not None
    assert plan.table.keys == {"socket_group": "openldap", "other_service": "imap"}


@needs_postfix
@pytest.mark.parametrize(
    ("column", "seen_at"), [("y", "/private/mailauth-mux"), ("n", "/var/spool/postfix/private/mailauth-mux")]
)
def test_postfix_sees_the_socket_from_where_it_is(asking: Asking, tmp_path: Path, column: str, seen_at: str) -> None:
    (tmp_path / "main.cf").write_text("queue_directory = /var/spool/postfix\n")
    (tmp_path / "master.cf").write_text(f"smtp inet n - n - - smtpd\nsubmission inet n - {column} - - smtpd\n")
    plan = cyrus.plan(asking(tmp_path / "sasl"), "smtpd")
    assert f"saslauthd_path: {seen_at}\n" in plan.files[0].text
    assert any("smtpd_sasl_type=cyrus" in step for step in plan.to_do)
    if column == "y":
        with pytest.raises(CannotSetUp, match="runs in the chroot"):
            cyrus.plan(asking(tmp_path / "sasl", address="unix:/run/mux"), "smtpd")


def test_where_there_is_no_saslauthd_the_library_tells(
    asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cyrus, "found", lambda *_: None)
    (tmp_path / "lib").mkdir()
    monkeypatch.setattr(cyrus, "LIBRARIES", (str(tmp_path / "lib"),))
    with pytest.raises(CannotSetUp, match="sasl2-bin"):
        cyrus.plan(asking(tmp_path))
    (tmp_path / "lib" / "libsasl2.so.2.0.25").touch()
    assert "library 2.0.25" in cyrus.plan(asking(tmp_path)).host
