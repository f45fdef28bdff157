"""Lists page by page: where the next page begins, as a word that programs hand back as they got it.

Rule: it holds a place in an index and opens nothing; what is in it is judged like anything else that is sent.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mailauth.portal.api.shapes import MOST_CHARACTERS, Field, Schema, Shape, Unfit, Whole


@dataclass(frozen=True, slots=True)
class Key:
    """Where a page of a list begins: what `next` of the page before said. parts: the shapes of what is in it."""

    parts: Sequence[Shape]

    def read(self, value: Any) -> tuple[Any, ...]:
        """See Shape."""
        try:
            items = json.loads(base64.urlsafe_b64decode(value.encode("ascii")))
        except (AttributeError, ValueError, binascii.Error, RecursionError):
            raise Unfit("what `next` of the page before said") from None
        if not isinstance(items, list) or len(items) != len(self.parts):
            raise Unfit("what `next` of the page before said, of this same list")
        return tuple([part.read(item) for part, item in zip(self.parts, items, strict=True)])

    def typed(self, text: str) -> str:
        """See Shape."""
        return text

    def schema(self) -> Schema:
        """See Shape."""
        return {"type": "string", "maxLength": 2 * MOST_CHARACTERS}


@dataclass(frozen=True, slots=True)
class Instant:
    """Epoch seconds within a key."""

    def read(self, value: Any) -> float:
        """See Shape."""
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise Unfit("a moment")
        return float(value)

    def typed(self, text: str) -> Any:  # noqa: ARG002
        """See Shape."""
        raise Unfit("nothing that an address can hold")

    def schema(self) -> Schema:
        """See Shape."""
        return {"type": "number"}


def key_of(*parts: Any) -> str:
    """What `next` says; see Key."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


LIMIT = Field("limit", Whole(1, 200), "So many at most; 50 if it is not said.")
MOST_ROWS = 50


def next_of(*parts: Shape) -> Field:
    """Where a page begins."""
    return Field("next", Key(parts), "What `next` of the page before said.")
