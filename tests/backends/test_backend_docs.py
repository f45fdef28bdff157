"""docs/backend.md has the keys of the code."""

from __future__ import annotations

from pathlib import Path

from mailauth.backends.backend import Backend
from mailauth.factors import section

PAGE = Path(__file__).parents[2] / "docs" / "backend.md"


def test_the_table_of_keys_is_that_of_the_code() -> None:
    table = section.table(Backend)
    assert f"<!-- Backend -->\n{table}" in PAGE.read_text(), f"write this there:\n{table}"
