"""WebAuthn: passkeys and security keys, as many as their owner has, each with a name.

Source: Web Authentication Level 3, sections 6.1.1 (sign count), 7.1 and 7.2; `ceremony` does the checking.
Rule: a challenge is spent by the first answer, right or wrong. A key that counts backwards is refused, and says so.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from mailauth.factors import section, typed
from mailauth.factors.factor import (
    Asked,
    Done,
    Factor,
    Given,
    Nature,
    Occasion,
    Part,
    Reason,
    Record,
    Step,
    Ticket,
    Wrong,
    ticket,
    unanswerable,
)
from mailauth.factors.sealed import NONCE_BYTES

if TYPE_CHECKING:
    from mailauth.factors.ceremony import Known, Site

CREDENTIAL = "webauthn-credential"
CHALLENGE_BYTES = 32
USER_BYTES = 32  # section 5.4.3: no personal data in it
VALID_S = 360.0
VERIFICATIONS = ("required", "preferred", "discouraged")


@dataclass(frozen=True, slots=True)
class Pending:
    """A challenge that is open. user: the handle of the account, of a registration."""

    ticket: Ticket
    challenge: str = field(repr=False)
    user: str = field(default="", repr=False)
    name: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """One credential; id and public key in base64url."""

    id: str
    public_key: str = field(repr=False)
    sign_count: int
    transports: tuple[str, ...]
    created_at: float
    used_at: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """The keys of an account, oldest first. user: the handle under which authenticators know it."""

    user: str = field(repr=False)
    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class WebAuthn:
    """Passkeys and security keys."""

    name: ClassVar[str] = "webauthn"
    nature: ClassVar[Nature] = Nature()
    Enrolled: ClassVar[type] = Enrolled
    Pending: ClassVar[type] = Pending

    rp_id: str = section.option(doc="the host name of the portal", check=section.filled, wired=True)
    origins: tuple[str, ...] = section.option(doc="scheme, host and port of the portal", wired=True)
    rp_name: str = section.option("mailauth", doc="the name of this site in the browser", check=section.filled)
    user_verification: str = section.option(
        "required",
        doc="required: the key asks for PIN, finger or face; preferred: if it can, for old keys; discouraged",
        check=section.one_of(*VERIFICATIONS),
    )
    max_keys: int = section.option(10, doc="keys of one account, at most", check=section.between(1, 50))

    def enrol(self, occasion: Occasion, state: Record, given: Given) -> Step:
        """As Factor; given: `name` for the key."""
        if state is not None and len(state.keys) >= self.max_keys:
            return Wrong(Reason.TOO_MANY, state, None)
        user = _text(occasion.draw("user", USER_BYTES)) if state is None else state.user
        return Asked(state, _opened(occasion, user, typed.name(given.get("name", ""))))

    def confirm(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
        """As Factor; given: `credential`, the JSON of what navigator.credentials.create gave."""
        from mailauth.factors import ceremony  # noqa: PLC0415  of an extra

        if (closed := unanswerable(occasion, state, pending)) is not None:
            return closed
        try:
            made = ceremony.attested(self._site(), _bytes(pending.challenge), given.get("credential", ""))
        except ceremony.Unacceptable as fault:
            return Wrong(Reason.UNVERIFIED if fault.unverified else Reason.WRONG, state, None)
        keys: tuple[Key, ...] = () if state is None else state.keys
        if any(key.id == made.id for key in keys):
            return Wrong(Reason.KNOWN_ALREADY, state, None)
        if len(keys) >= self.max_keys:
            return Wrong(Reason.TOO_MANY, state, None)
        key = Key(made.id, made.public_key, made.sign_count, made.transports, occasion.now, name=pending.name)
        user = pending.user if state is None else state.user
        claim = occasion.box.seal(CREDENTIAL, made.id.encode(), occasion.draw("claim", NONCE_BYTES))
        return Done(Enrolled(user, (*keys, key)), claims=(claim,))

    def challenge(self, occasion: Occasion, state: Record) -> Step:
        """As Factor."""
        return Asked(state, _opened(occasion))

    def check(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
        """As Factor; given: `credential`, the JSON of what navigator.credentials.get gave."""
        from mailauth.factors import ceremony  # noqa: PLC0415  of an extra

        if (closed := unanswerable(occasion, state, pending)) is not None:
            return closed
        response = given.get("credential", "")
        try:
            answering = ceremony.credential_id(response)
            key = next((each for each in state.keys if each.id == answering), None)
            if key is None:
                return Wrong(Reason.UNKNOWN_KEY, state, None)
            count = ceremony.asserted(self._site(), _bytes(pending.challenge), response, key.public_key)
        except ceremony.Unacceptable as fault:
            return Wrong(Reason.UNVERIFIED if fault.unverified else Reason.WRONG, state, None)
        if (count or key.sign_count) and count <= key.sign_count:
            return Wrong(Reason.CLONED, state, None, detail=f"sign count {count} after {key.sign_count}")
        return Done(_with(state, dataclasses.replace(key, sign_count=count, used_at=occasion.now)))

    def show(self, occasion: Occasion, state: Record, pending: Record) -> Mapping[str, object]:
        """As Factor: `options`, what the browser's parse...OptionsFromJSON takes."""
        from mailauth.factors import ceremony  # noqa: PLC0415  of an extra

        known: tuple[Known, ...] = (
            () if state is None else tuple([ceremony.Known(key.id, key.transports) for key in state.keys])
        )
        challenge = _bytes(pending.challenge)
        if pending.user:
            options = ceremony.creation(self._site(), challenge, _bytes(pending.user), occasion.login, known)
        else:
            options = ceremony.request(self._site(), challenge, known)
        return {"options": options}

    def listed(self, state: Record) -> tuple[Part, ...]:
        """As Factor."""
        return tuple([Part(key.id, key.name, "", key.created_at, key.used_at) for key in state.keys])

    def renamed(self, state: Record, part: str, name: str) -> Record:
        """As Factor."""
        return _with(state, dataclasses.replace(_key(state, part), name=typed.name(name)))

    def without(self, state: Record, part: str) -> Record:
        """As Factor."""
        gone = _key(state, part)
        left = tuple([key for key in state.keys if key is not gone])
        return dataclasses.replace(state, keys=left) if left else None

    def _site(self) -> Site:
        from mailauth.factors import ceremony  # noqa: PLC0415  of an extra

        return ceremony.Site(self.rp_id, self.rp_name, self.origins, self.user_verification)


def _opened(occasion: Occasion, user: str = "", name: str = "") -> Pending:
    challenge = _text(occasion.draw("challenge", CHALLENGE_BYTES))
    return Pending(ticket(occasion, VALID_S), challenge, user, name)


def _key(state: Enrolled, part: str) -> Key:
    for key in state.keys:
        if key.id == part:
            return key
    raise LookupError(part)


def _with(state: Enrolled, changed: Key) -> Enrolled:
    return dataclasses.replace(state, keys=tuple([changed if key.id == changed.id else key for key in state.keys]))


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def build(options: Mapping[str, object]) -> Factor:
    """The plug-in's entry."""
    if importlib.util.find_spec("webauthn") is None:
        raise section.BadSection("webauthn", "needs the extra of that name: pip install 'mailauth[webauthn]'")
    factor: WebAuthn = section.read(WebAuthn, options)
    return factor
