"""TOTP, RFC 6238: the six digits of an authenticator app.

Source: RFC 6238 sections 4 and 5.2, RFC 4226 section 4 (160 bits of secret), the otpauth URI that all apps read.
Rule: each time step counts once, and none after it counts before it. A code that is right for another time is told from
a wrong one; if that time is still to come, its code is spent by having been told.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import pyotp

from mailauth.factors import parts, section, typed
from mailauth.factors.factor import (
    Asked,
    Delay,
    Done,
    Factor,
    Given,
    Later,
    Nature,
    Occasion,
    Reason,
    Record,
    Step,
    Ticket,
    Wrong,
    ticket,
    unanswerable,
)
from mailauth.factors.sealed import NONCE_BYTES, Sealed
from mailauth.factors.tries import UNTRIED, Tries

SECRET = "totp-secret"  # noqa: S105  what it is for
SECRET_BYTES = 20  # RFC 4226 section 4, R6
WINDOW = 1  # steps either side, RFC 6238 section 5.2
SEARCH_S = 3600.0  # so far away a code is still recognised as one
ENROLMENT_S = 3600.0
GROUP = 4
DIGESTS = {"sha1": hashlib.sha1, "sha256": hashlib.sha256, "sha512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class Form:
    """How a secret makes codes; kept with it, since the app keeps it too."""

    algorithm: str = "sha1"
    digits: int = 6
    period_s: int = 30

    def codes(self, secret: bytes) -> pyotp.TOTP:
        """The codes of a secret."""
        return pyotp.TOTP(
            base64.b32encode(secret).decode(),
            digits=self.digits,
            digest=DIGESTS[self.algorithm],
            interval=self.period_s,
        )


@dataclass(frozen=True, slots=True)
class Pending:
    """A secret that is shown and not confirmed yet."""

    ticket: Ticket
    secret: Sealed
    form: Form
    tries: Tries = UNTRIED


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A confirmed secret. last_step: the newest that was used; told: steps to come whose code somebody has shown us."""

    secret: Sealed
    form: Form
    last_step: int
    confirmed_at: float
    told: tuple[int, ...] = ()
    tries: Tries = UNTRIED
    used_at: float | None = None
    name: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Match:
    """What a typed code is. steps: those near now that it is the code of; away: the step elsewhere, None: none."""

    now: int
    steps: tuple[int, ...] = ()
    away: int | None = None


def _six_or_eight(digits: int) -> str | None:
    return None if digits in {6, 8} else "must be 6 or 8"


