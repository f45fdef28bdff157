"""One door for each [[listen]] of the configuration: which dialogue, which limits, which mailbox or back end behind it.

Rule: wiring only, like compose, of which this is the half that knows services.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from mailauth import plugins
from mailauth.attempt import Service
from mailauth.carriage import Carrier
from mailauth.config import Settings
from mailauth.config.settings import Listen
from mailauth.dialogue import Dialogue
from mailauth.ends import Ends
from mailauth.interfaces import Authenticator, Directory
from mailauth.sasl.mechanism import Factory
from mailauth.serving.backing import Backends
from mailauth.serving.census import Census
from mailauth.serving.clock import RefusalClock
from mailauth.serving.handover import MailboxSession
from mailauth.serving.house import House, TimeLimits
from mailauth.serving.inherited import Inherited
from mailauth.serving.lines import LineConnection
from mailauth.serving.listen import CannotListen, Door
from mailauth.serving.sessions import LiveSessions

if TYPE_CHECKING:
    from mailauth.mailbox.maildir import MaildirMailboxes
    from mailauth.smtp.house import House as SmtpHouse
    from mailauth.smtp.relay import Relay

MECHANISMS = ("plain", "login")  # those whose password can be checked against any stored hash
POP3_IDLE_S = 600.0  # RFC 1939 section 3: not below 10 minutes
SMTP_IDLE_S = 300.0  # RFC 5321 section 4.5.3.2.7: not below 5 minutes

Protocols = Callable[[Ends | None], asyncio.Protocol]  # a connection's protocol, for the client that a proxy named


class Doors:
    """Makes doors that share one census, one refusal clock, one TLS context and the mailboxes."""

    def __init__(
        self,
        settings: Settings,
        authenticator: Authenticator,
        directory: Directory,
        census: Census,
        tls: ssl.SSLContext | None,
        *,
        sessions: LiveSessions,
        backends: Backends | None = None,
    ) -> None:
        self._settings = settings
        self._authenticator = authenticator
        self._directory = directory
        self._census = census
        self._tls = tls
        self._sessions = sessions
        self._backends = backends
        self._refusals = RefusalClock(settings.replies.refusal_delay_s)
        self._help_line = settings.replies.help_line.encode()
        self._mechanisms: Mapping[str, Factory] = {m.name: m for m in (plugins.load("sasl", n) for n in MECHANISMS)}
        self._mailboxes = None if backends is not None else _mailboxes(settings)

    def open(self, inherited: Inherited) -> list[Door]:
        """All doors, bound and not yet served. inherited: sockets that are bound already.

        Raises CannotListen, and then none is left bound.
        """
        doors: list[Door] = []
        try:
            doors.extend(self._door(listen, inherited) for listen in self._settings.listen)
        except BaseException as error:
            for door in doors:
                door.sock.close()
            if isinstance(error, CannotListen):
                number = len(doors) + 1
                raise CannotListen(f"{self._settings.source}: [[listen]] #{number} address: {error}") from None
            raise
        return doors

    def carrier(self) -> Carrier | None:
        """What takes the messages that this program writes itself: to mailboxes here, else to the relay; None: nothing.

        Where nobody listens for mail the mailboxes are another server's, as those of a back end are.
        """
        from mailauth.smtp.carrier import Carrier as Carries  # noqa: PLC0415

        here = self._mailboxes if self._settings.listen else None
        relay, deliver = self._relay(), None if here is None else here.deliver
        return None if relay is None and deliver is None else Carries(self._directory, deliver, relay)

    def _door(self, listen: Listen, inherited: Inherited) -> Door:
        making = {Service.IMAP: self._imap, Service.POP3: self._pop3, Service.SMTP: self._smtp}
        protocol = making[listen.service](listen)
        return Door(
            name=f"{listen.service} {listen.address} tls={listen.tls}",
            sock=inherited.taken_or_bound(listen.address.host, listen.address.port, reuse_port=listen.reuse_port),
            protocol=protocol,
            tls=self._tls if listen.tls == "implicit" else None,
            handshake_s=self._settings.limits.handshake_s,
            proxies=listen.proxy_from,
        )

    def _imap(self, listen: Listen) -> Protocols:
        from mailauth.imap import replies  # noqa: PLC0415
        from mailauth.imap.offer import ALONE, ALWAYS, Offer  # noqa: PLC0415
        from mailauth.imap.protocol import ImapDialogue  # noqa: PLC0415

        here = self._mailboxes
        offer = Offer(
            self._mechanisms,
            starttls=listen.tls == "starttls",
            clear=listen.tls == "off",
            always=ALONE if here is None else ALWAYS,
            mailbox_capabilities=() if here is None else here.imap_capabilities,
            help_line=self._help_line,
            max_failures=self._settings.limits.max_failures,
            unavailable=self._sessions.unavailable,
        )
        mailbox = None if here is None else partial(here.serve_imap, goodbye=replies.bye)
        return self._lines(partial(ImapDialogue, offer), mailbox, self._settings.limits.idle_s)

    def _pop3(self, listen: Listen) -> Protocols:
        from mailauth.pop3 import replies  # noqa: PLC0415
        from mailauth.pop3.protocol import ALONE, ALWAYS, Offer, Pop3Dialogue  # noqa: PLC0415

        here = self._mailboxes
        offer = Offer(
            self._mechanisms,
            starttls=listen.tls == "starttls",
            clear=listen.tls == "off",
            always=ALONE if here is None else ALWAYS,
            help_line=self._help_line,
            max_failures=self._settings.limits.max_failures,
            unavailable=self._sessions.unavailable,
        )
        mailbox = None if here is None else partial(here.serve_pop3, goodbye=replies.bye)
        return self._lines(partial(Pop3Dialogue, offer), mailbox, POP3_IDLE_S)

    def _lines(self, dialogue: Callable[[], Dialogue], mailbox: MailboxSession | None, idle_s: float) -> Protocols:
        limits = self._settings.limits
        house = House(
            dialogue=dialogue,
            authenticator=self._authenticator,
            census=self._census,
            refusals=self._refusals,
            limits=TimeLimits(limits.login_s, limits.handshake_s, idle_s),
            tls=self._tls,
            mailbox=mailbox,
            sessions=self._sessions,
            backends=self._backends,
        )
        return partial(LineConnection, house)

    def _smtp(self, listen: Listen) -> Protocols:
        from mailauth.smtp.house import House as SmtpHouse  # noqa: PLC0415
        from mailauth.smtp.house import Limits  # noqa: PLC0415

        submission, limits = self._settings.submission, self._settings.limits
        house = SmtpHouse(
            hostname=submission.greeting_name,
            authenticator=self._authenticator,
            handler=self._sending(),
            census=self._census,
            tls=listen.tls,
            tls_context=self._tls,
            hold=self._refusals.hold,
            sessions=self._sessions,
            help_line=self._help_line,
            limits=Limits(
                login_s=limits.login_s,
                idle_s=SMTP_IDLE_S,
                handshake_s=limits.handshake_s,
                max_failures=limits.max_failures,
                max_message_bytes=submission.max_message_bytes,
            ),
            mechanisms=self._mechanisms,
        )
        return self._submitting(house)

    def _sending(self) -> object:
        """Who says what may be sent, and where it goes."""
        own = self._settings.submission.require_own_sender
        if self._mailboxes is None:
            from mailauth.smtp.forwarding import Forwarding  # noqa: PLC0415

            return Forwarding(directory=self._directory, require_own_sender=own)
        from mailauth.smtp.submission import Submission  # noqa: PLC0415

        return Submission(
            directory=self._directory,
            deliver=self._mailboxes.deliver,
            relay=self._relay(),
            require_own_sender=own,
        )

    def _submitting(self, house: SmtpHouse) -> Protocols:
        if self._backends is not None:
            from mailauth.smtp.front import FrontProtocol  # noqa: PLC0415

            return partial(FrontProtocol, house, self._backends)
        from mailauth.smtp.server import SubmissionProtocol  # noqa: PLC0415

        return partial(SubmissionProtocol, house)

    def _relay(self) -> Relay | None:
        from mailauth.smtp.relay import Relay  # noqa: PLC0415

        relay = self._settings.relay
        if relay is None:
            return None
        return Relay(
            host=relay.host,
            port=relay.port,
            tls=relay.tls,
            hostname=self._settings.submission.greeting_name,
            username=relay.username,
            password="" if relay.password_file is None else relay.password_file.read(),
        )


def _mailboxes(settings: Settings) -> MaildirMailboxes:
    from mailauth.mailbox.maildir import MaildirMailboxes  # noqa: PLC0415  another kind does without it

    return MaildirMailboxes(settings.mailbox.path, settings.mailbox.max_message_bytes)
