"""systemd's units: every socket of the configuration, and a service that systemd itself finds well enclosed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from asking import Asking

from mailauth.setup import systemd
from mailauth.setup.installing import install
from mailauth.setup.plan import CannotSetUp

ANALYZE = shutil.which("systemd-analyze")
BRIDGES = """
[[bridge]]
kind = "dovecot-auth"
address = "unix:/var/spool/postfix/private/mailauth"
socket_group = "root"

[[bridge]]
kind = "saslauthd"
address = "unix:/run/mailauth/mux"
socket_group = "mail"

[[bridge]]
kind = "saslauthd"
address = "unix:/run/mailauth/other"
socket_group = "mail"

[[bridge]]
kind = "saslauthd"
address = "127.0.0.1:12345"
allow_tcp = true

[[listen]]
service = "imap"
address = "[::1]:11993"
tls = "implicit"

[[listen]]
service = "imap"
address = "127.0.0.1:12993"
tls = "implicit"
reuse_port = true

[[listen]]
service = "imap"
address = "localhost:13993"
tls = "implicit"
"""


@pytest.fixture
def texts(toml: Path, asking: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The units by name."""
    with toml.open("a") as file:
        file.write(BRIDGES)
    plan = systemd.plan(asking(tmp_path / "units", version="252"), "nobody")
    return {file.path.name: file.text for file in plan.files}


def listening(text: str) -> list[str]:
    return re.findall(r"^ListenStream=(.*)$", text, re.MULTILINE)


def test_a_unit_for_each_group_and_one_for_what_listens_by_tcp(texts: dict[str, str]) -> None:
    assert set(texts) == {"mailauth.service", "mailauth.socket", "mailauth-root.socket", "mailauth-mail.socket"}
    assert listening(texts["mailauth-mail.socket"]) == ["/run/mailauth/mux", "/run/mailauth/other"]
    assert "SocketGroup=mail\n" in texts["mailauth-mail.socket"]
    tcp = listening(texts["mailauth.socket"])
    assert {"127.0.0.1:12345", "[::1]:11993", "127.0.0.1:8080"} <= set(tcp)
    assert not {"127.0.0.1:12993", "localhost:13993"} & set(tcp)  # several processes' own; a name
    for name in set(texts) - {"mailauth.service"}:
        assert name in texts["mailauth.service"]
        assert "WantedBy=sockets.target" in texts[name]
        assert re.search(r"^Before=.*postfix\.service", texts[name], re.MULTILINE)


def test_nothing_is_left_to_be_fitted_in(texts: dict[str, str]) -> None:
    for text in texts.values():
        assert not re.search(r"<[a-z-]+>", text)


def test_it_may_write_where_its_files_are_and_nowhere_else(toml: Path, texts: dict[str, str]) -> None:
    service = texts["mailauth.service"]
    assert f"ReadWritePaths=-{toml.parent} -{toml.parent}/mail\n" in service
    assert "RuntimeDirectory=" not in service
    assert "PrivateUsers=" not in service  # SO_PEERCRED would name nobody


def test_with_nothing_to_listen_on_there_are_none(toml: Path, asking: Asking) -> None:
    toml.write_text('[store]\nurl = "sqlite:///mailauth.db"\n[key]\nfile = "mailauth.keys"\n')
    with pytest.raises(CannotSetUp, match="nothing to listen on"):
        systemd.plan(asking(version="252"))
    with pytest.raises(CannotSetUp, match="older than 247"):
        systemd.plan(asking(version="241"))


def test_what_has_no_mailboxes_of_its_own_is_given_none_to_write(toml: Path, asking: Asking) -> None:
    toml.write_text(toml.read_text().replace('kind = "maildir"', 'kind = "backend"'))
    (service,) = [file.text for file in systemd.plan(asking(version="252")).files if file.path.suffix == ".service"]
    assert f"ReadWritePaths=-{toml.parent}\n" in service


@pytest.mark.parametrize("name", ["100%n", "my mail", "pa$h"])
def test_a_path_that_systemd_reads_otherwise_is_told(toml: Path, asking: Asking, name: str) -> None:
    with toml.open("a") as file:
        file.write(f'[[bridge]]\nkind = "saslauthd"\naddress = "unix:/run/{name}/mux"\n')
    with pytest.raises(CannotSetUp, match="would read a blank"):
        systemd.plan(asking(version="252"))


def test_what_only_the_administrator_can_do_is_said(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemd, "HOMES", (str(Path(sys.executable).parent),))
    plan = systemd.plan(asking(version="252"), "no-such-user")
    said = "\n".join(plan.to_do)
    assert "useradd --system" in said
    assert "does not see home folders" in said
    assert "systemctl enable --now mailauth.socket mailauth.service" in plan.afterwards


def test_units_that_nothing_is_left_of_are_named_and_others_are_not(toml: Path, asking: Asking, tmp_path: Path) -> None:
    without, units = toml.read_text(), tmp_path / "units"
    toml.write_text(without + BRIDGES)
    install(systemd.plan(asking(units, version="252"), "nobody").files, lambda: None)
    (units / "mailauth-mine.socket").write_text("# the administrator's own\n")
    assert not [step for step in systemd.plan(asking(units, version="252"), "nobody").to_do if "disable" in step]
    toml.write_text(without)
    said = [step for step in systemd.plan(asking(units, version="252"), "nobody").to_do if "disable" in step]
    assert [re.findall(r"systemctl disable --now (\S+) && rm (\S+)$", step) for step in said] == [
        [(name, f"{units}/{name}")] for name in ("mailauth-mail.socket", "mailauth-root.socket")
    ]


@pytest.mark.system
@pytest.mark.skipif(ANALYZE is None and os.environ.get("CI") != "true", reason="systemd-analyze is not installed")
def test_systemd_finds_it_right_and_its_exposure_below_three(
    toml: Path, asking: Asking, tmp_path: Path, texts: dict[str, str]
) -> None:
    assert ANALYZE is not None, "systemd is not installed"
    plan = systemd.plan(asking(tmp_path / "units"), "daemon")
    install(plan.files, lambda: None)
    units = [str(file.path) for file in plan.files]
    verified = subprocess.run([ANALYZE, "verify", "--man=no", *units], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    words = [
        ANALYZE,
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=30",
        f"{tmp_path}/units/mailauth.service",
    ]
    exposed = subprocess.run(words, capture_output=True, text=True, check=False)
    assert exposed.returncode == 0, exposed.stdout + exposed.stderr
    level = re.search(r"exposure level for mailauth\.service: ([\d.]+)", exposed.stdout)
    assert level is not None
    assert float(level[1]) < 3
