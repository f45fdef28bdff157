"""docs/factors.md tells of every factor and gateway, and its tables are those of the code."""

from __future__ import annotations

import dataclasses
import hmac
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import mailauth.factors
import mailauth.gateways
from mailauth.factors import section
from mailauth.gateways import sms_webhook

PAGE = Path(__file__).parents[2] / "docs" / "factors.md"


def plug_ins() -> list[ModuleType]:
    modules = [
        importlib.import_module(f"{room.__name__}.{module.name}")
        for room in (mailauth.factors, mailauth.gateways)
        for module in pkgutil.iter_modules(room.__path__)
    ]
    return [module for module in modules if hasattr(module, "build")]


def settings_of(module: ModuleType) -> type:
    """The dataclass with its settings: the one that has a name."""
    (kind,) = [
        kind
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if kind.__module__ == module.__name__
        and dataclasses.is_dataclass(kind)
        and hasattr(kind, "name")
        and isinstance(kind.name, str)
    ]
    return kind


@pytest.mark.parametrize("module", plug_ins(), ids=lambda module: module.__name__)
def test_the_table_of_settings_is_that_of_the_code(module: ModuleType) -> None:
    kind = settings_of(module)
    name: str = kind.name  # type: ignore[attr-defined]
    assert re.search(rf"^##+ {name}$", PAGE.read_text(), re.MULTILINE), f"no section on {name}"
    table = section.table(kind)
    if table.count("\n") > 2:
        assert f"<!-- {name} -->\n{table}" in PAGE.read_text(), f"write this under <!-- {name} -->:\n{table}"


def test_the_example_of_a_receiver_takes_what_is_signed() -> None:
    code = PAGE.read_text().split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {"hmac": hmac}
    exec(compile(code, str(PAGE), "exec"), names)
    genuine = names["genuine"]
    assert callable(genuine)
    field = sms_webhook.signature("shared-by-both-sides", 1_700_000_000, b"{}")
    assert genuine(b"shared-by-both-sides", b"{}", field, 1_700_000_300.0)
    assert not genuine(b"shared-by-both-sides", b"{}", field, 1_700_000_301.0)
    assert not genuine(b"shared-by-both-sides", b"{ }", field, 1_700_000_000.0)
    assert not genuine(b"another", b"{}", field, 1_700_000_000.0)
