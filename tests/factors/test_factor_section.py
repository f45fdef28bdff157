from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from mailauth.factors import section, typed
from mailauth.factors.section import BadSection


@dataclass(frozen=True, slots=True)
class Settings:
    name: ClassVar[str] = "settings"
    url: str = section.option(doc="where", check=section.base_url)
    secret: str = section.option(doc="what both know", secret=True, check=section.long)
    wired: str = section.option("", doc="not for people", wired=True)
    count: int = section.option(5, doc="how many", check=section.between(1, 10))
    share: float = section.option(0.5, doc="how much")
    on: bool = section.option(True, doc="whether | or not")
    names: tuple[str, ...] = section.option(("a",), doc="which")


GOOD: dict[str, object] = {"url": "https://api.example.org", "secret": "of-sixteen-chars"}


def test_a_section_is_read() -> None:
    read = section.read(Settings, GOOD | {"names": ["b", "c"], "share": 1, "count": 10})
    assert read == Settings("https://api.example.org", "of-sixteen-chars", "", 10, 1.0, True, ("b", "c"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("url", ""),
        ("url", "example.org"),
        ("url", "https://"),
        ("url", "http://example.org"),
        ("url", "http://localhost.example.org"),
        ("url", "https://example.org/#x"),
        ("url", "https://example.org/"),
        ("url", "https://[example.org"),
        ("url", 5),
        ("secret", "short"),
        ("secret", None),
        ("count", 0),
        ("count", 11),
        ("count", "5"),
        ("count", True),
        ("count", 5.0),
        ("share", "half"),
        ("share", True),
        ("on", 1),
        ("on", "true"),
        ("names", "abc"),
        ("names", [1]),
        ("colour", "blue"),
    ],
)
def test_what_is_wrong_is_named_and_a_secret_not_shown(key: str, value: object) -> None:
    with pytest.raises(BadSection) as refused:
        section.read(Settings, GOOD | {key: value})
    assert refused.value.key == key
    assert "of-sixteen-chars" not in str(refused.value)
    assert key != "secret" or "short" not in str(refused.value)


@pytest.mark.parametrize("key", ["url", "secret"])
def test_what_is_missing_is_named(key: str) -> None:
    with pytest.raises(BadSection) as refused:
        section.read(Settings, {name: value for name, value in GOOD.items() if name != key})
    assert refused.value.key == {"secret": "secret_file"}.get(key, key)
    assert "is missing" in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://localhost:8080/x", "http://127.0.0.1:8080", "http://[::1]:8080", "https://a.b/c"]
)
def test_these_urls_are_fine(url: str) -> None:
    assert section.base_url(url) is None


def test_a_secret_is_in_no_repr() -> None:
    assert "of-sixteen-chars" not in repr(section.read(Settings, GOOD))


def test_the_table_names_every_key_that_people_write() -> None:
    assert section.table(Settings).splitlines()[2:] == [
        "| `url` | text | required | where |",
        "| `secret_file` | a path, or env:NAME | required | what both know |",
        "| `count` | a whole number | `5` | how many |",
        "| `share` | a number | `0.5` | how much |",
        "| `on` | true or false | `true` | whether \\| or not |",
        '| `names` | a list of texts | `["a"]` | which |',
    ]


@pytest.mark.parametrize(
    ("text", "plain"),
    [("12 34-56", "123456"), ("１２３４５６", "123456"), ("ABC\u200b\u00ad-def", "abcdef"), ("", ""), ("x" * 65, "")],
)
def test_codes_are_cleaned_of_what_people_and_keyboards_add(text: str, plain: str) -> None:
    assert typed.plain(text) == plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (" a  b ", "a b"),
        ("a\u202eb\x00\n", "ab"),
        ("", ""),
        ("我的手机", "我的手机"),
        ("<b>", "<b>"),
        ("é" * 99, "é" * 64),
        ("My\u00a0iPhone", "My iPhone"),
        ("a\u200bb\u2060c\ufeffd\u00ade", "abcde"),  # of no width
        ("a\u200db\u200cc", "abc"),  # joiners that join nothing
        (
            "👩\u200d💻 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "👩\u200d💻 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),
        ("❤\ufe0f\u200d🔥 1\ufe0f\u20e3", "❤\ufe0f\u200d🔥 1\ufe0f\u20e3"),
        ("\u200d👩\u200d", "👩"),
        ("x\ufe0f\U000e0141\ufe01y", "xy"),  # text can be hidden in selectors
        ("\U000e0041\U000e0042z", "z"),  # and in tags
        ("\u3164", ""),
        ("\u2800\u115f\u1160\uffa0", ""),
        ("\ufe0f\u0301", ""),
        (" \u3000\u2003", ""),
    ],
)
def test_names_hide_nothing(text: str, shown: str) -> None:
    assert typed.name(text) == shown
