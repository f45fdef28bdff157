"""What hosts say by HTTP, as bytes, and what they hear, taken apart."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from bridge_stage import BridgeStage, built

TOKEN = b"a token of this bridge's own"
OTHER_TOKEN = b"a token that was good before"


def stage(kind: str, options: dict[str, object] | None = None, judge: bool = True, **terms: object) -> BridgeStage:
    """A connection to a bridge with both tokens."""
    told = {"admits": lambda shown: shown in (TOKEN, OTHER_TOKEN), **terms}
    dialogue = built(kind, told, **(options or {})).dialogue()
    return BridgeStage(dialogue) if judge else BridgeStage(dialogue, None)


@dataclass(frozen=True)
class Heard:
    """One answer."""

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def heard(said: bytes) -> Heard:
    """The only answer there is."""
    head, _, body = said.partition(b"\r\n\r\n")
    first, *lines = head.decode("utf-8").split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert len(fields) == len(lines)
    assert int(fields["Content-Length"]) == len(body)
    return Heard(int(first.split(" ")[1]), fields, body)


def posted(path: str, kind: str, body: bytes, **fields: str) -> bytes:
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    head = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {kind}", *lines, f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, "", ""]).encode() + body


def form(**values: str | bytes) -> bytes:
    return urlencode(values, quote_via=quote).encode()
