"""`mailauth demo` as a user meets it: start, log in with what it printed, end, start again."""

from __future__ import annotations

import imaplib
import poplib
import shutil
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandline import Serving, free_offset, run, serving
from mailauth.demo.memory import Memory

pytestmark = pytest.mark.slow

READY = "'))\""  # in the last line of the screen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "demo"


@pytest.fixture
def demo(folder: Path) -> Iterator[Serving]:
    with serving("demo", "--dir", str(folder), "--port-offset", str(free_offset())) as server:
        server.wait_for(READY)
        yield server


def memory(folder: Path) -> Memory:
    kept = Memory.read(folder)
    assert kept is not None
    return kept


def test_what_it_prints_opens_all_three_services(demo: Serving, folder: Path) -> None:
    kept = memory(folder)
    trust = ssl.create_default_context(cafile=kept.ca)
    with smtplib.SMTP("localhost", kept.ports["smtp"]["starttls"]) as smtp:
        smtp.starttls(context=trust)
        smtp.login(kept.account, kept.app_password)
        smtp.sendmail(kept.account, [kept.account], b"Subject: to myself\r\n\r\nhello\r\n")
    pop3 = poplib.POP3_SSL("localhost", kept.ports["pop3"]["implicit"], context=trust)
    pop3.user(kept.account)
    pop3.pass_(kept.app_password)
    assert pop3.stat()[0] >= 2  # and what is told of the account
    pop3.quit()
    with imaplib.IMAP4("localhost", kept.ports["imap"]["starttls"]) as imap:
        imap.starttls(trust)
        imap.login(kept.account, " ".join([kept.app_password[start : start + 4] for start in (0, 4, 8, 12)]))
        assert imap.select()[0] == "OK"
        assert len(imap.search(None, "SUBJECT", '"to myself"')[1][0].split()) == 1
        assert b"Subject: Welcome" in imap.fetch("1", "(BODY[HEADER])")[1][0][1]
    assert demo.end() == 0


def test_the_web_password_opens_nothing_and_the_log_holds_no_password(demo: Serving, folder: Path) -> None:
    kept = memory(folder)
    trust = ssl.create_default_context(cafile=kept.ca)
    with imaplib.IMAP4_SSL("localhost", kept.ports["imap"]["implicit"], ssl_context=trust) as imap:
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            imap.login(kept.account, kept.web_password)
        imap.login(kept.account, kept.app_password)
    assert "reason=client-passwords-only" in demo.wait_for("verdict=accept")
    assert demo.end() == 0
    log = demo.seen[demo.seen.index(READY) :]
    assert kept.web_password not in log
    assert kept.app_password not in log


def test_a_later_start_prints_the_same(demo: Serving, folder: Path) -> None:
    assert demo.end() == 0
    kept = memory(folder)
    with serving("demo", "--dir", str(folder)) as again:
        again.wait_for(READY)
        assert memory(folder) == kept
        assert again.end() == 0
    screen = demo.seen[: demo.seen.index(READY)]
    assert again.seen[: again.seen.index(READY)] == screen


@pytest.mark.system
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_printed_commands_work(demo: Serving, folder: Path) -> None:
    kept = memory(folder)
    lines = demo.seen.partition("Try it in another terminal:\n")[2].splitlines()
    curl = "\n".join(lines[:2])
    done = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    python = "\n".join(lines[2:5])
    done = subprocess.run(["sh", "-c", python], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("('OK',"), done.stderr
    said = run("app-password", "list", kept.account, "--config", str(folder / "mailauth.toml"), "--json")
    assert [view["label"] for view in said.json] == ["Demo"]


def test_a_port_in_use_says_how_to_move_and_moving_works(tmp_path: Path) -> None:
    folder, offset = tmp_path / "demo", free_offset()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 1143 + offset))
        taken.listen()
        with serving("demo", "--dir", str(folder), "--port-offset", str(offset)) as server:
            server.wait_for("--port-offset 1000")
            server.process.wait(timeout=30)
            assert server.process.returncode == 78
            assert f"cannot listen on 127.0.0.1:{1143 + offset}: the port is in use" in server.seen
            assert len(server.seen.splitlines()) == 1
    with serving("demo", "--dir", str(folder), "--port-offset", str(free_offset())) as server:
        server.wait_for(READY)
        assert server.end() == 0


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = run("demo", "--dir", str(tmp_path / "file" / "demo"))
    assert said.code == 78
    assert "Not a directory; nothing was written" in said.err


def test_half_a_site_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mailauth.keys").write_text("precious")
    said = run("demo", "--dir", str(tmp_path))
    assert said.code == 65
    assert "mailauth.keys is there already and is left as it is" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["mailauth.keys"]
