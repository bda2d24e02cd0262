from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from headwater.engines.monitoring.performance import judge_labels, judge_numbers

RNG = np.random.default_rng(3)
SETS = {
    "noise": (RNG.random(500), RNG.integers(0, 2, 500)),
    "skill": ((truth := RNG.integers(0, 2, 800)) * 0.4 + RNG.random(800) * 0.6, truth),
    "ties": (np.round(RNG.random(400), 1), RNG.integers(0, 2, 400)),
    "sure": (np.array([0.0, 1.0, 1.0, 0.0, 0.5]), np.array([0, 1, 0, 1, 1])),
}


def expected_calibration_error(predicted: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return it as it is defined: by tenths, weighed by their rows."""
    tenths = np.minimum(np.floor(predicted * 10), 9)
    parts = [(tenths == tenth) for tenth in range(10)]
    gaps = [abs(predicted[part].mean() - truth[part].mean()) * part.mean() for part in parts if part.any()]
    return float(sum(gaps))


@pytest.mark.parametrize("name", SETS)
def test_probabilities_are_judged_as_scikit_learn_does(name: str) -> None:
    predicted, truth = np.asarray(SETS[name][0], np.float64), np.asarray(SETS[name][1], np.float64)
    judged = judge_numbers(predicted, truth)
    said = predicted >= 0.5
    assert judged.kind == "probability"
    assert judged.rows == len(truth)
    assert dict(judged.metrics) == pytest.approx(
        {
            "auc": metrics.roc_auc_score(truth, predicted),
            "log_loss": metrics.log_loss(truth, predicted),
            "brier": metrics.brier_score_loss(truth, predicted),
            "accuracy": metrics.accuracy_score(truth, said),
            "precision": metrics.precision_score(truth, said),
            "recall": metrics.recall_score(truth, said),
            "positive_rate": truth.mean(),
            "calibration_error": expected_calibration_error(predicted, truth),
        }
    )


def test_calibration_has_what_was_said_beside_what_came_true() -> None:
    judged = judge_numbers(np.array([0.05, 0.07, 0.61, 0.69, 1.0]), np.array([0.0, 1.0, 1.0, 1.0, 1.0]))
    found = [(one.least, one.most, one.rows, one.predicted, one.observed) for one in judged.calibration]
    assert found == [
        (0.0, 0.1, 2, pytest.approx(0.06), 0.5),
        (0.6, 0.7, 2, pytest.approx(0.65), 1.0),
        (0.9, 1.0, 1, 1.0, 1.0),
    ]


def test_numbers_are_judged_as_scikit_learn_does() -> None:
    predicted, truth = RNG.normal(10, 5, 300), RNG.normal(10, 5, 300)
    judged = judge_numbers(predicted, truth)
    assert judged.kind == "number"
    assert dict(judged.metrics) == pytest.approx(
        {
            "mae": metrics.mean_absolute_error(truth, predicted),
            "rmse": metrics.root_mean_squared_error(truth, predicted),
            "bias": np.mean(predicted - truth),
        }
    )
    assert judged.calibration == ()


def test_what_rows_do_not_define_is_none() -> None:
    judged = judge_numbers(np.array([0.1, 0.2]), np.array([0.0, 0.0]))
    assert (judged.metrics["auc"], judged.metrics["precision"], judged.metrics["recall"]) == (None, None, None)
    assert judge_numbers(np.array([]), np.array([])).rows == 0
    assert judge_labels([], []).metrics == {}


def test_labels_are_right_or_wrong() -> None:
    judged = judge_labels(["a", "b", "c", "a"], ["a", "b", "x", "b"])
    assert (judged.kind, judged.rows, judged.metrics) == ("label", 4, {"accuracy": 0.5})
