"""How a model is watched: what snapshots say of drift, data quality and the quality of its answers."""

from __future__ import annotations

from headwater.core.spec import Spec


class QualitySpec(Spec):
    """Thresholds of the quality of predictions, once it is known what became of them; None of one is not judged.

    Looks at the predictions of the last ``window_hours`` that are older than ``settle_minutes`` (outcomes that come
    early are not those that come at all) once ``min_outcomes`` are known. ``max_bias`` bounds it in both directions.
    """

    window_hours: int = 168
    settle_minutes: int = 0
    min_outcomes: int = 100
    min_auc: float | None = None
    min_accuracy: float | None = None
    min_precision: float | None = None
    min_recall: float | None = None
    max_log_loss: float | None = None
    max_brier: float | None = None
    max_calibration_error: float | None = None
    max_mae: float | None = None
    max_rmse: float | None = None
    max_bias: float | None = None


class MonitorSpec(Spec):
    """Thresholds of a model's monitoring.

    An alert is raised after ``raise_after`` evaluations in a row beyond a threshold and cleared after ``clear_after``
    within it. Evaluations look at ``window_minutes`` once these hold ``min_rows``.
    """

    window_minutes: int = 60
    min_rows: int = 200
    psi: float | None = 0.2
    ks: float | None = None
    js: float | None = None
    null_rate: float | None = 0.1
    out_of_range_rate: float | None = 0.1
    error_rate: float | None = 0.05
    p99_ms: float | None = None
    raise_after: int = 2
    clear_after: int = 3
    quality: QualitySpec = QualitySpec()
