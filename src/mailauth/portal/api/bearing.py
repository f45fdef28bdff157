"""Whose token a request bears.

Source: RFC 6750 section 2.1. Rule: the header `Authorization` and nothing else: no cookie, no query, no body. A wrong
token is a wrong guess of whoever sent it, within the limits of wrong passwords; a good one is never held up by others'.
"""

from __future__ import annotations

import asyncio
import re

from starlette.requests import Request

from mailauth.accounts import tokens
from mailauth.accounts.tokens import Caller
from mailauth.portal.api import problem
from mailauth.portal.house import House

CREDENTIALS = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,512}=*)", re.IGNORECASE)
NOBODY = "/api"  # as whose password a wrong token is counted: no login has this name


async def bearer(house: House, request: Request, now: float) -> Caller:
    """Who asks. Raises Problem, StoreUnavailable."""
    given = request.headers.getlist("authorization")
    if not given:
        raise problem.no_token()
    peer = request.client.host if request.client else ""
    sent = CREDENTIALS.fullmatch(given[0].strip())
    caller = None
    if sent is not None and len(given) == 1:
        caller = await asyncio.to_thread(tokens.caller, house.means.store, sent[1], peer=peer, now=now)
    if caller is not None:
        return caller
    wait_s = await house.web_passwords.check(NOBODY, sent[1] if sent else given[0], peer)
    if isinstance(wait_s, float | int):
        raise problem.throttled(wait_s)
    raise problem.bad_token()
