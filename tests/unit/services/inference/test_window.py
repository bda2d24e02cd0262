from __future__ import annotations

import pytest

from headwater.services.inference.window import BOUNDS_US, Window, bucket_of, quantile_ms


def test_bounds_rise_and_every_latency_has_a_bucket() -> None:
    assert list(BOUNDS_US) == sorted(set(BOUNDS_US))
    assert bucket_of(0) == 0
    assert bucket_of(10) == 0
    assert bucket_of(10.1) == 1
    assert bucket_of(1e12) == len(BOUNDS_US)


def test_what_lies_further_back_than_the_window_is_forgotten() -> None:
    window = Window(60, now=1_000)
    for second in range(30):
        window.answered(1_000 + second, bucket_of(1_000))
    window.failed(1_029, "model_failed", is_fault=True)
    window.failed(1_029, "input_invalid", is_fault=False)
    assert window.counts(1_030) == (31, 1)
    assert window.by_code(1_030) == {"model_failed": 1, "input_invalid": 1}
    requests, faults = window.counts(1_075)
    assert 10 <= requests <= 20
    assert faults == 1
    assert window.counts(1_100) == (0, 0)
    assert window.by_code(1_100) == {}
    assert window.quantiles_ms(1_100, 0.5) == [None]


def test_a_long_silence_empties_it() -> None:
    window = Window(1, now=0)
    window.answered(0, 3)
    window.answered(1e6, 3)
    assert window.counts(1e6) == (1, 0)


@pytest.mark.parametrize("microseconds", [15, 480, 9_900, 2_500_000])
def test_quantiles_are_within_a_tenth_or_two(microseconds: float) -> None:
    window = Window(60, now=0)
    for _ in range(98):
        window.answered(1, bucket_of(microseconds))
    for _ in range(2):
        window.answered(1, bucket_of(microseconds * 20))
    p50, p99 = window.quantiles_ms(1, 0.5, 0.99)
    assert p50 == pytest.approx(microseconds / 1_000, rel=0.3)
    assert p99 is not None
    assert p99 > microseconds / 1_000 * 14


def test_what_is_slower_than_every_bound_has_the_last_one() -> None:
    buckets = [0] * len(BOUNDS_US) + [3]
    assert quantile_ms(buckets, 0.99) == BOUNDS_US[-1] / 1_000