@dataclass(frozen=True, slots=True)
class Totp:
    """Codes of an authenticator app."""

    name: ClassVar[str] = "totp"
    nature: ClassVar[Nature] = Nature()
    Enrolled: ClassVar[type] = Enrolled
    Pending: ClassVar[type] = Pending
    listed = parts.sole
    renamed = parts.renamed
    without = parts.emptied

    issuer: str = section.option("mailauth", doc="the name of this site in the app", check=section.filled)
    algorithm: str = section.option(
        "sha1", doc="sha1, sha256 or sha512; many apps know sha1 only", check=section.one_of(*DIGESTS)
    )
    digits: int = section.option(6, doc="6 or 8; many apps know 6 only", check=_six_or_eight)
    period_s: int = section.option(
        30, doc="seconds that a code is shown; many apps know 30 only", check=section.between(15, 60)
    )

    def enrol(self, occasion: Occasion, state: Record, given: Given) -> Step:  # noqa: ARG002
        """As Factor; needs nothing."""
        secret = occasion.draw(SECRET, SECRET_BYTES)
        sealed = occasion.box.seal(SECRET, secret, occasion.draw("nonce", NONCE_BYTES))
        form = Form(self.algorithm, self.digits, self.period_s)
        return Asked(state, Pending(ticket(occasion, ENROLMENT_S), sealed, form))

    def confirm(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
        """As Factor; given: `code`, and `name` for it."""
        if (closed := unanswerable(occasion, state, pending)) is not None:
            return closed
        fresh = Enrolled(
            pending.secret, pending.form, -1, occasion.now, (), pending.tries, None, typed.name(given.get("name", ""))
        )
        step = self.check(occasion, fresh, None, given)
        if isinstance(step, Done):
            return Done(dataclasses.replace(step.state, used_at=None))
        return dataclasses.replace(step, state=state, pending=dataclasses.replace(pending, tries=step.state.tries))

    def challenge(self, occasion: Occasion, state: Record) -> Step:  # noqa: ARG002
        """As Factor; the app needs no asking."""
        return Asked(state, None)

    def check(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
        """As Factor; given: `code`."""
        now, tries, form = occasion.now, state.tries, state.form
        if (wait_s := tries.wait_s(now)) > 0:
            return Later(Delay.TRIES, wait_s, dataclasses.replace(state, tries=tries.seen(now)), pending)
        code = typed.digits(given.get("code", ""), form.digits)
        if code is None:
            return Wrong(Reason.MALFORMED, state, pending)
        match = _match(form.codes(occasion.box.open(SECRET, state.secret)), code, now)
        usable = [step for step in match.steps if step > state.last_step and step not in state.told]
        if usable:
            told = tuple([step for step in state.told if step > usable[0]])
            return Done(
                dataclasses.replace(state, last_step=usable[0], told=told, tries=UNTRIED, used_at=now), pending=None
            )
        return _refused(match, state, pending, now)

    def show(self, occasion: Occasion, state: Record, pending: Record) -> Mapping[str, object]:  # noqa: ARG002
        """As Factor; in an enrolment: `svg`, `secret` (in groups of four), `uri`, `issuer`, `account`, and the form."""
        if pending is None:
            return {}
        codes = pending.form.codes(occasion.box.open(SECRET, pending.secret))
        uri = codes.provisioning_uri(name=occasion.login, issuer_name=self.issuer)
        grouped = " ".join([codes.secret[start : start + GROUP] for start in range(0, len(codes.secret), GROUP)])
        shown = {"svg": qr_svg(uri), "secret": grouped, "uri": uri, "issuer": self.issuer, "account": occasion.login}
        return {**shown, **dataclasses.asdict(pending.form)}


def _refused(match: _Match, state: Enrolled, pending: Record, now: float) -> Step:
    """Why a code that cannot be accepted cannot."""
    period_s = state.form.period_s
    if match.steps or match.away == state.last_step:
        following = max(match.now, state.last_step) + 1
        while following in state.told:
            following += 1
        return Wrong(Reason.USED, state, pending, again_in_s=following * period_s - now)
    tries = state.tries.missed(now)
    if match.away is None:
        missed = dataclasses.replace(state, tries=tries)
        return Wrong(Reason.WRONG, missed, pending, tries.left, tries.wait_s(now))
    told = [step for step in state.told if step >= match.now - WINDOW]
    if match.away > match.now:
        told.append(match.away)
    missed = dataclasses.replace(state, tries=tries, told=tuple(told))
    off_by_s = float((match.away - match.now) * period_s)
    return Wrong(Reason.CLOCK, missed, pending, tries.left, tries.wait_s(now), off_by_s)


def qr_svg(text: str) -> str:
    """A QR code (ISO/IEC 18004) as one SVG element: no script, no style, no address; dark on light, with its margin."""
    import segno  # noqa: PLC0415  of the portal's extra, and only a page needs it

    return segno.make(text, error="m", micro=False).svg_inline(scale=4, border=4, dark="#000", light="#fff")


def _match(codes: pyotp.TOTP, code: str, now: float) -> _Match:
    """Find the steps whose code this is. All near ones are computed, whichever matches."""
    current = int(now // codes.interval)
    near = range(max(0, current - WINDOW), current + WINDOW + 1)
    steps = tuple([step for step in near if _is(codes, step, code)])
    if steps:
        return _Match(current, steps)
    for distance in range(WINDOW + 1, int(SEARCH_S // codes.interval) + 1):
        for step in (current - distance, current + distance):
            if step >= 0 and _is(codes, step, code):
                return _Match(current, away=step)
    return _Match(current)


def _is(codes: pyotp.TOTP, step: int, code: str) -> bool:
    return hmac.compare_digest(codes.generate_otp(step), code)


def build(options: Mapping[str, object]) -> Factor:
    """The plug-in's entry."""
    factor: Totp = section.read(Totp, options)
    return factor
