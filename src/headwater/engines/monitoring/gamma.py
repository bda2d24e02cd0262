"""The regularised upper incomplete gamma function: what p values of chi-square tests are made of."""

from __future__ import annotations

import math
from typing import Final

_ENOUGH: Final = 1e-15
_TINY: Final = 1e-300
_STEPS: Final = 10_000


def upper_gamma(shape: float, at: float) -> float:
    """Return Q(shape, at), from 1 at zero down to 0: by its series for small values, else by a continued fraction.

    Args:
        shape: above zero.
        at: zero or more.
    """
    if shape <= 0 or at < 0 or math.isnan(at):
        raise ValueError(f"Q({shape}, {at}) is not defined")
    if at == 0:
        return 1.0
    if math.isinf(at):
        return 0.0
    scale = math.exp(shape * math.log(at) - at - math.lgamma(shape))
    if at < shape + 1:
        return max(0.0, 1.0 - scale * _series(shape, at))
    return min(1.0, scale * _fraction(shape, at))


def _series(shape: float, at: float) -> float:
    term = total = 1.0 / shape
    for step in range(1, _STEPS):
        term *= at / (shape + step)
        total += term
        if term < total * _ENOUGH:
            break
    return total


def _fraction(shape: float, at: float) -> float:
    """Return the continued fraction by Lentz's method."""
    b = at + 1.0 - shape
    c = 1.0 / _TINY
    d = 1.0 / b
    value = d
    for step in range(1, _STEPS):
        a = -step * (step - shape)
        b += 2.0
        d = 1.0 / _floored(a * d + b)
        c = _floored(b + a / c)
        factor = d * c
        value *= factor
        if abs(factor - 1.0) < _ENOUGH:
            break
    return value


def _floored(value: float) -> float:
    return _TINY if abs(value) < _TINY else value
