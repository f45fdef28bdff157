"""The statistics of `bench/timing.py`: they see a difference where there is one, and none where there is none."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture(scope="module")
def timing():
    spec = importlib.util.spec_from_file_location("bench_timing", BENCH / "timing.py")
    assert spec is not None and spec.loader is not None
    sys.path.insert(0, str(BENCH))
    try:
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(BENCH))
    return module


def test_the_figures_of_small_samples_are_those_of_the_books(timing):
    distance, _ = timing.kolmogorov_smirnov([1, 2, 3, 4], [3, 4, 5, 6])
    assert distance == 0.5
    assert timing.kolmogorov_smirnov([1, 2, 3], [1, 2, 3]) == (0.0, 1.0)
    # Two samples of ten, none of which overlaps: U = 0, z = 50 / sqrt(175).
    assert timing.mann_whitney(range(10), range(10, 20)) == pytest.approx(0.000157, abs=1e-6)
    assert timing.mann_whitney([1, 1, 1], [1, 1]) == 1.0
    assert timing.mann_whitney([1, 2, 3], [1, 2, 3]) == 1.0


def test_equal_distributions_are_seldom_told_apart(timing):
    chance = random.Random(1)
    found = 0
    for _ in range(200):
        one, other = ([round(chance.uniform(2.0, 2.1), 4) for _ in range(count)] for count in (50, 300))
        found += min(timing.kolmogorov_smirnov(one, other)[1], timing.mann_whitney(one, other)) < 0.01
    assert found <= 10


@pytest.mark.parametrize(
    ("least", "most"), [(2.02, 2.12), (2.04, 2.06)], ids=["a fifth of a tick later", "the middle of the tick only"]
)
def test_different_distributions_are_told_apart(timing, least, most):
    chance = random.Random(1)
    one = [chance.uniform(least, most) for _ in range(250)]
    others = [chance.uniform(2.0, 2.1) for _ in range(2500)]
    assert min(timing.kolmogorov_smirnov(one, others)[1], timing.mann_whitney(one, others)) < 1e-5
