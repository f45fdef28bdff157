"""A certificate for this machine alone, and the authority that clients are told to trust.

Source: RFC 5280; RFC 6125 (names stand in subjectAltName; some old clients look for a common name too);
support.apple.com/102028 (at most 825 days, serverAuth, SHA-256).
Rule: the authority signs once. Its private key is never written anywhere, so nobody can sign with it later.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFE = timedelta(days=824)  # with the hour below still less than the 825 that Apple's systems take
SLOW_CLOCK = timedelta(hours=1)  # a client's clock may be late by so much
NAMES = ("localhost",)
ADDRESSES = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM texts. authority: for clients to trust; server: the certificate; key: its private key, PKCS #8."""

    authority: bytes
    server: bytes
    key: bytes = field(repr=False)


def make(now: datetime | None = None) -> Certificates:
    """A new authority, and a certificate by it for `localhost`, 127.0.0.1 and ::1. now: aware; None: the present."""
    began = (now or datetime.now(UTC)) - SLOW_CLOCK
    ends = began + SLOW_CLOCK + LIFE
    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    issuer = _name(f"mailauth {secrets.token_hex(4)}")  # a client may trust several sites: each has a name of its own
    authority = _authority(issuer, authority_key, began, ends)
    server = (
        _builder(_name(NAMES[0]), issuer, server_key.public_key(), began, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName(
                [*map(x509.DNSName, NAMES), *[x509.IPAddress(ip_address(address)) for address in ADDRESSES]]
            ),
            critical=False,
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, SHA256())
    )
    return Certificates(
        authority.public_bytes(Encoding.PEM),
        server.public_bytes(Encoding.PEM),
        server_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _authority(issuer: x509.Name, key: ec.EllipticCurvePrivateKey, began: datetime, ends: datetime) -> x509.Certificate:
    return (
        _builder(issuer, issuer, key.public_key(), began, ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, began: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
