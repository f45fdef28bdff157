"""The certificate of a new site, as openssl and Python's own TLS see it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from mailauth.founding import certificates


@pytest.fixture(scope="module")
def made() -> certificates.Certificates:
    return certificates.make()


@pytest.fixture
def folder(made: certificates.Certificates, tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_bytes(made.authority)
    (tmp_path / "server.pem").write_bytes(made.server)
    (tmp_path / "server.key").write_bytes(made.key)
    return tmp_path


def test_apple_would_take_it(made: certificates.Certificates) -> None:
    server = x509.load_pem_x509_certificate(made.server)
    assert server.not_valid_after_utc - server.not_valid_before_utc < timedelta(days=825)
    assert list(server.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert server.signature_hash_algorithm is not None
    assert server.signature_hash_algorithm.name == "sha256"


def test_a_client_whose_clock_is_a_little_late_takes_it() -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    server = x509.load_pem_x509_certificate(certificates.make(now).server)
    assert server.not_valid_before_utc <= now - timedelta(minutes=59)
    assert server.not_valid_after_utc > now + timedelta(days=800)


def test_the_key_of_the_authority_is_nowhere(made: certificates.Certificates, folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        context.load_cert_chain(folder / "ca.pem", folder / "server.key")
    assert b"PRIVATE" not in made.authority + made.server
    assert made.key.decode() not in repr(made)


def test_two_sites_share_nothing(made: certificates.Certificates) -> None:
    other = certificates.make()
    assert made.authority != other.authority
    with pytest.raises(ValueError, match="issuer"):
        x509.load_pem_x509_certificate(other.server).verify_directly_issued_by(
            x509.load_pem_x509_certificate(made.authority)
        )


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_python_takes_it_strictly_under_each_of_its_names(folder: Path, name: str) -> None:
    _handshake(folder, name)


def test_python_does_not_take_it_under_another_name(folder: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(folder, "mail.example.com")


def _handshake(folder: Path, name: str) -> None:
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "server.pem", folder / "server.key")
    client_side = ssl.create_default_context(cafile=folder / "ca.pem")
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server, server_hostname=name)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    unfinished = [client, server]
    while unfinished:
        for side in list(unfinished):
            try:
                side.do_handshake()
                unfinished.remove(side)
            except ssl.SSLWantReadError:
                continue


@pytest.mark.system
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openssl_verifies_it_strictly(folder: Path) -> None:
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost"]
    done = subprocess.run(
        [*command, "-CAfile", "ca.pem", "server.pem"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stdout == "server.pem: OK\n", done.stderr
