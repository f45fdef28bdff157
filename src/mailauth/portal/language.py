"""The texts of the pages, in the languages there are, and which of them somebody wants to read.

Source: RFC 9110 section 12.5.4 (Accept-Language). Rule: pages name texts by their key; every language has every key.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from importlib import resources
from unicodedata import bidirectional

from markupsafe import Markup, escape

DEFAULT = "en"
TAGS = {"en": "en", "zh": "zh-CN"}  # what `lang` says in HTML (BCP 47), by the name of a language's file
NAMES = {"en": "English", "zh": "中文"}
MAX_RANKED = 20
MINUTE_S, HOUR_S = 60, 3600
RIGHT_TO_LEFT = frozenset({"R", "AL"})


@dataclass(frozen=True, slots=True)
class Language:
    """One language. tag: for HTML. texts: by dotted key. A text may hold {names} in braces."""

    code: str
    tag: str
    texts: Mapping[str, Markup] = field(repr=False)

    def text(self, key: str, **values: object) -> Markup:
        """The text of this key, with the values escaped in their places. Raises KeyError: no such key, or value."""
        text = self.texts[key]
        return text.format(**{name: _isolated(value) for name, value in values.items()}) if "{" in text else text

    def has(self, key: str) -> bool:
        """Whether there is such a text: for keys that are made of a value."""
        return key in self.texts

    def moment(self, at: float, zone: tzinfo) -> Markup:
        """Date and time as people of this language write them, in an element that says it to programs too."""
        try:
            local = datetime.fromtimestamp(at, zone)
        except (ValueError, OverflowError, OSError):  # beyond the years that a calendar has
            return Markup("{}").format("—")
        exactly = local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return Markup('<time datetime="{}">{}</time>').format(exactly, self.date_and_time(local))

    def date_and_time(self, local: datetime) -> str:
        """As people of this language write them, in plain text."""
        if self.code == "zh":
            return f"{local.year}年{local.month}月{local.day}日 {local:%H:%M}"
        return f"{local.day} {local:%b %Y, %H:%M}"

    def wait(self, seconds: float) -> Markup:
        """How long something takes, rounded up."""
        for unit, unit_s in (("hours", HOUR_S), ("minutes", MINUTE_S)):
            if seconds > 2 * unit_s:
                return self.text(f"wait.{unit}", count=math.ceil(seconds / unit_s))
        return self.text("wait.seconds", count=max(1, math.ceil(seconds)))


def _isolated(value: object) -> Markup:
    """Escaped; and what is written from right to left turns nothing round that stands beside it (UAX 9, isolates)."""
    text = escape(value)
    turns = any(bidirectional(each) in RIGHT_TO_LEFT for each in text)
    return Markup("\u2068{}\u2069").format(text) if turns else text


def languages() -> dict[str, Language]:
    """All languages by code."""
    return {name: _read(name) for name in TAGS}


def wanted(accepted: str) -> str:
    """The code of the best language for this Accept-Language header."""
    ranked: list[tuple[float, int, str]] = []
    for place, item in enumerate(accepted.split(",")[:MAX_RANKED]):
        tag, _, weight = item.strip().partition(";")
        code = tag.strip().lower().partition("-")[0]
        if code in TAGS:
            ranked.append((-_weight(weight), place, code))
    best = min(ranked, default=(0.0, 0, DEFAULT))
    return best[2] if best[0] < 0 else DEFAULT


def _weight(parameter: str) -> float:
    if not parameter:
        return 1.0
    name, _, value = parameter.strip().partition("=")
    try:
        weight = float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def _read(name: str) -> Language:
    data = tomllib.loads(resources.files("mailauth.portal").joinpath("texts", f"{name}.toml").read_text("utf-8"))
    texts = {f"{group}.{key}": Markup(text) for group, entries in data.items() for key, text in entries.items()}  # noqa: S704
    return Language(name, TAGS[name], texts)
