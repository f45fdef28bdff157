"""`mailauth serve` as a real process: ready, reload, end, and what keeps it from starting."""

from __future__ import annotations

import imaplib
import shutil
import signal
import socket
import ssl
from pathlib import Path

import pytest

from commandline import Cli, free_offset, minted, run, serving
from mailauth.founding import certificates
from mailauth.keys import KeyRing

pytestmark = pytest.mark.slow


@pytest.fixture
def offset(site: Path) -> int:
    """Free ports, written into the site's configuration."""
    offset = free_offset()
    file = site / "mailauth.toml"
    text = file.read_text()
    text = text.replace("localhost:8080", f"localhost:{8080 + offset}")
    for port in (8080, 1993, 1143, 1995, 1110, 1465, 1587):
        text = text.replace(f'"127.0.0.1:{port}"', f'"127.0.0.1:{port + offset}"')
    file.write_text(text)
    return offset


def trust(site: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=site / "ca.pem")


def served_certificate(site: Path, port: int) -> bytes:
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        trust(site).wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        certificate = secured.getpeercert(binary_form=True)
        assert certificate is not None
        return certificate


def test_serve_says_when_it_is_ready_and_lets_people_in(mailauth: Cli, site: Path, offset: int, alice: str) -> None:
    phone = minted(mailauth, alice)
    with serving("serve") as server:
        said = server.wait_for(f"listening smtp 127.0.0.1:{1587 + offset} tls=starttls\n")
        assert said.count("listening ") == 7
        assert f"listening imap 127.0.0.1:{1993 + offset} tls=implicit\n" in said
        with imaplib.IMAP4_SSL("localhost", 1993 + offset, ssl_context=trust(site)) as client:
            assert client.login(alice, phone)[0] == "OK"
        server.wait_for("verdict=accept")
        mailauth("app-password", "revoke", alice, "--all")
        with (
            imaplib.IMAP4_SSL("localhost", 1993 + offset, ssl_context=trust(site)) as client,
            pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"),
        ):
            client.login(alice, phone)
        assert server.end() == 0
    assert phone not in server.seen
    assert "login" in {row["kind"] for row in mailauth("audit", alice, "--json").json}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_in_good_order(site: Path, offset: int, number: signal.Signals) -> None:
    with serving("serve") as server:
        server.wait_for("tls=starttls\n")
        with socket.create_connection(("127.0.0.1", 1143 + offset)) as client, client.makefile("rb") as lines:
            assert lines.readline().startswith(b"* OK")
            assert server.end(number) == 0
            assert lines.readline().startswith(b"* BYE")


def test_a_hangup_has_the_certificate_read_again(site: Path, offset: int) -> None:
    with serving("serve") as server:
        server.wait_for("tls=starttls\n")
        before = served_certificate(site, 1993 + offset)
        made = certificates.make()
        (site / "ca.pem").write_bytes(made.authority)
        (site / "server.pem").write_bytes(made.server)
        (site / "server.key").write_bytes(made.key)
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("certificate reloaded")
        assert served_certificate(site, 1993 + offset) != before
        (site / "server.pem").write_text("no certificate")
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("certificate not reloaded, the old one stays in use")
        served_certificate(site, 1993 + offset)
        assert server.end() == 0


def refused(code: int, told: str) -> None:
    """Serving ends at once with this code and one line."""
    with serving("serve") as server:
        server.process.wait(timeout=30)
        assert server.process.stdout is not None
        said = server.process.stdout.read().decode()
    assert server.process.returncode == code
    assert told in said
    assert len(said.splitlines()) == 1, said


def test_a_port_in_use_is_named(site: Path, offset: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 1995 + offset))
        taken.listen()
        where = f"{site}/mailauth.toml: [[listen]] #3 address: cannot listen on 127.0.0.1:{1995 + offset}"
        refused(78, f"{where}: the port is in use; stop what uses it")


def test_a_missing_certificate_is_named(site: Path, offset: int) -> None:
    (site / "server.pem").unlink()
    refused(78, f"{site}/server.pem: no such file; [tls] certificate must name a PEM file")


def test_a_foreign_key_file_is_named(site: Path, offset: int) -> None:
    (site / "mailauth.keys").unlink()
    KeyRing.create(site / "mailauth.keys")
    refused(78, "restore the key file that belongs to this store from your backup")


def test_a_missing_store_is_named(site: Path, offset: int) -> None:
    (site / "mailauth.db").unlink()
    refused(
        69,
        f"{site}/mailauth.db: there is no store; put it back, or make a new site with `mailauth init`",
    )


def test_nothing_to_serve_is_a_matter_of_configuration(mailauth: Cli, site: Path) -> None:
    file = site / "mailauth.toml"
    text = file.read_text()
    start, end = text.index("# One address"), text.index("# What a client reads")
    text = text[:start] + text[end:]
    start, end = text.index("[portal]"), text.index("# The first three are what")
    file.write_text(text[:start] + text[end:])
    said = mailauth("serve")
    assert said.code == 78
    assert "nothing is to be served: there is no [[listen]], no [[bridge]], no [portal]; add one" in said.err


def test_a_log_that_cannot_be_written_is_a_matter_of_configuration(mailauth: Cli, site: Path) -> None:
    file = site / "mailauth.toml"
    file.write_text(file.read_text().replace('#file = ""', 'file = "mailauth.keys/log"'))
    said = mailauth("serve")
    assert said.code == 78
    assert "[log] file: cannot write" in said.err


def test_a_site_of_another_folder_is_served_from_anywhere(site: Path, offset: int, tmp_path: Path) -> None:
    shutil.move(site, tmp_path / "moved")
    assert run("config", "check", "--config", str(tmp_path / "moved" / "mailauth.toml")).code == 0
    with serving("serve", "--config", str(tmp_path / "moved" / "mailauth.toml")) as server:
        server.wait_for("tls=starttls\n")
        assert server.end() == 0
