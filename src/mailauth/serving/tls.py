"""The server's TLS: 1.2 and later, forward secrecy only (RFC 9325), certificates reloaded without a restart."""

from __future__ import annotations

import ssl
from pathlib import Path


class BadCertificate(Exception):
    """The certificate or key cannot be used. The text names the files and what to do."""


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context for all listeners. Raises BadCertificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.num_tickets = 1  # a client resumes one session at a time; each ticket costs the handshake
    _load(context, certificate, key)
    return context


def reload(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Use the files' present content for new handshakes; live ones go on. Raises BadCertificate, keeping the old."""
    _load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)  # a broken pair must not touch the live context
    _load(context, certificate, key)


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for path, what in ((certificate, "certificate"), (key, "key")):
        if not path.is_file():
            raise BadCertificate(f"{path}: no such file; [tls] {what} must name a PEM file")
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unreadable"
        raise BadCertificate(
            f"{certificate} and {key}: not a PEM certificate chain with its own key ({reason}); "
            "check that they belong together and can be read by this user"
        ) from None


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")
