"""A code by text message: six digits to a bound number.

Source: NIST SP 800-63B-4 section 3.1.3 (out-of-band: at most ten minutes, once) and 3.1.3.3 (the telephone network).
Rule: one code lives per number bound, in the state, so that a new one kills the old in every session; five tries, and
every wrong one is in the state before it is answered. It is stored sealed; a code belongs to one session and purpose,
and elsewhere it is not even compared.
"""

# ruff: noqa: RUF009  `option` makes dataclass fields

from __future__ import annotations

import dataclasses
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, assert_never

from mailauth.factors import parts, section, telephone, typed
from mailauth.factors.factor import (
    Asked,
    Delay,
    Done,
    Factor,
    Fetch,
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
from mailauth.factors.fetch import Answer
from mailauth.factors.ledger import Cost
from mailauth.factors.message import Busy, Gateway, Message, Refused, Sent
from mailauth.factors.sealed import NONCE_BYTES, Sealed

NUMBER = "telephone-number"
CODE = "sms-code"
LEDGER = "sms-ledger"
DIGITS = 6
TRIES = 5
LONGEST_S = 600  # NIST SP 800-63B-4 section 3.1.3
HOUR_S, DAY_S = 3600.0, 86400.0
PER_ACCOUNT_DAY = 15
PER_HOUR, PER_DAY = 5, 10  # to one number; Aliyun documents the same bounds for mainland China
ENROLMENTS_HOUR, ENROLMENTS_DAY = 2, 5  # of them; counted apart: whoever types a number cannot use up its owner's codes
SOURCE_HOURS = 5  # a source may have its day's messages in so many hours


@dataclass(frozen=True, slots=True)
class Code:
    """One code that was sent. bound: to which session and purpose. Times: epoch seconds."""

    digits: Sealed
    bound: str
    sent_at: float
    expires_at: float
    tries_left: int = TRIES


@dataclass(frozen=True, slots=True)
class Pending:
    """A number that is to be bound."""

    ticket: Ticket
    number: Sealed
    masked: str
    code: Code | None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A bound number, and the code that lives."""

    number: Sealed
    masked: str
    confirmed_at: float
    code: Code | None = None
    used_at: float | None = None
    name: str = ""

    @property
    def detail(self) -> str:
        """What is shown of the number."""
        return self.masked


def _patterns(value: tuple[str, ...]) -> str | None:
    try:
        return None if value and all(re.compile(pattern, re.ASCII) for pattern in value) else "must name at least one"
    except re.error:
        return "must be regular expressions"


def _template(value: str) -> str | None:
    return None if "{code}" in value and value.isprintable() else "must be one line that holds {code}"


@dataclass(frozen=True, slots=True)
class Sms:
    """Codes by text message."""

    name: ClassVar[str] = "sms"
    nature: ClassVar[Nature] = Nature(for_administrators=False, outside=True)
    Enrolled: ClassVar[type] = Enrolled
    Pending: ClassVar[type] = Pending
    listed = parts.sole
    renamed = parts.renamed
    without = parts.emptied

    gateway: Gateway = section.option(doc="the gateway, built", wired=True)
    numbers: tuple[str, ...] = section.option(
        (telephone.MAINLAND_CHINA,), doc="regular expressions of the numbers served, in E.164", check=_patterns
    )
    country_code: str = section.option("86", doc="of a number that is typed without one", check=section.filled)
    valid_s: int = section.option(600, doc="seconds that a code is valid", check=section.between(60, LONGEST_S))
    resend_s: int = section.option(60, doc="seconds until another can be sent", check=section.between(30, 600))
    max_per_source_day: int = section.option(
        300,
        doc="messages in a day asked for from one address; an office shares one",
        check=section.between(5, 1_000_000),
    )
    max_per_day: int = section.option(1000, doc="messages in a day, for all", check=section.between(1, 1_000_000))
    text_zh: str = section.option(
        "验证码 {code}，{minutes} 分钟内有效。如非本人操作，请勿告诉任何人。",
        doc="the message in Chinese",
        check=_template,
    )
    text_en: str = section.option(
        "Your code is {code}, valid for {minutes} minutes. If you did not ask for it, tell it to nobody.",
        doc="the message in English",
        check=_template,
    )

    def enrol(self, occasion: Occasion, state: Record, given: Given) -> Step:
        """As Factor; given: `number`, and `name` for it. Asked again, it sends another code."""
        meant = telephone.e164(given.get("number", ""), self.country_code)
        if not meant:
            return Wrong(Reason.NOT_A_NUMBER, state, None)
        served = [number for number in meant if any(re.fullmatch(each, number, re.ASCII) for each in self.numbers)]
        if not served:
            return Wrong(Reason.NOT_SERVED, state, None)
        number = served[0]
        digits, code = self._code(occasion)
        sealed = occasion.box.seal(NUMBER, number.encode(), occasion.draw("nonce", NONCE_BYTES))
        name = typed.name(given.get("name", ""))
        pending = Pending(ticket(occasion, self.valid_s), sealed, telephone.masked(number), code, name)
        costs = self._costs(occasion, number, "enrolment", ENROLMENTS_HOUR, ENROLMENTS_DAY)
        return self._send(occasion, number, digits, kept=(state, pending), spoiled=(state, None), costs=costs)

    def confirm(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
        """As Factor; given: `code`."""
        if (closed := unanswerable(occasion, state, pending)) is not None:
            return closed
        left = _judged(occasion, pending.code, given)
        if left is None:
            return Done(Enrolled(pending.number, pending.masked, occasion.now, name=pending.name))
        reason, code = left
        return _refused(reason, code, state, dataclasses.replace(pending, code=code))

    def challenge(self, occasion: Occasion, state: Record) -> Step:
        """As Factor; sends a code."""
        digits, code = self._code(occasion)
        number = occasion.box.open(NUMBER, state.number).decode()
        told, untold = dataclasses.replace(state, code=code), dataclasses.replace(state, code=None)
        costs = self._costs(occasion, number, "check", PER_HOUR, PER_DAY)
        return self._send(occasion, number, digits, kept=(told, None), spoiled=(untold, None), costs=costs)

    def check(self, occasion: Occasion, state: Record, pending: Record, given: Given) -> Step:
        """As Factor; given: `code`."""
        left = _judged(occasion, state.code, given)
        if left is None:
            return Done(dataclasses.replace(state, code=None, used_at=occasion.now))
        reason, code = left
        return _refused(reason, code, dataclasses.replace(state, code=code), pending)

    def show(self, occasion: Occasion, state: Record, pending: Record) -> Mapping[str, object]:
        """As Factor: masked `number`, `digits`; of a code that lives `resend_after_s`, `expires_in_s`, `tries_left`."""
        holder = state if pending is None else pending
        shown: dict[str, object] = {"number": holder.masked, "digits": DIGITS}
        code = holder.code
        if code is None or occasion.now >= code.expires_at:
            return shown
        resend_after_s = max(0.0, code.sent_at + self.resend_s - occasion.now)
        expires_in_s = code.expires_at - occasion.now
        return {**shown, "resend_after_s": resend_after_s, "expires_in_s": expires_in_s, "tries_left": code.tries_left}

    def _code(self, occasion: Occasion) -> tuple[str, Code]:
        digits = str(int.from_bytes(occasion.draw(CODE, 16), "big") % 10**DIGITS).zfill(DIGITS)
        sealed = occasion.box.seal(CODE, digits.encode(), occasion.draw("nonce of code", NONCE_BYTES))
        return digits, Code(sealed, occasion.bound(), occasion.now, occasion.now + self.valid_s)

    def _send(
        self,
        occasion: Occasion,
        number: str,
        digits: str,
        *,
        kept: tuple[Record, Record],
        spoiled: tuple[Record, Record],
        costs: tuple[Cost, ...],
    ) -> Fetch:
        """kept: state and pending with the code; spoiled: without it, for a number that nothing can be sent to."""
        language = "zh" if occasion.language.startswith("zh") else "en"
        text = (self.text_zh if language == "zh" else self.text_en).replace("{code}", digits)
        text = text.replace("{minutes}", str(self.valid_s // 60))
        message = Message(number, text, digits, language, occasion.draw("message", 16).hex())

        def then(answer: Answer | None) -> Step:
            outcome = self.gateway.read(answer)
            match outcome:
                case Sent():
                    return Asked(*kept)
                case Refused(detail):
                    return Wrong(Reason.UNREACHABLE, *spoiled, detail=detail)
                case Busy(detail, retry_after_s):  # it may arrive yet: the code stays
                    return Later(Delay.PROVIDER, retry_after_s, *kept, detail=detail)
                case _:
                    assert_never(outcome)

        return Fetch(self.gateway.request(message, occasion.now), then, *kept, costs=costs)

    def _costs(self, occasion: Occasion, number: str, use: str, in_hour: int, in_day: int) -> tuple[Cost, ...]:
        per_source = self.max_per_source_day
        costs = []
        for each in occasion.box.fingerprints(LEDGER, number.encode()):  # a new key does not begin the count anew
            to = f"{use}:{each.value}"
            costs.append(Cost(f"sms-resend-{to}", 1, self.resend_s, Delay.RESEND))
            costs.append(Cost(f"sms-hour-{to}", in_hour, HOUR_S, Delay.SENDS))
            costs.append(Cost(f"sms-day-{to}", in_day, DAY_S, Delay.SENDS))
        costs += [
            Cost(f"sms-day-account:{occasion.box.account}", PER_ACCOUNT_DAY, DAY_S, Delay.SENDS),
            Cost("sms-day-all", self.max_per_day, DAY_S, Delay.SENDS),
        ]
        if occasion.source:
            costs.append(Cost(f"sms-hour-source:{occasion.source}", per_source // SOURCE_HOURS, HOUR_S, Delay.SENDS))
            costs.append(Cost(f"sms-day-source:{occasion.source}", per_source, DAY_S, Delay.SENDS))
        return tuple(costs)


def _judged(occasion: Occasion, code: Code | None, given: Given) -> tuple[Reason, Code | None] | None:
    """None: it is the code. Else why not, and what is left of the code."""
    if code is None:
        return Reason.NOTHING_ASKED, None
    if code.bound != occasion.bound():
        return Reason.ELSEWHERE, code
    if occasion.now >= code.expires_at:
        return Reason.EXPIRED, None
    answer = typed.digits(given.get("code", ""), DIGITS)
    if answer is None:
        return Reason.MALFORMED, code
    if hmac.compare_digest(occasion.box.open(CODE, code.digits), answer.encode()):
        return None
    if code.tries_left <= 1:
        return Reason.EXHAUSTED, None
    return Reason.WRONG, dataclasses.replace(code, tries_left=code.tries_left - 1)


def _refused(reason: Reason, code: Code | None, state: Record, pending: Record) -> Wrong:
    counted = reason in {Reason.WRONG, Reason.EXHAUSTED}
    return Wrong(reason, state, pending, (code.tries_left if code else 0) if counted else None)


def build(options: Mapping[str, object]) -> Factor:
    """The plug-in's entry. `gateway` is a gateway already built, not a name."""
    factor: Sms = section.read(Sms, options)
    return factor
