"""What is said to whoever still waits for an answer when the program ends.

Source: RFC 9110 section 15.6.4. Rule: an answer that has begun is not mended; and since a use case may go on in its
thread, nobody is told that nothing was done.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Ending:
    """ASGI middleware. late: answers in the application's place, if that is cancelled before it has."""

    def __init__(self, app: ASGIApp, late: ASGIApp) -> None:
        self._app = app
        self._late = late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; only a server that ends cancels a request."""
        has_begun = False

        async def noticed(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except asyncio.CancelledError:
            if has_begun:
                raise
            await self._late(scope, receive, send)
