"""The API as an ASGI application: from a request to its operation, and to the answer.

Rule: an operation is called only after its access was judged; whatever is not an answer is a problem.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.middleware.errors import ServerErrorMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from mailauth.portal.api import bearing, reading
from mailauth.portal.api.answers import encoded
from mailauth.portal.api.operations import OPERATIONS
from mailauth.portal.api.problem import AS_PROBLEMS, RETRY_S, ROOT, Problem, problem_of
from mailauth.portal.api.table import PUBLIC, Answer, Call, Letter, Operation, let_in
from mailauth.portal.house import House

HEAD = "HEAD"


def mounted(house: House) -> Mount:
    """The API at its place, for the portal."""
    mount = Mount(ROOT, app=ServerErrorMiddleware(Api(house), handler=_broken))
    mount.path_regex = re.compile(mount.path_regex.pattern, re.DOTALL)  # else nothing with a line feed in it is found
    return mount


async def foreign(scope: Scope, receive: Receive, send: Send) -> None:
    """Say to a script of another site that it may not."""
    await Problem("foreign").response()(scope, receive, send)


async def late(scope: Scope, receive: Receive, send: Send) -> None:
    """Say to a caller whom the end of the program leaves without an answer that what he asked for may be done."""
    await Problem("unknown", headers={"retry-after": str(RETRY_S)}).response()(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Api:
    """The application. operations: all that are served."""

    house: House
    operations: Sequence[Operation] = OPERATIONS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Problem as problem:
            response = problem.response()
        except ClientDisconnect:
            return
        except AS_PROBLEMS as fault:
            response = problem_of(fault).response()
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        operation, given = self._found(request)
        now = self.house.clock()
        caller = None
        if operation.access != PUBLIC:
            caller = await bearing.bearer(self.house, request, now)
            let_in(operation.access, caller)
        call = Call(
            self.house,
            caller,
            operation.access,
            now,
            reading.params(operation, given),
            reading.query(operation, request),
            await reading.body(operation, request),
        )
        answer = await asyncio.to_thread(operation.handler, call)
        if answer.letter is not None and await self._posted(answer.letter):
            answer = Answer(answer.letter.then)
        return _response(operation, answer)

    async def _posted(self, letter: Letter) -> bool:
        post = self.house.post
        return post is not None and await post(letter.to, letter.language, letter.kind, **letter.values)

    def _found(self, request: Request) -> tuple[Operation, Mapping[str, str]]:
        """What is asked for, and the values in its path. Raises Problem."""
        parts = reading.segments(request)
        method = "GET" if request.method == HEAD else request.method
        there: dict[str, None] = {}
        for operation in self.operations if parts else ():
            given = matched(operation.path, parts or [])
            if given is None:
                continue
            if operation.method == method:
                return operation, given
            there[operation.method] = None
        if there:
            raise Problem("method", headers={"allow": ", ".join([*there, *([HEAD] if "GET" in there else [])])})
        raise Problem("not-found")


def matched(path: str, parts: Sequence[str]) -> dict[str, str] | None:
    """The values of the names in this path, if the parts are those of it."""
    names = path.split("/")[1:]
    if len(names) != len(parts):
        return None
    given = {name[1:-1]: part for name, part in zip(names, parts, strict=True) if name.startswith("{")}
    fixed = [(name, part) for name, part in zip(names, parts, strict=True) if not name.startswith("{")]
    return given if all(name == part for name, part in fixed) else None


def _response(operation: Operation, answer: Answer) -> Response:
    headers = {"location": answer.location} if answer.location else {}
    if operation.answers is None:
        return Response(status_code=operation.status, headers=headers)
    content = answer.body if isinstance(answer.body, bytes) else encoded(answer.body)
    return Response(content, operation.status, headers=headers, media_type="application/json")


async def _broken(request: Request, fault: Exception) -> Response:  # noqa: ARG001  the log has it
    return Problem("bug").response()
