"""AUTH for anybody's aiosmtpd server: a handler that has been through `with_auth` answers PLAIN and LOGIN.

Source: aiosmtpd.readthedocs.io, "AUTH hooks". Its hooks are awaited, its `authenticator=` is not: a coroutine given
there lets everybody in.
Rule: aiosmtpd is told of success only; every other reply is sent from here, so that a Defer is never its 535.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any, TypeVar, assert_never

from aiosmtpd.smtp import SMTP, AuthResult

from mailauth.attempt import Attempt, Credential, Service, address_text
from mailauth.interfaces import Authenticator
from mailauth.sasl.encoded import Broken
from mailauth.sasl.mechanism import Factory
from mailauth.smtp import exchange, replies
from mailauth.verdict import Accept, Cause, Defer, Outcome, Reject

Handler = TypeVar("Handler")


def with_auth(
    handler: Handler,
    authenticator: Authenticator,
    *,
    help_line: str = "",
    time_limit_s: float = 30.0,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Handler:
    """Give an aiosmtpd handler its AUTH, and the handler back. After a login `session.auth_data` is the Principal.

    time_limit_s: for each response of the client, and for an authenticator on another loop. loop: where it lives, the
    running one unless said otherwise; aiosmtpd's `Controller` serves on a loop of its own, in a thread.
    """
    hooks = _Hooks(authenticator, help_line.encode(), time_limit_s, loop or _running_loop())
    for name, mechanism in exchange.MECHANISMS.items():
        setattr(handler, f"auth_{name}", functools.partial(hooks.auth, mechanism))
    logging.getLogger("mail.log").addFilter(_is_news)
    return handler


class _Hooks:
    def __init__(
        self,
        authenticator: Authenticator,
        help_line: bytes,
        time_limit_s: float,
        home: asyncio.AbstractEventLoop | None,
    ) -> None:
        self._authenticator = authenticator
        self._help_line = help_line
        self._time_limit_s = time_limit_s
        self._home = home

    async def auth(self, mechanism: Factory, server: SMTP, words: list[str]) -> AuthResult:
        """One AUTH command. words: the mechanism's name and, if there was one, the initial response."""
        if server.envelope is not None and server.envelope.mail_from:
            return await _say(server, replies.IN_TRANSACTION)
        initial = words[1] if len(words) > 1 else None
        try:
            shown = await exchange.shown(server, mechanism, initial, self._time_limit_s)
        except exchange.LineTooLong as too_long:
            return await _say(server, replies.LINE_TOO_LONG, is_last=too_long.endless)
        except TimeoutError:
            return await _say(server, replies.NO_RESPONSE, is_last=True)
        if isinstance(shown, Broken):
            return await _say(server, replies.broken(shown.text))
        outcome = await self._outcome(_attempt(server, shown))
        match outcome:
            case Accept(principal):
                return AuthResult(success=True, auth_data=principal)
            case Reject() | Defer():
                return await _say(server, replies.reply(outcome, self._help_line))
            case _:
                assert_never(outcome)

    async def _outcome(self, attempt: Attempt) -> Outcome:
        """The authenticator's answer, fetched from its own loop. A loop that does not run judges nobody."""
        if self._home is None or self._home is asyncio.get_running_loop():
            return await exchange.judge(self._authenticator, attempt)
        if not self._home.is_running():
            return Defer(Cause.SHUTDOWN)
        judging = exchange.judge(self._authenticator, attempt)
        try:
            answer = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(judging, self._home))
        except RuntimeError:  # closed just now
            judging.close()
            return Defer(Cause.SHUTDOWN)
        try:
            await asyncio.wait([answer], timeout=self._time_limit_s)
        finally:
            answer.cancel()
        return Defer(Cause.SHUTDOWN) if answer.cancelled() else answer.result()


async def _say(server: SMTP, reply: bytes, *, is_last: bool = False) -> AuthResult:
    """Send a reply that is no success; aiosmtpd has nothing to add."""
    await server.push(reply)
    if is_last and server.transport is not None:
        server.transport.close()
    return AuthResult(success=False, handled=True)


def _attempt(server: SMTP, shown: Credential) -> Attempt:
    """The attempt with its circumstances: the client that a proxy named, and TLS however it was started."""
    session: Any = server.session
    proxied = getattr(session.proxy_data, "src_addr", None)
    implicit = server.transport is not None and server.transport.get_extra_info("sslcontext") is not None
    return Attempt(
        shown,
        Service.SMTP,
        address_text(proxied or session.peer),
        tls=implicit or session.ssl is not None,
        client=session.host_name or "",
    )


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _is_news(record: logging.LogRecord) -> bool:
    """Not the warning that aiosmtpd gives itself at each login."""
    return "login_data is deprecated" not in str(record.msg)
