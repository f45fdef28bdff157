"""An authentication exchange as IMAP, POP3 and SMTP carry it: base64 lines, `=` for an empty one, `*` to cancel.

Source: RFC 3501 section 6.2.2, RFC 4959, RFC 5034, RFC 4954.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailauth.attempt import Credential
from mailauth.sasl.mechanism import Challenge, Factory, Malformed, decode, decode_initial, encode


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to ask next, in base64."""

    line: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """The exchange is over without a credential: cancelled or malformed. text: ours, safe to send."""

    text: bytes


Turn = Prompt | Credential | Broken


class EncodedExchange:
    """One exchange, from AUTH to a Credential."""

    __slots__ = ("_mechanism",)

    def __init__(self, factory: Factory) -> None:
        self._mechanism = factory.start()

    def begin(self, initial: bytes | None) -> Turn:
        """The command's initial response; None: it had none."""
        return self._step(initial, decode_initial)

    def answer(self, line: bytes) -> Turn:
        """The client's answer to a Prompt, without its line end."""
        return Broken(b"Authentication cancelled.") if line == b"*" else self._step(line, decode)

    def _step(self, encoded: bytes | None, decoded: Callable[[bytes], bytes]) -> Turn:
        try:
            turn = self._mechanism.step(None if encoded is None else decoded(encoded))
        except Malformed as malformed:
            return Broken(str(malformed).encode() + b".")
        return Prompt(encode(turn.data)) if isinstance(turn, Challenge) else turn
