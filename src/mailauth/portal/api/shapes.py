"""What a value sent to the API may be, said once: by this it is read, and by this it is described.

Source: JSON Schema 2020-12 (validation), RFC 3339 (moments). Rule: what is read has the type that the use case expects,
in its one spelling; nothing is guessed, rounded or cut to fit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import ip_network
from typing import Any, Protocol

from mailauth import names
from mailauth.accounts.refusals import Refused
from mailauth.accounts.views import moment
from mailauth.attempt import address_text

Schema = dict[str, Any]

MOST_WHOLE = 2**53 - 1  # RFC 8259 section 6: beyond, programs do not agree on a number
MOST_ITEMS = 1000
MOST_CHARACTERS = 1000
LAST_MOMENT = datetime(9999, 12, 31, tzinfo=UTC).timestamp()
DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
UNFIT = frozenset({"Cc", "Cs"})  # control characters, and halves of characters


class Unfit(ValueError):
    """This value is not what is expected there. The text says what is, and does not repeat the value."""


class Shape(Protocol):
    """What one value may be."""

    def read(self, value: Any) -> Any:
        """A JSON value, as the use case takes it. Raises Unfit."""

    def typed(self, text: str) -> Any:
        """The JSON value that this means in an address, where everything is text. Raises Unfit."""

    def schema(self) -> Schema:
        """The same in JSON Schema."""


@dataclass(frozen=True, slots=True)
class Text:
    """One line. format: for readers of the document. check: brings it into its one spelling; raises Refused."""

    format: str = ""
    least: int = 1
    most: int = MOST_CHARACTERS
    pattern: str = ""
    check: Callable[[str], str] = str

    def read(self, value: Any) -> str:
        """See Shape."""
        if not isinstance(value, str) or not self.least <= len(value) <= self.most:
            raise Unfit(f"a text of {self.least} to {self.most} characters")
        if any(unicodedata.category(character) in UNFIT for character in value):
            raise Unfit("a text without control characters")
        if self.pattern and not re.fullmatch(self.pattern, value):
            raise Unfit(f"a text like {self.pattern}")
        try:
            return self.check(value)
        except (Refused, names.NotALogin) as wrong:
            raise Unfit(str(wrong)) from None

    def typed(self, text: str) -> str:
        """See Shape."""
        return text

    def schema(self) -> Schema:
        """See Shape."""
        schema: Schema = {"type": "string", "minLength": self.least, "maxLength": self.most}
        if self.format:
            schema["format"] = self.format
        return schema | ({"pattern": f"^{self.pattern}$"} if self.pattern else {})


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    def read(self, value: Any) -> bool:
        """See Shape."""
        if not isinstance(value, bool):
            raise Unfit("true or false")
        return value

    def typed(self, text: str) -> Any:
        """See Shape."""
        return {"true": True, "false": False}.get(text)

    def schema(self) -> Schema:
        """See Shape."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number."""

    least: int = 0
    most: int = MOST_WHOLE

    def read(self, value: Any) -> int:
        """See Shape."""
        if not isinstance(value, int) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise Unfit(f"a whole number from {self.least} to {self.most}")
        return value

    def typed(self, text: str) -> Any:
        """See Shape."""
        return int(text) if re.fullmatch(r"0|[1-9][0-9]{0,15}", text) else None

    def schema(self) -> Schema:
        """See Shape."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True, slots=True)
class Moment:
    """A date with a time and its distance from UTC; read as epoch seconds."""

    def read(self, value: Any) -> float:
        """See Shape."""
        wanted = f"a moment like {moment(1.8e9)} (RFC 3339)"
        if not isinstance(value, str) or not DATE_TIME.fullmatch(value):
            raise Unfit(wanted)
        try:
            at = datetime.fromisoformat(value.upper()).timestamp()
        except (ValueError, OverflowError):
            raise Unfit(wanted) from None
        if not 0 <= at <= LAST_MOMENT:
            raise Unfit("a moment between the years 1970 and 9999")
        return at

    def typed(self, text: str) -> str:
        """See Shape."""
        return text

    def schema(self) -> Schema:
        """See Shape."""
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these words."""

    of: type[StrEnum]

    def read(self, value: Any) -> str:
        """See Shape."""
        if not isinstance(value, str) or value not in list(self.of):
            raise Unfit(f"one of {', '.join(self.of)}")
        return value

    def typed(self, text: str) -> str:
        """See Shape."""
        return text

    def schema(self) -> Schema:
        """See Shape."""
        return {"type": "string", "enum": [str(word) for word in self.of]}


@dataclass(frozen=True, slots=True)
class Many:
    """A list of such values, each once."""

    of: Shape
    least: int = 0
    most: int = MOST_ITEMS

    def read(self, value: Any) -> list[Any]:
        """See Shape."""
        if not isinstance(value, list) or not self.least <= len(value) <= self.most:
            raise Unfit(f"a list of {self.least} to {self.most}")
        items = [self.of.read(item) for item in value]
        if len(set(items)) < len(items):
            raise Unfit("a list that names each once")
        return items

    def typed(self, text: str) -> Any:  # noqa: ARG002
        """See Shape."""
        raise Unfit("nothing that an address can hold")

    def schema(self) -> Schema:
        """See Shape."""
        bounds = {"minItems": self.least, "maxItems": self.most}
        return {"type": "array", "items": self.of.schema(), "uniqueItems": True, **bounds}


@dataclass(frozen=True, slots=True)
class OrNull:
    """Such a value, or null."""

    of: Shape

    def read(self, value: Any) -> Any:
        """See Shape."""
        return None if value is None else self.of.read(value)

    def typed(self, text: str) -> Any:
        """See Shape."""
        return self.of.typed(text)

    def schema(self) -> Schema:
        """See Shape."""
        return {"anyOf": [self.of.schema(), {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class Field:
    """One named value: of a body, of the query, or of the path. about: a sentence."""

    name: str
    shape: Shape
    about: str = ""
    required: bool = False
    example: Any = field(default=None)


def throttled_subject(text: str) -> str:
    """An account, an address or a network, in its one spelling. Raises Refused, names.NotALogin."""
    if "@" in text:
        return names.fold(text)
    try:
        network = ip_network(address_text(text), strict=False)
    except ValueError:
        raise Refused("a mail address, an IP address or a network") from None
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


LOGIN = Text("idn-email", 3, names.MAX_LOGIN_BYTES, check=names.fold)
DOMAIN = Text("idn-hostname", 1, names.MAX_DOMAIN_BYTES, check=names.fold_domain)
SUBJECT = Text(least=1, most=names.MAX_LOGIN_BYTES, check=throttled_subject)
ID = Whole(1)
