"""nginx's configuration: a mail { } of its own, or none."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from asking import Asking

from mailauth.setup import nginx
from mailauth.setup.plan import CannotSetUp

needs_nginx = pytest.mark.skipif(shutil.which("nginx", path="/usr/sbin") is None, reason="nginx is not installed")
BACKENDS = ("imap 192.0.2.10:143", "smtp 192.0.2.10:587")
MAIN = "user mail proxies;\nevents { }\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "nginx"
    place.mkdir()
    (place / "nginx.conf").write_text(MAIN)
    return place


@needs_nginx
def test_a_server_for_each_service_that_has_a_back_end(toml: Path, asking: Asking, folder: Path) -> None:
    plan = nginx.plan(asking(folder), nginx.Proxy(BACKENDS, name="mail.example.org"))
    auth, mail, main = plan.files
    assert "listen 993 ssl; protocol imap;" in mail.text
    assert "listen 465 ssl; protocol smtp;" in mail.text
    assert "pop3;" not in mail.text.replace("pop3_", "")
    assert f"ssl_certificate {toml.parent}/server.pem;" in mail.text
    assert "server_name mail.example.org;" in mail.text
    assert main.text == f"{MAIN}\ninclude {folder}/mailauth-mail.conf;\n"
    assert (auth.mode, auth.secret in auth.text, auth.secret in auth.shown()) == (0o600, True, False)
    assert plan.table is not None
    assert plan.table.keys["socket_group"] == "proxies"


@needs_nginx
def test_the_back_ends_of_the_bridge_that_is_there_are_taken(toml: Path, asking: Asking, folder: Path) -> None:
    (toml.parent / "nginx.token").write_text("a-token-of-some-length\n")
    plan = nginx.plan(asking(folder), nginx.Proxy(BACKENDS))
    with toml.open("a") as file:
        file.write("\n" + (plan.table.text if plan.table is not None else ""))
    again = nginx.plan(asking(folder), nginx.Proxy())
    assert [file.text for file in again.files] == [file.text for file in plan.files]
    assert all(file.is_there for file in again.ours)


@needs_nginx
@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        (nginx.Proxy(), "--backend 'imap"),
        (nginx.Proxy(("imap mail.example.org:143",)), "IP addresses"),
        (nginx.Proxy(("ftp 192.0.2.1:21",)), "must be entries such as"),
    ],
)
def test_what_is_not_right_is_told(asking: Asking, folder: Path, proxy: nginx.Proxy, told: str) -> None:
    with pytest.raises(CannotSetUp, match=told):
        nginx.plan(asking(folder), proxy)


@needs_nginx
def test_a_mail_of_ones_own_is_left_alone(asking: Asking, folder: Path) -> None:
    (folder / "nginx.conf").write_text(MAIN + "mail {\n}\n")
    with pytest.raises(CannotSetUp, match=r"a mail \{ \} already"):
        nginx.plan(asking(folder), nginx.Proxy(BACKENDS))


@pytest.mark.parametrize(("version", "line"), [("1.18.0", "xclient on;"), ("1.22.1", "proxy_smtp_auth on;")])
def test_by_version_elsewhere(asking: Asking, version: str, line: str) -> None:
    plan = nginx.plan(asking(version=version, address="192.0.2.5:8413"), nginx.Proxy(BACKENDS))
    auth, mail, _ = plan.files
    assert line in mail.text
    assert "auth_http http://192.0.2.5:8413/;" in auth.text or "auth_http 192.0.2.5:8413/;" in auth.text
    assert plan.is_elsewhere
    with pytest.raises(CannotSetUp, match=r"older than 1\.15"):
        nginx.plan(asking(version="1.14.2"), nginx.Proxy(BACKENDS))
