"""What an IMAP listener offers, and the capability lists that follow from it (RFC 3501 section 6.1.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mailauth.sasl.mechanism import Factory

ALWAYS = b"IMAP4rev1 ID LITERAL+ SASL-IR"
ALONE = b"IMAP4rev1 ID SASL-IR"  # what we can do by ourselves, whatever the server can that takes over at login


@dataclass(frozen=True, slots=True)
class Offer:
    """mechanisms: by name; starttls: TLS can be started; clear: passwords may come in clear.

    always: before login; mailbox_capabilities: what the mailbox behind us can do; help_line: added to every refusal.
    unavailable: whether nobody can be judged now, so that no password is to be asked for.
    """

    mechanisms: Mapping[str, Factory]
    starttls: bool
    clear: bool = False
    always: bytes = ALWAYS
    mailbox_capabilities: Sequence[bytes] = (b"IMAP4rev1", b"ID", b"LITERAL+")
    help_line: bytes = b""
    max_failures: int = 5
    unavailable: Callable[[], bool] = bool  # bool() is False: never
    with_tls: bytes = field(init=False)
    without_tls: bytes = field(init=False)
    logged_in: bytes = field(init=False)

    def __post_init__(self) -> None:
        auth = b"".join(b" AUTH=" + name.encode() for name in self.mechanisms)
        object.__setattr__(self, "with_tls", self.always + auth)
        before = b" STARTTLS" * self.starttls + (auth if self.clear else b" LOGINDISABLED")
        object.__setattr__(self, "without_tls", self.always + before)
        object.__setattr__(self, "logged_in", b" ".join(self.mailbox_capabilities))
