"""The two ceremonies of WebAuthn, checked by the library `webauthn`, which only this file imports: it is an extra.

Source: Web Authentication Level 3, sections 7.1 and 7.2.
Rule: whatever a browser sends is checked or Unacceptable; nothing else comes out. Attestation is not asked for; a
statement that comes all the same is not believed, and so not read: no certificate is ever parsed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from webauthn import generate_authentication_options, generate_registration_options
from webauthn import verify_authentication_response as verify_assertion
from webauthn import verify_registration_response as verify_attestation
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    encode_cbor,
    options_to_json_dict,
    parse_authentication_credential_json,
    parse_cbor,
    parse_client_data_json,
    parse_registration_credential_json,
)
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from mailauth.interfaces import BadRecord

MAX_CREDENTIAL_CHARACTERS = 65536
TIMEOUT_MS = 300_000  # the browser's; Web Authentication section 15.1 recommends five minutes at least

# What the library lets out for bytes that are no CBOR, no key, no JSON or not of the shape it expects.
_BAD_INPUT = (
    WebAuthnException,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


class Unacceptable(Exception):
    """A response of a browser that proves nothing. unverified: only for want of PIN, finger or face."""

    def __init__(self, unverified: bool = False) -> None:
        super().__init__("unverified" if unverified else "unacceptable")
        self.unverified = unverified


@dataclass(frozen=True, slots=True)
class Site:
    """Who we are to a browser. rp_id: a host name; origins: where our pages are."""

    rp_id: str
    rp_name: str
    origins: tuple[str, ...]
    verification: str


@dataclass(frozen=True, slots=True)
class Known:
    """What an authenticator is asked about: base64url."""

    id: str
    transports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """A new credential: base64url."""

    id: str
    public_key: str = field(repr=False)
    sign_count: int
    transports: tuple[str, ...]


def creation(site: Site, challenge: bytes, user: bytes, login: str, known: tuple[Known, ...]) -> dict[str, Any]:
    """The options of navigator.credentials.create, as JSON has them (PublicKeyCredentialCreationOptionsJSON)."""
    options = generate_registration_options(
        rp_id=site.rp_id,
        rp_name=site.rp_name,
        user_id=user,
        user_name=login,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        exclude_credentials=_descriptors(known),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.DISCOURAGED,  # the login is known before a key is asked for
            user_verification=UserVerificationRequirement(site.verification),
        ),
    )
    return options_to_json_dict(options)


def request(site: Site, challenge: bytes, known: tuple[Known, ...]) -> dict[str, Any]:
    """The options of navigator.credentials.get, as JSON has them (PublicKeyCredentialRequestOptionsJSON)."""
    options = generate_authentication_options(
        rp_id=site.rp_id,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        allow_credentials=_descriptors(known),
        user_verification=UserVerificationRequirement(site.verification),
    )
    return options_to_json_dict(options)


def attested(site: Site, challenge: bytes, response: str) -> Made:
    """The credential that a browser has made. Raises Unacceptable."""
    try:
        credential = parse_registration_credential_json(_bounded(response))
        _same_origin(credential.response.client_data_json)
        credential.response.attestation_object = _without_statement(credential.response.attestation_object)
        verified = verify_attestation(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=list(site.origins),
        )
        _verifying(verified.credential_public_key)
    except _BAD_INPUT:
        raise Unacceptable from None
    if site.verification == "required" and not verified.user_verified:
        raise Unacceptable(unverified=True)
    transports = tuple([each.value for each in credential.response.transports or ()])
    public_key = bytes_to_base64url(verified.credential_public_key)
    return Made(bytes_to_base64url(verified.credential_id), public_key, verified.sign_count, transports)


def credential_id(response: str) -> str:
    """Which credential answers: base64url. Raises Unacceptable."""
    try:
        return bytes_to_base64url(parse_authentication_credential_json(_bounded(response)).raw_id)
    except _BAD_INPUT:
        raise Unacceptable from None


def asserted(site: Site, challenge: bytes, response: str, public_key: str) -> int:
    """The sign count of a good answer, which the caller compares. Raises Unacceptable; BadRecord: our key is broken."""
    stored_key = _readable(public_key)
    try:
        credential = parse_authentication_credential_json(_bounded(response))
        _same_origin(credential.response.client_data_json)
        verified = verify_assertion(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=site.rp_id,
            expected_origin=list(site.origins),
            credential_public_key=stored_key,
            credential_current_sign_count=0,
        )
    except _BAD_INPUT:
        raise Unacceptable from None
    if site.verification == "required" and not verified.user_verified:
        raise Unacceptable(unverified=True)
    return verified.new_sign_count


def _readable(public_key: str) -> bytes:
    """What was stored, if it can verify anything: were it broken, every answer would look wrong."""
    try:
        stored = base64url_to_bytes(public_key)
        _verifying(stored)
    except _BAD_INPUT:
        raise BadRecord("the public key of a stored credential cannot be read") from None
    return stored


def _verifying(public_key: bytes) -> None:
    """Raise one of _BAD_INPUT unless it is a key that can verify."""
    decoded_public_key_to_cryptography(decode_credential_public_key(public_key))


def _bounded(response: str) -> str:
    if len(response) > MAX_CREDENTIAL_CHARACTERS:
        raise ValueError
    return response


def _without_statement(attestation: bytes) -> bytes:
    return encode_cbor({"fmt": "none", "attStmt": {}, "authData": parse_cbor(attestation)["authData"]})


def _same_origin(client_data: bytes) -> None:
    """Raise ValueError if the answer was given within a frame of somebody else's page (sections 7.1 and 7.2)."""
    if parse_client_data_json(client_data).cross_origin:
        raise ValueError


def _descriptors(known: tuple[Known, ...]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=base64url_to_bytes(each.id), transports=[AuthenticatorTransport(way) for way in each.transports] or None
        )
        for each in known
    ]
