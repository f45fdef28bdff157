"""What a second factor is: four questions, and the five answers that a step may have.

Source: NIST SP 800-63B-4 sections 3.1 and 3.2, for what each kind must hold; its words where there are words.
Rule: pure. A step gets everything in (time, randomness, what is stored) and gives everything out. Whoever carries it
out writes `step.state` in place of the state handed in and `step.pending` in place of the pending handed in, in one
transaction, if both are still what was read; else reads again and asks again. Only then is the step shown, believed,
or its Fetch carried out: so no try is free, and nothing is used twice, however many ask at once.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any, ClassVar, Protocol

from mailauth.factors.fetch import Answer, Request
from mailauth.factors.ledger import Cost
from mailauth.factors.sealed import Box, Sealed

RANDOM_BYTES = 32
TICKET_BYTES = 24
Record = Any  # a frozen dataclass of the factor's own module, which `record` writes and reads; None: there is none
Given = Mapping[str, str]  # what came from the browser, by field name


class Reason(StrEnum):
    """Why an answer is wrong: what the user can act on. The sentences are the portal's."""

    WRONG = "wrong"  # not the code
    MALFORMED = "malformed"  # cannot be one; not counted
    USED = "used"  # it was right, and has been used: wait for the next
    CLOCK = "clock"  # it is right for another time: off_by_s
    EXPIRED = "expired"  # too late: begin again
    EXHAUSTED = "exhausted"  # too many wrong ones for this code: have a new one sent
    NOTHING_ASKED = "nothing-asked"  # there is no code or question open
    ELSEWHERE = "elsewhere"  # asked in another session, or for another purpose
    NOT_A_NUMBER = "not-a-number"
    NOT_SERVED = "not-served"  # a telephone number, but of a country that this site sends nothing to
    UNREACHABLE = "unreachable"  # the gateway says that nothing can be sent to this number
    DECLINED = "declined"  # by the user, at the provider
    OTHER_IDENTITY = "other-identity"  # not the one that was bound
    NOT_A_MEMBER = "not-a-member"  # of the organisation
    UNVERIFIED = "unverified"  # the key did not ask for PIN, finger or face
    CLONED = "cloned"  # a key that counts backwards: there is a copy of it
    UNKNOWN_KEY = "unknown-key"  # a key, but none of this account's
    KNOWN_ALREADY = "known-already"
    TOO_MANY = "too-many"


class Delay(StrEnum):
    """Why a step has to wait. Nothing was judged, and nothing is counted."""

    TRIES = "tries"  # too many wrong answers lately
    RESEND = "resend"  # a code was sent a moment ago
    SENDS = "sends"  # too many were sent: to this number, for this account, from this address, or in all
    PROVIDER = "provider"  # the provider or gateway is down, refuses us, or made no sense: `detail` says it


@dataclass(frozen=True, slots=True)
class Hashing:
    """How a secret of few letters is stored. Slow: a factor that uses it is asked in a thread.

    hash: raises HashUnavailable. verify(record, secret): raises BadRecord, HashUnavailable.
    """

    hash: Callable[[bytes], str]
    verify: Callable[[str, bytes], bool]


