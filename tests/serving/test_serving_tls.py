"""The server's TLS: what it speaks, which files it takes, and how it changes its certificate."""

from __future__ import annotations

import ssl
import warnings
from pathlib import Path

import pytest
import trustme

from mailauth.serving import tls
from mailauth.serving.tls import BadCertificate
from servers import authority, client_tls

Files = tuple[Path, Path]


def write(folder: Path, issued: trustme.LeafCert) -> Files:
    folder.mkdir(exist_ok=True)
    certificate, key = folder / "cert.pem", folder / "key.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return certificate, key


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return write(tmp_path, authority().issue_cert("localhost"))


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """A handshake in memory; the client's end. Raises what either end raises."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(up, down, server_side=True)
    theirs = client.wrap_bio(down, up, server_hostname="localhost")
    shaking = [theirs, ours]
    for _ in range(10):
        for end in list(shaking):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            shaking.remove(end)
        if not shaking:
            return theirs
    raise AssertionError("the handshake does not come to an end")


def client(lowest: ssl.TLSVersion, highest: ssl.TLSVersion, ciphers: str = "ALL:@SECLEVEL=0") -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that is why they are tried
        context.minimum_version, context.maximum_version = lowest, highest
    context.set_ciphers(ciphers)
    return context


def lax(files: Files) -> ssl.SSLContext:
    """A server that takes anything: the control, without which a refusal proves nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.load_cert_chain(*files)
    return context


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_these_are_spoken(files: Files, version: ssl.TLSVersion) -> None:
    session = shake(tls.server_context(*files), client(version, version))
    assert session.version() == version.name.replace("_", ".")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_these_are_not(files: Files, version: ssl.TLSVersion) -> None:
    old = client(version, version)
    assert shake(lax(files), old).version() == version.name.replace("_", ".")
    with pytest.raises(ssl.SSLError):
        shake(tls.server_context(*files), old)


@pytest.mark.parametrize("ciphers", ["AES256-GCM-SHA384", "AES128-SHA", "ECDHE-RSA-AES256-SHA384"])
def test_without_forward_secrecy_and_authenticated_encryption_there_is_no_session(tmp_path: Path, ciphers: str) -> None:
    files = write(tmp_path, authority().issue_cert("localhost", key_type=trustme.KeyType.RSA))
    two = ssl.TLSVersion.TLSv1_2
    weak = client(two, two, ciphers + ":@SECLEVEL=0")
    assert shake(lax(files), weak)
    with pytest.raises(ssl.SSLError):
        shake(tls.server_context(*files), weak)
    assert shake(tls.server_context(*files), client(two, two, "ECDHE+AESGCM"))


def test_renegotiation_and_compression_are_off(files: Files) -> None:
    context = tls.server_context(*files)
    assert ssl.OP_NO_RENEGOTIATION in context.options
    assert ssl.OP_NO_COMPRESSION in context.options


def test_a_new_certificate_is_used_from_the_next_handshake_on(tmp_path: Path, files: Files) -> None:
    context = tls.server_context(*files)
    before = shake(context, client_tls()).getpeercert(binary_form=True)
    assert write(tmp_path, authority().issue_cert("localhost")) == files
    assert shake(context, client_tls()).getpeercert(binary_form=True) == before
    tls.reload(context, *files)
    assert shake(context, client_tls()).getpeercert(binary_form=True) != before


def locked_key(folder: Path) -> Files:
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415

    certificate, key = write(folder, authority().issue_cert("localhost"))
    loaded = s.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        loaded.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"passphrase"))
    )
    return certificate, key


def anothers_key(folder: Path) -> Files:
    certificate, _ = write(folder, authority().issue_cert("localhost"))
    return certificate, write(folder / "other", authority().issue_cert("localhost"))[1]


def garbage(folder: Path) -> Files:
    certificate, key = write(folder, authority().issue_cert("localhost"))
    certificate.write_text("not a certificate")
    return certificate, key


def empty_key(folder: Path) -> Files:
    certificate, key = write(folder, authority().issue_cert("localhost"))
    key.write_bytes(b"")
    return certificate, key


def no_certificate(folder: Path) -> Files:
    certificate, key = write(folder, authority().issue_cert("localhost"))
    certificate.unlink()
    return certificate, key


def a_folder_for_a_key(folder: Path) -> Files:
    return write(folder, authority().issue_cert("localhost"))[0], folder


@pytest.mark.parametrize(
    "broken",
    [locked_key, anothers_key, garbage, empty_key, no_certificate, a_folder_for_a_key],
    ids=lambda f: f.__name__,
)
def test_a_broken_pair_is_named_and_the_old_one_stays(tmp_path: Path, files: Files, broken: object) -> None:
    context = tls.server_context(*files)
    before = shake(context, client_tls()).getpeercert(binary_form=True)
    pair = broken(tmp_path / "broken")  # type: ignore[operator]
    with pytest.raises(BadCertificate) as raised:
        tls.reload(context, *pair)
    text = str(raised.value)
    assert any(str(path) in text for path in pair)
    assert text.isprintable()
    assert shake(context, client_tls()).getpeercert(binary_form=True) == before
    with pytest.raises(BadCertificate):
        tls.server_context(*pair)
