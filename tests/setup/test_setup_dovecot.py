"""Dovecot's configuration in Debian's layout: ours in place of other passdbs, everything else as it was."""

from __future__ import annotations

import pwd
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from asking import Asking

from mailauth.setup import dovecot
from mailauth.setup.installing import install
from mailauth.setup.plan import CannotSetUp, Plan, table_file

DOVECONF = shutil.which("doveconf", path="/usr/bin:/usr/sbin")
needs_dovecot = pytest.mark.skipif(DOVECONF is None or not Path("/etc/dovecot").is_dir(), reason="no Dovecot")
MASTER = "passdb {\n  driver = passwd-file\n  args = /etc/dovecot/masters\n  master = yes\n}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Debian's own, with a userdb of one's own and a master passdb."""
    place = tmp_path / "dovecot"
    shutil.copytree("/etc/dovecot", place, ignore=shutil.ignore_patterns("private"))
    (place / "conf.d" / "10-ssl.conf").write_text("ssl = no\n")
    (place / "conf.d" / "auth-system.conf.ext").write_text(
        "passdb {\n  driver = pam\n}\n" + MASTER + "userdb {\n  driver = static\n  args = uid=65534 home=/tmp/%u\n}\n"
    )
    yield place


def by_path(plan: Plan) -> dict[str, str]:
    return {file.path.name: file.text for file in plan.files}


@needs_dovecot
@pytest.mark.parametrize("kind", ["dovecot-lua", "dovecot-grant"])
def test_userdb_and_masters_stay_and_no_other_passdb_is_in_force(asking: Asking, folder: Path, kind: str) -> None:
    plan = dovecot.plan(asking(folder), kind)
    install(plan.files, lambda: dovecot.require_alone(folder))
    blocks = dovecot.Host("2.3", folder, DOVECONF).blocks()
    ours = "lua" if kind == "dovecot-lua" else "oauth2"
    assert sorted(re.findall(r"driver = (\S+)", "".join(blocks))) == sorted([ours, "passwd-file", "static"])
    assert "  args = uid=65534 home=/tmp/%u\n" in by_path(plan)["auth-mailauth.conf.ext"]
    assert all(file.is_there for file in dovecot.plan(asking(folder), kind).files if not file.secret)


@needs_dovecot
def test_another_passdb_is_found_and_all_is_put_back(asking: Asking, folder: Path) -> None:
    (folder / "local.conf").write_text("passdb {\n  driver = passwd-file\n  args = /etc/dovecot/users\n}\n")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CannotSetUp, match=r"another passdb would go on .* driver = passwd-file"):
        install(dovecot.plan(asking(folder)).files, partial(dovecot.require_alone, folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@needs_dovecot
def test_a_cache_that_is_set_elsewhere_is_found(asking: Asking, folder: Path) -> None:
    (folder / "conf.d" / "99-mine.conf").write_text("auth_cache_size = 10M\n")
    with pytest.raises(CannotSetUp, match="auth_cache_size"):
        install(dovecot.plan(asking(folder)).files, partial(dovecot.require_alone, folder))


@needs_dovecot
def test_a_bridge_that_is_there_decides_the_kind_and_whether_sessions_end(
    toml: Path, asking: Asking, folder: Path
) -> None:
    (toml.parent / "t").write_text("a-token-of-some-length\n")
    with toml.open("a") as file:
        file.write(
            '[[bridge]]\nkind = "dovecot-grant"\naddress = "127.0.0.1:8411"\nallow_tcp = true\ntoken_file = "t"\n'
        )
    plan = dovecot.plan(asking(folder))
    assert "a-token-of-some-length" in by_path(plan)["mailauth-grant.conf.ext"]
    assert "doveadm" not in by_path(plan)["auth-mailauth.conf.ext"]
    assert any("does not end on revoking" in step for step in plan.to_do)
    assert all(file.is_there for file in plan.ours)


@needs_dovecot
def test_its_files_shown_hold_no_secret(asking: Asking, folder: Path) -> None:
    plan = dovecot.plan(asking(folder))
    secrets = {file.secret for file in (*plan.ours, *plan.files) if file.secret}
    assert len(secrets) == 2
    for file in (*plan.ours, *plan.files):
        assert not any(secret in file.shown() for secret in secrets)


@needs_dovecot
def test_the_group_of_the_workers_may_read_the_token(asking: Asking, folder: Path) -> None:
    def group() -> int | None:
        (file,) = [
            file for file in dovecot.plan(asking(folder), "dovecot-lua").files if file.path.name == "mailauth.token"
        ]
        assert file.mode == 0o640
        return file.group

    assert group() is None  # they are root's
    (folder / "local.conf").write_text("service auth-worker {\n  user = $default_internal_user\n}\n")
    assert group() == pwd.getpwnam("dovecot").pw_gid
    (folder / "local.conf").write_text("service auth-worker {\n  user = no-such-user\n}\n")
    with pytest.raises(CannotSetUp, match="no user of this machine"):
        group()


@needs_dovecot
def test_what_is_to_be_known_of_this_configuration_is_said(asking: Asking, folder: Path) -> None:
    (folder / "local.conf").write_text("auth_mechanisms = plain cram-md5\nuserdb {\n  driver = prefetch\n}\n")
    said = "\n".join(dovecot.plan(asking(folder), "dovecot-grant").to_do)
    assert "prefetch" in said
    assert "no longer offered, having no password to judge: cram-md5" in said
    assert "tells neither TLS nor aliases" in said
    assert "ends its user's sessions from where it was let in, or all of them" in said


@needs_dovecot
def test_another_layout_is_told(asking: Asking, folder: Path) -> None:
    (folder / "conf.d" / "10-auth.conf").unlink()
    with pytest.raises(CannotSetUp, match="usual layout"):
        dovecot.plan(asking(folder))


def test_for_2_4_elsewhere_in_its_own_syntax(asking: Asking, tmp_path: Path) -> None:
    told = asking(tmp_path, version="2.4.1", address="192.0.2.5:8412")
    plan = dovecot.plan(told, "dovecot-lua", "192.0.2.6:8414")
    text = by_path(plan)["auth-mailauth.conf.ext"]
    assert "passdb lua {\n  lua_file = " in text
    assert "driver =" not in text
    assert "    listen = 192.0.2.6\n" in text
    assert "mailauth-settings.lua" not in by_path(plan)
    assert plan.is_elsewhere
    assert plan.table is not None
    assert plan.table.keys["kick_by"] == "app-password"
    assert plan.table.keys["doveadm_url"] == "http://192.0.2.6:8414"
    assert table_file(asking(), plan.table).text


def test_the_grant_is_nothing_for_2_4(asking: Asking) -> None:
    with pytest.raises(CannotSetUp, match="takes every refusal by the password grant for a fault"):
        dovecot.plan(asking(version="2.4.1"), "dovecot-grant")


def test_what_is_too_old_is_told(asking: Asking) -> None:
    with pytest.raises(CannotSetUp, match=r"older than 2\.3"):
        dovecot.plan(asking(version="2.2.36"))
