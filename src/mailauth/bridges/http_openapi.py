"""The description of the `http` bridge's one call, for people and for the programs that make clients of it.

Source: OpenAPI 3.1. Rule: a value; a test holds it against what the bridge does.
"""

from __future__ import annotations

from typing import Any

from mailauth.attempt import Service


def _text(doc: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": doc, **more}


def _object(required: list[str], properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def _answer(doc: str, schema: str) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{schema}"}
    return {"description": doc, "content": {"application/json": {"schema": reference}}}


ATTEMPT = _object(
    ["login", "password", "service"],
    {
        "login": _text("What the client typed as its name.", examples=["alice@example.test"]),
        "password": _text(
            "What it showed as its password. An octet that is not UTF-8 is the escape \\udcXX.", writeOnly=True
        ),
        "service": _text(
            "What it wants; also by the names that mail servers use, such as submission or imaps.", examples=[*Service]
        ),
        "client_address": _text(
            "The client's IP address; without it, it counts as one source with all others.",
            examples=["203.0.113.9"],
            default="",
        ),
        "client_name": _text("What the client calls itself (IMAP ID, SMTP EHLO), for the owner's list.", default=""),
        "authzid": _text("On whose behalf it asks, if it says so (RFC 4616); only its own login gets in.", default=""),
        "tls": {"type": "boolean", "description": "Whether the password came over TLS.", "default": False},
    },
)
ACCEPT = _object(
    ["verdict", "login", "app_password"],
    {
        "verdict": {"const": "accept"},
        "login": _text("The account's login, by its one spelling: the name of the mailbox."),
        "app_password": {"type": ["integer", "null"], "description": "The app password's id; null: the web password."},
    },
)
REJECT = _object(
    ["verdict", "text"],
    {"verdict": {"const": "reject"}, "text": _text("What to tell the client: the same for every reason.")},
)
DEFER = _object(
    ["verdict"],
    {
        "verdict": {"const": "defer"},
        "retry_after_s": {"type": "integer", "minimum": 0, "description": "When another try may do better."},
    },
)
MISTAKE = _object(["error"], {"error": _text("What to do about it.")})

DESCRIPTION: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "mailauth: may this client come in?",
        "version": "1",
        "description": "One call. 200 means yes, 403 no, and everything else that it was not judged: tell your client "
        "to come later (IMAP [UNAVAILABLE], POP3 [SYS/TEMP], SMTP 454), never that its password is wrong.",
    },
    "security": [{"token": []}],
    "paths": {
        "/v1/authenticate": {
            "post": {
                "operationId": "authenticate",
                "summary": "Judge one attempt",
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Attempt"}}},
                },
                "responses": {
                    "200": _answer("Accepted.", "Accept"),
                    "403": _answer("Refused.", "Reject"),
                    "503": _answer("Not judged, with Retry-After where that is known.", "Defer"),
                    "400": _answer("Not judged: this is no attempt.", "Mistake"),
                    "401": _answer("Not judged: the token is missing or wrong.", "Mistake"),
                    "413": _answer("Not judged: more than 64 KiB.", "Mistake"),
                },
            }
        }
    },
    "components": {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        "schemas": {"Attempt": ATTEMPT, "Accept": ACCEPT, "Reject": REJECT, "Defer": DEFER, "Mistake": MISTAKE},
    },
}
