"""docs/sources.md tells of every source, and its tables are those of the code."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import mailauth.sources
from mailauth.factors import section
from mailauth.websources import Terms

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"


def plug_ins() -> list[ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(mailauth.sources.__path__)]
    modules = [importlib.import_module(f"mailauth.sources.{name}") for name in names]
    return [module for module in modules if hasattr(module, "build")]


def settings_of(module: ModuleType) -> type:
    name = module.__name__.rpartition(".")[2]
    kind: type = getattr(module, f"{name.capitalize()}Source")
    return kind


@pytest.mark.parametrize("kind", [Terms, *map(settings_of, plug_ins())], ids=lambda kind: kind.__name__)
def test_the_table_of_keys_is_that_of_the_code(kind: type) -> None:
    table = section.table(kind)
    assert f"<!-- {kind.__name__} -->\n{table}" in PAGE.read_text(), f"write this there:\n{table}"


@pytest.mark.parametrize("module", plug_ins(), ids=lambda module: module.__name__)
def test_every_source_has_its_heading(module: ModuleType) -> None:
    assert f"\n## {module.__name__.rpartition('.')[2]}\n" in PAGE.read_text()


def test_no_table_shows_what_the_program_puts_in_itself() -> None:
    assert "| `hashes`" not in PAGE.read_text()
    assert "| `folder`" not in PAGE.read_text()
