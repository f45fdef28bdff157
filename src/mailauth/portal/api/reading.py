"""Reading a request of the API: strictly, within bounds, and all that is wrong with it at once.

Source: RFC 8259 (JSON), RFC 7493 (I-JSON: no name twice), RFC 3986 section 2.1. Rule: what is not expected is refused,
never passed over; no length that a client announces is trusted.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote_to_bytes

from starlette.requests import Request

from mailauth.portal.api.problem import Errors, Problem
from mailauth.portal.api.shapes import Field, Unfit
from mailauth.portal.api.table import BASE, Operation

MAX_BODY_BYTES = 64 * 1024
MAX_QUERY_BYTES = 8 * 1024
MAX_DEPTH = 16
MAX_FIELDS = 30
PATIENCE_S = 20.0  # for the whole body
JSON_TYPE = re.compile(r'application/json(\s*;\s*charset="?utf-8"?)?', re.IGNORECASE)
BELOW = f"{BASE}/".encode()
BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)


def segments(request: Request) -> list[str] | None:
    """The parts of the path below BASE; a slash written %2F does not part. None: it is not below BASE, or no text."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    path = raw.partition(b"?")[0]
    if not path.startswith(BELOW):
        return None
    try:
        return [unquote_to_bytes(part).decode("utf-8") for part in path.removeprefix(BELOW).split(b"/")]
    except UnicodeDecodeError:
        return None


def params(operation: Operation, given: Mapping[str, str]) -> dict[str, Any]:
    """The values in the path. Raises Problem: nothing has such a name."""
    found: dict[str, Any] = {}
    for each in operation.params:
        try:
            found[each.name] = each.shape.read(each.shape.typed(given[each.name]))
        except Unfit as unfit:
            raise Problem("not-found", f"{each.name} is {unfit}") from None
    return found


def query(operation: Operation, request: Request) -> dict[str, Any]:
    """The values in the query. Raises Problem."""
    text = request.scope.get("query_string", b"")
    try:
        if len(text) > MAX_QUERY_BYTES:
            raise ValueError
        pairs = parse_qsl(
            text.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(text),
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:  # UnicodeDecodeError is one
        raise Problem("malformed", "the query cannot be read") from None
    errors = Errors("query")
    given: dict[str, Any] = {}
    shapes = {each.name: each.shape for each in operation.query}
    for name, value in pairs:
        if name in given:
            errors.add(name, "is there twice")
        given[name] = value
        if name in shapes:
            try:
                given[name] = shapes[name].typed(value)
            except Unfit as unfit:
                errors.add(name, f"must be {unfit}")
    return _fields(operation.query, given, errors)


async def body(operation: Operation, request: Request) -> dict[str, Any]:
    """The values in the body. Raises Problem, starlette.requests.ClientDisconnect."""
    if operation.body is None:
        if await _bytes(request, 0):
            raise Problem("malformed", "this takes no body")
        return {}
    if not JSON_TYPE.fullmatch(request.headers.get("content-type", "").strip()):
        raise Problem("not-json", headers={"accept": "application/json"})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("not-json", "a body is not compressed", headers={"accept-encoding": "identity"})
    given = parsed(await _bytes(request, MAX_BODY_BYTES))
    if not isinstance(given, dict):
        raise Problem("malformed", "the body is no JSON object")
    errors = Errors("body")
    if operation.some_of and not given:
        errors.add("", f"must have some of {', '.join([each.name for each in operation.body])}")
    return _fields(operation.body, given, errors)


def parsed(content: bytes) -> Any:
    """What a JSON text says. Raises Problem."""
    try:
        text = content.decode("utf-8")
        if _depth(text) > MAX_DEPTH:
            raise Problem("malformed", f"the body is nested deeper than {MAX_DEPTH}")
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except ValueError:  # UnicodeDecodeError and JSONDecodeError are some
        raise Problem("malformed", "the body is no JSON") from None


def _fields(expected: Iterable[Field], given: Mapping[str, Any], errors: Errors) -> dict[str, Any]:
    found: dict[str, Any] = {}
    known = {each.name: each for each in expected}
    for name in given.keys() - known.keys():
        errors.add(name, "is not known here")
    for name, each in known.items():
        if name not in given:
            if each.required:
                errors.add(name, "is missing")
            continue
        try:
            found[name] = each.shape.read(given[name])
        except Unfit as unfit:
            errors.add(name, f"must be {unfit}")
    errors.end()
    return found


async def _bytes(request: Request, most: int) -> bytes:
    """The body; of one that is longer than the most, if that is 0, only that there is one."""
    content = bytearray()
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most:
                    if not most:
                        break
                    raise Problem("too-long", headers={"connection": "close"})
    except TimeoutError:
        raise Problem("malformed", "the body took too long", headers={"connection": "close"}) from None
    return bytes(content)


def _depth(text: str) -> int:
    depth = deepest = 0
    for mark in BRACKETS.finditer(text):
        if mark[0] in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark[0] in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise Problem("malformed", "a name is in an object twice")
    return found


def _no_number(_: str) -> Any:
    raise Problem("malformed", "a number is none of JSON's")
