"""What all pages share: the services that they call, and what they are told of the site.

Rule: made once, by whoever wires the program; nothing in it changes.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from mailauth.accounts.means import Means
from mailauth.factors.fetch import Answer, Request
from mailauth.interfaces import WebPasswords
from mailauth.portal.cookies import Jar
from mailauth.portal.language import Language, languages
from mailauth.portal.rendering import Rendering


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where a mail program finds one service. service: imap, pop3, smtp; tls: from the first byte, or by STARTTLS."""

    service: str
    host: str
    port: int
    tls: bool


class MailConnections(Protocol):
    """Who reads and sends mail now, in all processes."""

    async def open_now(self, account_id: int, login: str) -> Mapping[int | None, int] | None:
        """How many connections are open, by app password (None: the web password's); None: not known now."""


class Post(Protocol):
    """Sends mail to people."""

    async def __call__(self, to: str, language: str, kind: str, **values: str) -> bool:
        """Whether it is on its way. language: a code of language.TAGS; kind: of letter, such as password-reset; values:
        what stands in it."""


@dataclass(frozen=True, slots=True)
class House:
    """Everything that pages share.

    send: asks the outside world for a factor, as gateways.http.Http.send. origin: as browsers write it, such as
    https://mail.example.com. activity_days: how far back owners see. clock: epoch seconds.
    post: None: nobody sends mail.
    """

    means: Means
    web_passwords: WebPasswords
    connections: MailConnections
    send: Callable[[Request], Awaitable[Answer | None]]
    rendering: Rendering
    origin: str
    servers: tuple[MailServer, ...]
    activity_days: int = 90
    post: Post | None = None
    clock: Callable[[], float] = time.time
    texts: Mapping[str, Language] = field(default_factory=languages, repr=False)

    @property
    def jar(self) -> Jar:
        """The cookies of this origin."""
        return Jar(self.origin.startswith("https://"))
