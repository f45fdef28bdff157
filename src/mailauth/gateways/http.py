"""The one HTTP client: carries out a factor's request, within bounds.

Source: RFC 9110; sections 9.2.2 and 15.6 for what may be tried again.
Rule: one deadline for everything, one repetition at most, no redirect followed, no answer longer than 64 KiB, nothing
taken from the environment. No answer is None, never an exception: a factor says then that it could not tell.
"""

from __future__ import annotations

import asyncio
import logging
from types import TracebackType
from typing import Self

import httpx2

from mailauth.factors.fetch import MAX_ANSWER_BYTES, Answer, Request

TIMEOUT_S = 10.0
CONNECT_S = 4.0  # so that there is time for a second attempt
LONGEST_WAIT_S = 3600.0
PASSING = frozenset({502, 503, 504})
TEXT = "%s: no answer: %s"

log = logging.getLogger("mailauth.gateways")


class Http:
    """A client with a pool of connections, for one event loop. proxy: a URL, None for none."""

    def __init__(
        self,
        *,
        timeout_s: float = TIMEOUT_S,
        proxy: str | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        for name in ("httpx2", "httpcore2"):  # they log whole URLs and header fields, where secrets stand
            logging.getLogger(name).setLevel(logging.WARNING)
        self._timeout_s = timeout_s
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
            limits=httpx2.Limits(max_connections=50, max_keepalive_connections=10),
            headers={"User-Agent": "mailauth", "Accept": "application/json", "Accept-Encoding": "identity"},
            proxy=proxy,
            transport=transport,
            trust_env=False,
            follow_redirects=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, request: Request) -> Answer | None:
        """Carry out one request. None: nothing usable came back, and the log says why."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._twice(request)
        except TimeoutError:
            log.warning(TEXT, request.host, "time is up")
        except (httpx2.HTTPError, httpx2.InvalidURL, _TooLong) as fault:
            log.warning(TEXT, request.host, type(fault).__name__)
        return None

    async def _twice(self, request: Request) -> Answer:
        """Once, and once more if the first surely did nothing, or doing it twice does no harm."""
        try:
            answer = await self._once(request)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            return await self._once(request)
        except httpx2.TransportError:
            if not request.repeatable:
                raise
            return await self._once(request)
        if answer.status in PASSING and request.repeatable and answer.retry_after_s is None:
            return await self._once(request)
        return answer

    async def _once(self, request: Request) -> Answer:
        outgoing = self._client.build_request(
            request.method, request.target, headers=list(request.headers), content=request.body
        )
        response = await self._client.send(outgoing, stream=True)
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_ANSWER_BYTES:
                    raise _TooLong
        finally:
            await response.aclose()
        return Answer(response.status_code, bytes(body), _seconds(response.headers.get("Retry-After", "")))


class _TooLong(Exception):
    """The answer has no end."""


def _seconds(text: str) -> float | None:
    """Retry-After in seconds; a date is not read: who needs us to wait for days can say so again."""
    return min(float(text), LONGEST_WAIT_S) if text.isascii() and text.isdigit() and len(text) <= 9 else None
