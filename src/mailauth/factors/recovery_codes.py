"""Recovery codes: ten secrets on paper, each good for one sign-in when nothing else is at hand.

Source: NIST SP 800-63B-4 section 3.1.2 (look-up secrets): hashed, each once; 49 bits, so wrong ones are slowed down.
Rule: they prove a sign-in and a new enrolment, never an act. New ones count, and the old ones die, when their owner
says that he has kept them. Beside each hash stands a keyed selector, so that a wrong code costs no hash; its key is of
this account and these codes only, and sealed, so that it can move to another server key without the codes.
"""

from __future__ import annotations

import dataclasses
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import ClassVar

from mailauth.apppassword import ALPHABET
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

CODES = "recovery-codes"
SELECTOR = "recovery-selector"
COUNT = 10
LENGTH = 10
HALF = LENGTH // 2
SELECTOR_BYTES = 2
SELECTOR_KEY_BYTES = 32
VALID_S = 3600.0


@dataclass(frozen=True, slots=True)
class Stored:
    """One code that is left. selector: hex."""

    selector: str
    record: str


@dataclass(frozen=True, slots=True)
class Pending:
    """Codes that are shown, and not kept yet. codes: a JSON list."""

    ticket: Ticket
    codes: Sealed


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What is left of the codes, and the key of their selectors."""

    codes: tuple[Stored, ...]
    selector_key: Sealed
    confirmed_at: float
    tries: Tries = UNTRIED
    used_at: float | None = None
    name: str = ""

    @property
    def detail(self) -> str:
        """How many are left."""
        return str(len(self.codes))


@dataclass(frozen=True, slots=True)
class RecoveryCodes:
    """Ten codes, each once. They have no settings."""

    name: ClassVar[str] = "recovery-codes"
    nature: ClassVar[Nature] = Nature(alone=False, proves_acts=False, for_administrators=False)
    Enrolled: ClassVar[type] = Enrolled
    Pending: ClassVar[type] = Pending
    listed = parts.sole
    renamed = parts.renamed
    without = parts.emptied

    def enrol(self, occasion: Occasion, state: Record, given: Given) -> Step:  # noqa: ARG002
        """As Factor; makes new codes, and leaves the old ones alone."""
        made = json.dumps([_made(occasion.draw(f"code {number}", 32)) for number in range(COUNT)])
        sealed = occasion.box.seal(CODES, made.encode(), occasion.draw("nonce", NONCE_BYTES))
        return Asked(state, Pending(ticket(occasion, VALID_S), sealed))

    def confirm(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:  # noqa: ARG002
        """As Factor; needs nothing but the owner's word that he has kept them. Ten hashes: slow."""
        if (closed := unanswerable(occasion, state, pending)) is not None:
            return closed
        key = occasion.draw(SELECTOR, SELECTOR_KEY_BYTES)
        sealed = occasion.box.seal(SELECTOR, key, occasion.draw("nonce", NONCE_BYTES))
        stored = [
            Stored(_selector(key, code), occasion.hashing.hash(code.encode())) for code in _codes(occasion, pending)
        ]
        return Done(Enrolled(tuple(stored), sealed, occasion.now))

    def challenge(self, occasion: Occasion, state: Record) -> Step:  # noqa: ARG002
        """As Factor; the paper needs no asking."""
        return Asked(state, None)

    def check(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
        """As Factor; given: `code`. A hash only if the selector of one that is left says so."""
        now, tries = occasion.now, state.tries
        if (wait_s := tries.wait_s(now)) > 0:
            return Later(Delay.TRIES, wait_s, dataclasses.replace(state, tries=tries.seen(now)), pending)
        code = typed.plain(given.get("code", ""))
        if len(code) != LENGTH or not set(code) <= set(ALPHABET):
            return Wrong(Reason.MALFORMED, state, pending)
        selector = _selector(occasion.box.open(SELECTOR, state.selector_key), code)
        for stored in state.codes:
            hit = hmac.compare_digest(stored.selector, selector)
            if hit and occasion.hashing.verify(stored.record, code.encode()):
                left = tuple([each for each in state.codes if each is not stored])
                return Done(dataclasses.replace(state, codes=left, tries=UNTRIED, used_at=now))
        missed = tries.missed(now)
        return Wrong(Reason.WRONG, dataclasses.replace(state, tries=missed), pending, missed.left, missed.wait_s(now))

    def show(self, occasion: Occasion, state: Record, pending: Record) -> Mapping[str, object]:
        """As Factor: `left`, and of new ones `codes` and `text`, a file to keep."""
        if pending is None:
            return {"left": len(state.codes)}
        codes = [written(code) for code in _codes(occasion, pending)]
        text = "".join([f"{number:2}. {line}\n" for number, line in enumerate(codes, start=1)])
        return {"left": len(codes), "codes": tuple(codes), "text": f"{occasion.login}\n\n{text}"}


def written(code: str) -> str:
    """As it is read and typed: "abcde-fghjk"."""
    return code[:HALF] + "-" + code[HALF:]


def _made(random: bytes) -> str:
    """A code out of 32 random bytes: so many that each letter is as likely as any other."""
    number = int.from_bytes(random, "big")
    letters = []
    for _ in range(LENGTH):
        number, index = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[index])
    return "".join(letters)


def _codes(occasion: Occasion, pending: Pending) -> list[str]:
    return [str(code) for code in json.loads(occasion.box.open(CODES, pending.codes))]


def _selector(key: bytes, code: str) -> str:
    return blake2b(code.encode(), digest_size=SELECTOR_BYTES, key=key).hexdigest()


def build(options: Mapping[str, object]) -> Factor:
    """The plug-in's entry."""
    factor: RecoveryCodes = section.read(RecoveryCodes, options)
    return factor
