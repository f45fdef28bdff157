"""How a second factor is asked for on a page, whatever it is asked for; and what is said when the answer is not right.

Rule: how a question looks follows from what the factor shows of it, so that a new kind needs no page of its own.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailauth.accounts.refusals import NoSuch
from mailauth.accounts.steps import Refusal, Wait
from mailauth.portal.visit import Visit

AT_ONCE = frozenset({"totp", "recovery-codes"})  # nothing has to be sent or put before an answer can be given
MOBILE = "sms"
ANSWERS = ("code", "credential")  # the fields of an answer
MAX_ANSWER_CHARACTERS = 20_000
MINUTE_S = 60
WORTH_S = 5.0  # a shorter wait is not worth a sentence

Look = Callable[..., Mapping[str, Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What a page asks. style: begin, code, passkey or way; shown: of the factor; id: of the open question, "" for
    none."""

    kind: str
    style: str
    shown: Mapping[str, object] = field(repr=False)
    id: str = field(default="", repr=False)

    @property
    def options(self) -> str:
        """Of a passkey, for the script, as JSON."""
        return json.dumps(self.shown.get("options", {}))

    @property
    def valid_minutes(self) -> int:
        """How long what was sent is still good."""
        return math.ceil(_number(self.shown.get("expires_in_s")) / MINUTE_S)

    @property
    def wait_s(self) -> int:
        """How long until it can be sent again."""
        return math.ceil(_number(self.shown.get("resend_after_s")))

    @property
    def is_sent(self) -> bool:
        """Whether something that was sent is still good."""
        return "expires_in_s" in self.shown


async def question(visit: Visit, kind: str, use: Look, *where: str) -> Question:
    """What to ask. use: shows an open question; where: what it takes besides session, kind and question."""
    question_id = visit.form.raw("question") or visit.query("question")
    shown: Mapping[str, object] | None = None
    if kind in AT_ONCE or kind == MOBILE or question_id or visit.query("asked"):
        try:
            shown = await visit.ask(use, visit.me, *where, kind, question_id, now=visit.now)
        except NoSuch:  # answered, or too late
            shown = None
    if shown is None or (kind == MOBILE and "expires_in_s" not in shown):
        return Question(kind, "begin", shown or {})
    style = "passkey" if "options" in shown else "way" if "url" in shown else "code"
    return Question(kind, style, shown, question_id)


def asked_at(path: str, question_id: str) -> str:
    """The address at which a question that was just put is shown. now: a script may go on by itself, this once."""
    return f"{path}?question={question_id}&now=1" if question_id else f"{path}?asked=1"


def answer(visit: Visit) -> dict[str, str]:
    """What was answered."""
    return {name: visit.form.raw(name)[:MAX_ANSWER_CHARACTERS] for name in ANSWERS if visit.form.has(name)}


def refused(visit: Visit, kind: str, said: Refusal | Wait) -> str:
    """Why it was not accepted, and what to do."""
    if isinstance(said, Wait):
        if said.detail:
            log.warning("second factor %s: %s", kind, said.detail)
        key = f"delay.{said.why}" if visit.language.has(f"delay.{said.why}") else "delay.provider"
        return visit.text(key, wait=visit.language.wait(said.retry_after_s))
    if said.reason == "wrong":
        if said.tries_left == 0 and said.again_in_s > WORTH_S:
            return visit.text("reason.wrong_wait", wait=visit.language.wait(said.again_in_s))
        return visit.text("reason.wrong_left", left=said.tries_left) if said.tries_left else visit.text("reason.wrong")
    if said.reason == "used":
        return visit.text("reason.used", seconds=math.ceil(said.again_in_s))
    if said.reason == "clock":
        which = "ahead" if said.off_by_s > 0 else "behind"
        return visit.text(f"reason.clock_{which}", minutes=math.ceil(abs(said.off_by_s) / MINUTE_S))
    key = f"reason.{said.reason}"
    return visit.text(key if visit.language.has(key) else "reason.wrong")


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
