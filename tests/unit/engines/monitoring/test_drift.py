from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special, stats
from scipy.spatial import distance

from headwater.engines.monitoring.drift import LEAST_SHARE, chi2_p, js, ks, psi, shares_of
from headwater.engines.monitoring.gamma import upper_gamma

PAIRS = [
    ([10, 20, 30], [30, 20, 10]),
    ([1, 0, 5, 9], [4, 4, 0, 1]),
    ([1_000, 2_000, 3_000, 10], [990, 2_100, 2_950, 0]),
    ([5, 0, 0], [0, 0, 5]),
    ([7, 3], [70_000, 30_000]),
]


@pytest.mark.parametrize("shape", [0.5, 1, 2.5, 11, 100, 5_000])
@pytest.mark.parametrize("at", [0, 1e-9, 0.3, 1, 2.5, 10, 99, 105, 5_100, 1e5, math.inf])
def test_the_gamma_function_is_the_one_of_scipy(shape: float, at: float) -> None:
    assert upper_gamma(shape, at) == pytest.approx(float(special.gammaincc(shape, at)), rel=1e-9, abs=1e-14)


@pytest.mark.parametrize(("shape", "at"), [(0, 1), (-1, 1), (1, -1), (1, math.nan)])
def test_the_gamma_function_is_not_defined_everywhere(shape: float, at: float) -> None:
    with pytest.raises(ValueError, match="not defined"):
        upper_gamma(shape, at)


@pytest.mark.parametrize(("reference", "current"), PAIRS)
def test_chi_square_is_the_one_of_scipy(reference: list[int], current: list[int]) -> None:
    table = np.array([reference, current])
    table = table[:, table.sum(axis=0) > 0]
    expected = stats.chi2_contingency(table, correction=False).pvalue
    assert chi2_p(reference, current) == pytest.approx(float(expected), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("reference", "current"), PAIRS)
def test_jensen_shannon_is_the_one_of_scipy(reference: list[int], current: list[int]) -> None:
    assert js(reference, current) == pytest.approx(float(distance.jensenshannon(reference, current, base=2)))


@pytest.mark.parametrize(("reference", "current"), PAIRS)
def test_kolmogorov_smirnov_is_the_one_of_scipy_on_binned_values(reference: list[int], current: list[int]) -> None:
    values = [np.repeat(np.arange(len(counts)), np.minimum(counts, 3_000)) for counts in (reference, current)]
    expected = stats.ks_2samp(*values, method="asymp").statistic
    found = ks(*(np.bincount(part, minlength=len(reference)).tolist() for part in values))
    assert found == pytest.approx(float(expected))


def test_psi_is_the_sum_over_bins_with_empty_ones_floored() -> None:
    p, q = [0.25, 0.75], [0.5, 0.5]
    expected = sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
    assert psi([1, 3], [5, 5]) == pytest.approx(expected)
    floored = (1 - LEAST_SHARE) * math.log(1 / LEAST_SHARE) * 2
    assert psi([4, 0], [0, 9]) == pytest.approx(floored)


def test_nothing_compares_with_nothing() -> None:
    for measure in (psi, ks, js, chi2_p):
        assert measure([0, 0], [1, 2]) is None
        assert measure([1, 2], [0, 0]) is None
    assert chi2_p([3, 0], [7, 0]) == 1.0
    assert shares_of([0, 0]) == [0.0, 0.0]


def test_counts_of_other_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="2 bins against 3"):
        psi([1, 2], [1, 2, 3])
