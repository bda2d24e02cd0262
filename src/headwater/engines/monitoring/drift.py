"""How far a distribution is from its reference, from counts in the same bins: PSI, KS, chi-square, Jensen-Shannon.

All four take counts, reference first, and return None where one side has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headwater.engines.monitoring.gamma import upper_gamma
from headwater.engines.monitoring.profile import FieldProfile

LEAST_SHARE: Final = 1e-4
"""What an empty bin counts as in the PSI, which would be infinite without."""


@dataclass(frozen=True, slots=True)
class Drift:
    """The distances of one field; None where there is nothing to compare."""

    psi: float | None
    ks: float | None
    js: float | None
    chi2_p: float | None


def measure(reference: FieldProfile, current: FieldProfile) -> Drift:
    """Return the distances between two profiles of one field. KS has a meaning for numbers alone."""
    pair = reference.counts, current.counts
    return Drift(psi(*pair), ks(*pair) if reference.layout.is_number else None, js(*pair), chi2_p(*pair))


def psi(reference: Sequence[int], current: Sequence[int]) -> float | None:
    """Return the population stability index: below 0.1 is calm, above 0.2 a change to be looked at."""
    shares = _shares(reference, current)
    if shares is None:
        return None
    p, q = (np.maximum(share, LEAST_SHARE) for share in shares)
    return float(np.sum((q - p) * np.log(q / p)))


def ks(reference: Sequence[int], current: Sequence[int]) -> float | None:
    """Return the greatest distance of the cumulated shares: Kolmogorov-Smirnov's statistic at the edges of the bins."""
    shares = _shares(reference, current)
    if shares is None:
        return None
    return float(np.max(np.abs(np.cumsum(shares[0]) - np.cumsum(shares[1]))).clip(0.0, 1.0))


def js(reference: Sequence[int], current: Sequence[int]) -> float | None:
    """Return the Jensen-Shannon distance, to base 2: from 0 for equal shares to 1 for shares without overlap."""
    shares = _shares(reference, current)
    if shares is None:
        return None
    p, q = shares
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    return math.sqrt(min(max(divergence, 0.0), 1.0))


def chi2_p(reference: Sequence[int], current: Sequence[int]) -> float | None:
    """Return how likely counts as different as these are, were both drawn from one distribution (Pearson's test)."""
    table = np.array([reference, current], dtype=np.float64)
    table = table[:, table.sum(axis=0) > 0]
    totals = table.sum(axis=1, keepdims=True)
    if not totals.all():
        return None
    freedom = table.shape[1] - 1
    if freedom < 1:
        return 1.0
    expected = totals * table.sum(axis=0) / table.sum()
    return upper_gamma(freedom / 2, float(np.sum((table - expected) ** 2 / expected)) / 2)


def shares_of(counts: Sequence[int]) -> list[float]:
    """Return counts as shares of their sum; zeros when there are none."""
    total = sum(counts)
    return [count / total if total else 0.0 for count in counts]


def _shares(reference: Sequence[int], current: Sequence[int]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    p, q = np.array(reference, dtype=np.float64), np.array(current, dtype=np.float64)
    if len(p) != len(q):
        raise ValueError(f"{len(p)} bins against {len(q)}")
    if not p.sum() or not q.sum():
        return None
    return p / p.sum(), q / q.sum()


def _relative_entropy(p: NDArray[Any], q: NDArray[Any]) -> float:
    some = p > 0
    return float(np.sum(p[some] * np.log2(p[some] / q[some])))
