"""How good predictions were, once it is known what became of them: metrics from pairs of predicted and actual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

CALIBRATION_BINS: Final = 10
THRESHOLD: Final = 0.5
_TINY: Final = float(np.finfo(np.float64).eps)

Kind = Literal["probability", "number", "label"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Predictions between two probabilities: how many, their mean, and the share that came true."""

    least: float
    most: float
    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class Performance:
    """The quality of one output. A metric that these rows do not define is None."""

    kind: Kind
    rows: int
    metrics: Mapping[str, float | None]
    calibration: tuple[Calibration, ...] = ()


def judge_numbers(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> Performance:
    """Return the quality of numbers: as probabilities where they can be, else by their distance.

    They can be where every actual value is 0 or 1 and every predicted one lies between.
    """
    if not len(predicted):
        return Performance("number", 0, {})
    is_binary = bool(np.isin(actual, (0.0, 1.0)).all()) and bool(((predicted >= 0) & (predicted <= 1)).all())
    return _judge_probabilities(predicted, actual) if is_binary else _judge_distances(predicted, actual)


def judge_labels(predicted: Sequence[str], actual: Sequence[str]) -> Performance:
    """Return the quality of texts: the share that is right."""
    if not predicted:
        return Performance("label", 0, {})
    right = sum(one == other for one, other in zip(predicted, actual, strict=True))
    return Performance("label", len(predicted), {"accuracy": right / len(predicted)})


def area_under_curve(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> float | None:
    """Return the share of pairs of a true and a false one that are ranked right, ties counting half."""
    positives = int(actual.sum())
    negatives = len(actual) - positives
    if not positives or not negatives:
        return None
    _, places, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[places]
    return float((ranks[actual == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _judge_probabilities(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> Performance:
    clipped = np.clip(predicted, _TINY, 1 - _TINY)
    said = predicted >= THRESHOLD
    true = actual == 1
    hits = int((said & true).sum())
    metrics = {
        "auc": area_under_curve(predicted, actual),
        "log_loss": float(-np.mean(actual * np.log(clipped) + (1 - actual) * np.log1p(-clipped))),
        "brier": float(np.mean((predicted - actual) ** 2)),
        "accuracy": float(np.mean(said == true)),
        "precision": _ratio(hits, int(said.sum())),
        "recall": _ratio(hits, int(true.sum())),
        "positive_rate": float(actual.mean()),
    }
    calibration = _calibrate(predicted, actual)
    metrics["calibration_error"] = sum(one.rows * abs(one.predicted - one.observed) for one in calibration) / len(said)
    return Performance("probability", len(predicted), metrics, calibration)


def _judge_distances(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> Performance:
    distance = predicted - actual
    metrics = {
        "mae": float(np.mean(np.abs(distance))),
        "rmse": float(np.sqrt(np.mean(distance**2))),
        "bias": float(np.mean(distance)),
    }
    return Performance("number", len(predicted), metrics)


def _calibrate(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> tuple[Calibration, ...]:
    places = np.minimum((predicted * CALIBRATION_BINS).astype(np.intp), CALIBRATION_BINS - 1)
    rows: NDArray[Any] = np.bincount(places, minlength=CALIBRATION_BINS)
    sums = np.bincount(places, predicted, CALIBRATION_BINS)
    truths = np.bincount(places, actual, CALIBRATION_BINS)
    return tuple(
        Calibration(
            at / CALIBRATION_BINS,
            (at + 1) / CALIBRATION_BINS,
            int(rows[at]),
            float(sums[at] / rows[at]),
            float(truths[at] / rows[at]),
        )
        for at in range(CALIBRATION_BINS)
        if rows[at]
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
