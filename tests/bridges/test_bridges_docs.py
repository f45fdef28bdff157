"""docs/bridges.md: a section for each kind, its keys as they are, and examples that can be used."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import mailauth.bridges
from mailauth import config
from mailauth.bridgeheads import bridges_of
from mailauth.factors.section import table

PAGE = (Path(__file__).parents[2] / "docs" / "bridges.md").read_text()
KINDS = [
    module.name
    for module in pkgutil.iter_modules(mailauth.bridges.__path__)
    if hasattr(importlib.import_module(f"mailauth.bridges.{module.name}"), "build")
]
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_section_and_its_keys(kind: str) -> None:
    name = kind.replace("_", "-")
    section = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert f'kind = "{name}"' in section[1]
    module = importlib.import_module(f"mailauth.bridges.{kind}")
    (made,) = {cls for cls in vars(module).values() if isinstance(cls, type) and hasattr(cls, "silence_s")}
    keys = table(made).splitlines()[2:]
    for line in keys:
        assert line in section[1]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_taken(tmp_path: Path, example: str) -> None:
    file = tmp_path / "mailauth.toml"
    for name in re.findall(r'_file = "(.*)"', example):
        (tmp_path / name).write_text("a token of this bridge's own\n")
    file.write_text('[store]\nurl = "sqlite:///mailauth.db"\n[key]\nfile = "keys"\n' + example)
    assert len(bridges_of(config.load(file))) == 1
