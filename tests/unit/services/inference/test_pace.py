from __future__ import annotations

import random

import pytest

from headwater.services.inference.pace import Pace


def test_it_finds_the_fixed_part_and_the_part_of_each_row() -> None:
    pace = Pace()
    chance = random.Random(4)
    for _ in range(500):
        rows = chance.choice([1, 4, 16, 64])
        pace.observe(rows, (0.002 + 0.0001 * rows) * chance.uniform(0.9, 1.1))
    assert pace.fixed == pytest.approx(0.002, rel=0.15)
    assert pace.per_row == pytest.approx(0.0001, rel=0.15)
    assert pace.seconds(128, 64) == pytest.approx(2 * 0.002 + 128 * 0.0001, rel=0.15)


def test_runs_of_one_size_count_as_fixed() -> None:
    pace = Pace()
    for _ in range(20):
        pace.observe(1, 0.02)
    assert pace.seconds(64, 1_024) == pytest.approx(0.02)
    assert pace.seconds(0, 1_024) == 0


def test_it_never_promises_less_than_nothing() -> None:
    pace = Pace()
    for rows, seconds in ((1, 0.05), (100, 0.001), (1, 0.04), (50, 0.0)) * 10:
        pace.observe(rows, seconds)
        assert pace.fixed >= 0
        assert pace.per_row >= 0


def test_it_follows_a_model_that_becomes_slower_and_shrugs_at_one_slow_run() -> None:
    pace = Pace()
    for _ in range(100):
        pace.observe(1, 0.000_02)
    pace.observe(1, 0.5)
    assert pace.fixed < 0.000_05
    for _ in range(400):
        pace.observe(1, 0.01)
    assert pace.fixed == pytest.approx(0.01, rel=0.1)
