"""The OpenAPI document, made of the operations that are served.

Source: OpenAPI 3.1.1, JSON Schema 2020-12. Rule: nothing is written here that an operation says of itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

from mailauth.portal.api.answers import described, schema_of
from mailauth.portal.api.problem import KINDS, MEDIA_TYPE
from mailauth.portal.api.reading import MAX_BODY_BYTES
from mailauth.portal.api.shapes import Field, Schema
from mailauth.portal.api.table import BASE, PUBLIC, Operation

VERSION = "3.1.1"
JSON = "application/json"
BEARER = "bearer"
TAGS = {"own": "One's own account, or that of a program's user", "admin": "Administration", "open": "Open to everybody"}
ABOUT = (
    "Tokens are made with `mailauth api-token add`, or by an account's owner on the portal. A token does what its "
    "scopes say and its account may, and never stands for the owner's own proof. Times are RFC 3339, in UTC. Lists "
    "come page by page: `next` begins the next one, and is null at the last. What is not expected is refused. Errors "
    "are problem details (RFC 9457). Bodies have {most} KiB at most."
)
PROBLEM: Schema = {
    "type": "object",
    "description": "Problem details, RFC 9457.",
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "enum": [f"{BASE}/problems/{name}" for name in KINDS]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("in", "name", "detail")},
                "required": ["in", "name", "detail"],
            },
        },
        "reason": {"type": "string"},
        "denial": {"type": "string"},
        "scope": {"type": "string"},
    },
    "required": ["type", "title", "status", "detail"],
}


def document(operations: Sequence[Operation], origin: str) -> dict[str, Any]:
    """The document. origin: of the portal, such as https://mail.example.com."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": VERSION,
        "info": {
            "title": "mailauth",
            "version": metadata.version("mailauth"),
            "description": ABOUT.format(most=MAX_BODY_BYTES // 1024),
        },
        "servers": [{"url": f"{origin}{BASE}"}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {BEARER: {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": PROBLEM, **described([operation.answers for operation in operations])},
            "responses": {name: _problem(status) for name, status in PROBLEMS.items()},
        },
    }


PROBLEMS = {f"Problem{status}": status for status in sorted({kind.status for kind in KINDS.values()})}
ALWAYS = (400, 421, 422, 500, 503)
WITH_TOKEN = (401, 403, 404, 429)


def _operation(operation: Operation) -> dict[str, Any]:
    access = operation.access
    told: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [_tag(operation)],
        "security": [] if access.scope is None else [{BEARER: [str(access.scope)]}],
        "parameters": [
            *_parameters("path", operation.params),
            *_parameters("query", operation.query),
        ],
        "responses": _responses(operation),
    }
    if operation.about:
        told["description"] = operation.about
    if operation.body is not None:
        example = {each.name: each.example for each in operation.body if each.example is not None}
        told["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": body_schema(operation), "example": example}},
        }
    return told


def _tag(operation: Operation) -> str:
    if operation.access == PUBLIC:
        return "open"
    return "admin" if operation.access.verb else "own"


def body_schema(operation: Operation) -> Schema:
    """What this operation takes."""
    fields = operation.body or ()
    schema: Schema = {
        "type": "object",
        "properties": {each.name: each.shape.schema() | _about(each) for each in fields},
        "required": [each.name for each in fields if each.required],
        "additionalProperties": False,
    }
    return schema | ({"minProperties": 1} if operation.some_of else {})


def _parameters(place: str, fields: Iterable[Field]) -> list[dict[str, Any]]:
    return [
        {
            "name": each.name,
            "in": place,
            "required": place == "path" or each.required,
            "schema": each.shape.schema(),
            **_about(each),
            **({} if each.example is None else {"example": each.example}),
        }
        for each in fields
    ]


def _about(field: Field) -> Schema:
    return {"description": field.about} if field.about else {}


def _responses(operation: Operation) -> dict[str, Any]:
    done: dict[str, Any] = {"description": "Done."}
    if operation.answers is not None:
        done["content"] = {JSON: {"schema": schema_of(operation.answers)}}
    if operation.status in (201, 202) and operation.answers is not None:
        done["headers"] = {"Location": {"schema": {"type": "string", "format": "uri-reference"}}}
    statuses = [*ALWAYS, *(() if operation.access == PUBLIC else WITH_TOKEN)]
    if operation.access == PUBLIC and operation.params:
        statuses.append(404)
    if operation.method != "GET":
        statuses.append(409)
    if operation.body is not None:
        statuses += [413, 415]
    refused = {str(status): {"$ref": f"#/components/responses/Problem{status}"} for status in sorted(statuses)}
    return {str(operation.status): done, **refused}


def _problem(status: int) -> dict[str, Any]:
    """The kinds of problems with this status. 401 says WWW-Authenticate, 429 and 503 Retry-After."""
    kinds = [kind for kind in KINDS.values() if kind.status == status]
    headers = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}
    told: dict[str, Any] = {
        "description": " ".join([f"`{kind.name}`: {kind.about}" for kind in kinds]),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in headers:
        told["headers"] = {headers[status]: {"schema": {"type": "string"}}}
    return told
