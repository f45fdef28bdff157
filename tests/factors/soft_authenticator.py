"""A security key in pure Python: makes credentials and signs challenges as a browser and its authenticator do.

Source: Web Authentication Level 3 sections 5.8.1, 6.1, 6.5; CTAP2 canonical CBOR; RFC 9053 section 2.1 (ES256).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import struct
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

UP, UV, AT = 0x01, 0x04, 0x40


def cbor(value: Any) -> bytes:
    """Canonical CBOR of what WebAuthn needs: ints, bytes, text, maps in the order given."""
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    return _head(5, len(value)) + b"".join([cbor(key) + cbor(item) for key, item in value.items()])


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for kind, form, most in ((24, ">B", 0xFF), (25, ">H", 0xFFFF), (26, ">I", 0xFFFFFFFF)):
        if number <= most:
            return bytes([major << 5 | kind]) + struct.pack(form, number)
    raise OverflowError(number)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class SoftAuthenticator:
    """One key. verifies: whether it asks for a PIN; counts: whether it has a counter."""

    def __init__(self, origin: str, *, verifies: bool = True, counts: bool = True, eddsa: bool = False) -> None:
        self.origin = origin
        self.verifies = verifies
        self.counts = counts
        self.count = 0
        self.eddsa = eddsa
        self.cross_origin: bool | None = False
        self.key: Any = ed25519.Ed25519PrivateKey.generate() if eddsa else ec.generate_private_key(ec.SECP256R1())
        self.id = secrets.token_bytes(32)

    def create(self, options: dict[str, Any], **altered: Any) -> str:
        """The JSON of navigator.credentials.create. altered: fields of the client data."""
        assert b64(self.id) not in [known["id"] for known in options["excludeCredentials"]], "InvalidStateError"
        client_data = self._client_data("webauthn.create", options["challenge"], altered)
        attested = bytes(16) + struct.pack(">H", len(self.id)) + self.id + self._cose()
        auth_data = self._auth_data(options["rp"]["id"], AT, attested)
        attestation = cbor({"fmt": "none", "attStmt": {}, "authData": auth_data})
        response = {
            "clientDataJSON": b64(client_data),
            "attestationObject": b64(attestation),
            "transports": ["usb", "nfc", "of-another-world"],
        }
        return self._credential(response)

    def get(self, options: dict[str, Any], **altered: Any) -> str:
        """The JSON of navigator.credentials.get."""
        client_data = self._client_data("webauthn.get", options["challenge"], altered)
        auth_data = self._auth_data(options["rpId"], 0, b"")
        signed = auth_data + hashlib.sha256(client_data).digest()
        signature = self.key.sign(signed) if self.eddsa else self.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": b64(client_data),
            "authenticatorData": b64(auth_data),
            "signature": b64(signature),
            "userHandle": None,
        }
        return self._credential(response)

    def _credential(self, response: dict[str, Any]) -> str:
        return json.dumps(
            {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "response": response, "extra": 1}
        )

    def _client_data(self, kind: str, challenge: str, altered: dict[str, Any]) -> bytes:
        fields = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": self.cross_origin}
        return json.dumps(fields | altered).encode()

    def _auth_data(self, rp_id: str, flags: int, attested: bytes) -> bytes:
        self.count += self.counts
        flags |= UP | (UV if self.verifies else 0)
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + struct.pack(">I", self.count) + attested

    def _cose(self) -> bytes:
        if self.eddsa:
            return cbor({1: 1, 3: -8, -1: 6, -2: self.key.public_key().public_bytes_raw()})
        numbers = self.key.public_key().public_numbers()
        return cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
