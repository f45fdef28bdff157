"""`mailauth init`."""

from __future__ import annotations

from pathlib import Path

from commandline import run
from mailauth import config


def test_init_writes_a_site_that_commands_can_work_on(tmp_path: Path) -> None:
    said = run("init", "--dir", str(tmp_path / "new"), "--port-offset", "20000")
    assert said.code == 0
    file = tmp_path / "new" / "mailauth.toml"
    assert said.out.splitlines()[0] == f"wrote {file}"
    assert f"Next: mailauth account add YOU@YOUR.DOMAIN --config {file}" in said.err
    assert config.load(file).listen[0].address.port == 21993
    listed = run("domain", "list", "--config", str(file), "--json")
    assert (listed.code, listed.json) == (0, [])
    assert run("account", "list", "--config", str(file), "--json").json == []
    assert run("config", "check", "--config", str(file)).code == 0
    assert run("key", "status", "--config", str(file)).code == 0


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    assert run("init", "--dir", str(tmp_path)).code == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    said = run("init", "--dir", str(tmp_path))
    assert said.code == 65
    assert f"{tmp_path}/mailauth.toml is there already and is left as it is; choose another --dir" in said.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_init_into_what_is_no_folder_is_a_matter_of_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = run("init", "--dir", str(tmp_path / "file"))
    assert said.code == 78
    assert "Not a directory; nothing was written; choose another --dir, or make it writable" in said.err
