"""The benchmark of revocation: that it runs, and measures what it says."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCH)
    module = importlib.import_module("revocation")
    monkeypatch.setattr(module, "ROUNDS", 2)
    return module


@pytest.mark.parametrize("way", ["in_the_same_process", "in_another_process"])
def test_a_goodbye_is_heard_behind_the_commit(bench: ModuleType, tmp_path: Path, way: str) -> None:
    place = bench.Place(tmp_path / "site", None)
    rounds = getattr(place, way)()
    place.store.close()
    assert len(rounds) == 2
    for to_bye_s, to_return_s in rounds:
        assert 0 < to_bye_s < bench.PATIENCE_S
        assert 0 < to_return_s < bench.PATIENCE_S


def test_percentiles_are_what_they_are_called(bench: ModuleType) -> None:
    assert bench._percentiles([float(value) for value in range(1, 101)]) == "50 (p99 99)"