@dataclass(frozen=True, slots=True)
class Occasion:
    """Who asks, when, and for what: the same value for all steps of one request, a new one for each request.

    now: epoch seconds. random: 32 fresh bytes of the operating system. box: of this account. login: as people know
    the account. session: the identifier of the portal session. purpose: what is being proven, with its parameters.
    source: the client's address, as `guessing.source_of` has it. language: "zh" or "en", of a message to be sent.
    """

    now: float
    random: bytes = field(repr=False)
    box: Box = field(repr=False)
    hashing: Hashing = field(repr=False)
    login: str
    session: str = field(repr=False)
    purpose: str
    source: str = ""
    language: str = "en"

    def draw(self, label: str, length_bytes: int) -> bytes:
        """At most 64 random bytes for one use; another label gives others. Keyed BLAKE2b, RFC 7693, of `random`."""
        if len(self.random) < RANDOM_BYTES:
            raise ValueError("an occasion needs 32 random bytes")
        return blake2b(label.encode(), digest_size=length_bytes, key=self.random).digest()

    def bound(self) -> str:
        """A digest of session and purpose, to keep instead of them: hex text."""
        session, purpose = self.session.encode(), self.purpose.encode()
        return blake2b(b"%d:%b%d:%b" % (len(session), session, len(purpose), purpose), digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class Ticket:
    """What ties an open question to its session and purpose.

    id: unguessable; several questions may be open in one session (two tabs), each under its own. expires_at: epoch
    seconds.
    """

    id: str = field(repr=False)
    bound: str = field(repr=False)
    expires_at: float

    def problem(self, occasion: Occasion) -> Reason | None:
        """Why this occasion may not answer the question; None: it may."""
        if not hmac.compare_digest(self.bound, occasion.bound()):
            return Reason.ELSEWHERE
        return Reason.EXPIRED if occasion.now >= self.expires_at else None


def ticket(occasion: Occasion, valid_s: float) -> Ticket:
    """A new one."""
    return Ticket(occasion.draw("ticket", TICKET_BYTES).hex(), occasion.bound(), occasion.now + valid_s)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question stands, and `Factor.show` says what the page needs. pending None: no more than the field is needed."""

    state: Record
    pending: Record


@dataclass(frozen=True, slots=True)
class Done:
    """Proven: `confirm` has enrolled the factor, or `check` has verified it.

    claims: of an enrolment: what may serve one account only, sealed; an enrolment whose claim another account has is
    refused.
    """

    state: Record
    pending: Record = None
    claims: tuple[Sealed, ...] = ()


@dataclass(frozen=True, slots=True)
class Wrong:
    """Judged, and refused.

    tries_left: before it is delayed or the code is dead; None: not counted. again_in_s: when the next answer can be
    right. off_by_s: the device's clock against ours, positive when ahead. detail: for the log; holds no secret.
    """

    reason: Reason
    state: Record
    pending: Record
    tries_left: int | None = None
    again_in_s: float = 0.0
    off_by_s: float = 0.0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """Not judged. detail: for the log, when the operator has to do something about it; holds no secret."""

    why: Delay
    retry_after_s: float
    state: Record
    pending: Record
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Fetch:
    """To be asked of the outside world, once state and pending are written and the costs are charged.

    then: takes the answer (None: there was none) and gives the next step, whose state is meant to replace this one's.
    If that is not there any more, the step does not count: begin again.
    """

    request: Request
    then: Callable[[Answer | None], Step] = field(repr=False)
    state: Record
    pending: Record
    costs: tuple[Cost, ...] = ()


Step = Asked | Done | Wrong | Later | Fetch


def unanswerable(occasion: Occasion, state: Record, pending: Record) -> Wrong | None:
    """Why this pending, which has a ticket, cannot be answered on this occasion; None: it can."""
    if pending is None:
        return Wrong(Reason.NOTHING_ASKED, state, None)
    problem = pending.ticket.problem(occasion)
    if problem is None:
        return None
    return Wrong(problem, state, None if problem is Reason.EXPIRED else pending)


@dataclass(frozen=True, slots=True)
class Nature:
    """What a factor is good for.

    alone: an account that has it has a second factor. proves_acts: it may prove an act (a new app password, another
    factor), not only a sign-in and a new enrolment. for_administrators: enough for them by itself. outside: somebody
    else's service learns of each use, so that the user is asked first.
    """

    alone: bool = True
    proves_acts: bool = True
    for_administrators: bool = True
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a user sees in the list of his factors and can rename or remove.

    id: within the factor; "" where there is only one. detail: masked where it is personal. Times: epoch seconds.
    """

    id: str
    name: str
    detail: str
    created_at: float
    used_at: float | None


class Factor(Protocol):
    """One kind of second factor; an account has one state of each kind, or none.

    name: as configured. Enrolled, Pending: what its states and pendings are, for `record.from_json`.
    """

    name: ClassVar[str]
    nature: ClassVar[Nature]
    Enrolled: ClassVar[type]
    Pending: ClassVar[type]

    def enrol(self, occasion: Occasion, state: Record, given: Given) -> Step:
        """Begin an enrolment. state: None, or what `confirm` is going to add to or replace."""

    def confirm(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
        """End an enrolment with the proof that it works."""

    def challenge(self, occasion: Occasion, state: Record) -> Step:
        """Begin a verification: have a code sent, or put a question."""

    def check(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
        """Judge an answer."""

    def show(self, occasion: Occasion, state: Record, pending: Record) -> Mapping[str, object]:
        """What the page of an open question needs: texts, numbers, URLs, one SVG. Never to be stored or logged."""

    def listed(self, state: Record) -> tuple[Part, ...]:
        """What the user sees of it, oldest first."""

    def renamed(self, state: Record, part: str, name: str) -> Record:
        """The state with a part's name changed. Raises LookupError: no such part."""

    def without(self, state: Record, part: str) -> Record:
        """The state without a part; None: nothing is left. Raises LookupError: no such part."""
