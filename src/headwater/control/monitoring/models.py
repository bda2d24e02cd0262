"""Alerts about model versions, and how far each version's evaluation has come."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Final

from django.db import models
from django.utils import timezone

from headwater.control.kit.tenancy import TenantEntity
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import ModelVersion

METRICS: Final = {
    "psi": "Population stability index",
    "ks": "Kolmogorov-Smirnov distance",
    "js": "Jensen-Shannon distance",
    "null_rate": "Share of nulls",
    "out_of_range_rate": "Share out of range",
    "error_rate": "Share of failed requests",
    "p99_ms": "99th percentile of the latency (ms)",
    "auc": "Area under the ROC curve",
    "accuracy": "Share of right predictions",
    "precision": "Share of positive predictions that came true",
    "recall": "Share of what came true that was predicted",
    "log_loss": "Mean negative log-likelihood",
    "brier": "Mean squared distance of probability and outcome",
    "calibration_error": "Mean distance of what was said and what came true, by tenths",
    "mae": "Mean absolute error",
    "rmse": "Root of the mean squared error",
    "bias": "Mean error, without its sign",
}
NAMES: Final = {
    "psi": "PSI",
    "ks": "KS distance",
    "js": "JS distance",
    "null_rate": "null rate",
    "out_of_range_rate": "out-of-range rate",
    "error_rate": "error rate",
    "p99_ms": "p99 latency (ms)",
    "auc": "AUC",
    "accuracy": "accuracy",
    "precision": "precision",
    "recall": "recall",
    "log_loss": "log loss",
    "brier": "Brier score",
    "calibration_error": "calibration error",
    "mae": "MAE",
    "rmse": "RMSE",
    "bias": "bias",
}
SHARES: Final = frozenset({"null_rate", "out_of_range_rate", "error_rate"})
FLOORS: Final = frozenset({"auc", "accuracy", "precision", "recall"})
"""Metrics that are bad when they are small."""


class ModelAlert(TenantEntity):
    """That a number of a version in an environment is, or was, beyond its threshold. One row for each time.

    ``value`` and ``threshold`` are those it was raised with; ``since`` is the first evaluation beyond the threshold.
    ``latest``, ``worst`` and ``judged_at`` follow the evaluations while it stands, and are not audited. ``evidence``
    says which rows of the prediction log to look at.
    """

    prefix: ClassVar[str] = "alr"

    environment = models.ForeignKey(Environment, on_delete=models.PROTECT, related_name="+")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="alerts")
    metric = models.CharField(max_length=30)
    side = models.CharField(max_length=6, blank=True)
    field = models.CharField(max_length=200, blank=True)
    value = models.FloatField()
    threshold = models.FloatField()
    since = models.DateTimeField()
    raised_at = models.DateTimeField(default=timezone.now)
    window_minutes = models.PositiveIntegerField()
    evidence = models.JSONField(default=dict, blank=True)
    latest = models.FloatField()
    worst = models.FloatField()
    judged_at = models.DateTimeField(default=timezone.now)
    cleared_at = models.DateTimeField(null=True, blank=True)
    cleared_because = models.CharField(max_length=300, blank=True)

    class Meta:
        """Of one number, one alert stands at a time."""

        ordering = ("-raised_at",)
        constraints = (
            models.UniqueConstraint(
                fields=["environment", "version", "metric", "side", "field"],
                condition=models.Q(cleared_at=None),
                name="one_standing_alert",
            ),
        )
        indexes = (models.Index(fields=["org", "cleared_at"], name="alerts_standing"),)

    def __str__(self) -> str:
        return f"{self.version}: {self.subject}"

    @property
    def key(self) -> str:
        """Return what tells the numbers of a version apart: ``psi:input:hour``, ``error_rate``."""
        return f"{self.metric}:{self.side}:{self.field}" if self.side else self.metric

    @property
    def subject(self) -> str:
        """Return what the alert is about, in words: ``PSI of input hour``."""
        name = NAMES.get(self.metric, self.metric)
        return f"{name} of {self.side} {self.field}" if self.side else name

    @property
    def explanation(self) -> str:
        """Return what the metric is."""
        return METRICS.get(self.metric, self.metric)

    @property
    def stands(self) -> bool:
        """Return whether it has not been cleared."""
        return self.cleared_at is None

    @property
    def project_id(self) -> uuid.UUID:
        """Return the project that the model belongs to."""
        return self.version.project_id

    @property
    def grant_resource(self) -> str:
        """Return what a grant on the model alone names."""
        return self.version.grant_resource

    @property
    def direction(self) -> str:
        """Return on which side of the threshold it is: ``below`` or ``beyond``."""
        return "below" if self.metric in FLOORS else "beyond"

    def show(self, number: float) -> str:
        """Return a value of the metric for people."""
        return f"{number * 100:.3g} %" if self.metric in SHARES else f"{number:.4g}"

    @property
    def value_text(self) -> str:
        """Return the newest value for people."""
        return self.show(self.latest if self.stands else self.value)

    @property
    def worst_text(self) -> str:
        """Return the worst value for people."""
        return self.show(self.worst)

    @property
    def threshold_text(self) -> str:
        """Return the threshold for people."""
        return self.show(self.threshold)


class VersionWatch(models.Model):
    """How far the evaluation of a version in an environment has come: what machines write about themselves.

    ``streaks`` holds, by what tells a number apart, how many evaluations in a row said otherwise than its alert does,
    and since when. ``asked_at`` is the last attempt, ``problem`` why that one failed, ``judged_at`` the last that did
    not. Quality is judged less often, because what it is read from is large: ``quality_judged_at``.
    """

    environment = models.ForeignKey(Environment, on_delete=models.CASCADE, related_name="+")
    version = models.ForeignKey(ModelVersion, on_delete=models.CASCADE, related_name="+")
    streaks = models.JSONField(default=dict)
    asked_at = models.DateTimeField()
    judged_at = models.DateTimeField(null=True)
    quality_judged_at = models.DateTimeField(null=True)
    problem = models.CharField(max_length=300, blank=True)

    class Meta:
        """A version is watched once in each environment."""

        constraints = (models.UniqueConstraint(fields=["environment", "version"], name="one_watch_per_version"),)

    def __str__(self) -> str:
        return f"{self.version} in {self.environment}"

    def known_streaks(self) -> dict[str, dict[str, Any]]:
        """Return the streaks, without what makes no sense."""
        stored = self.streaks if isinstance(self.streaks, dict) else {}
        return {str(key): streak for key, streak in stored.items() if isinstance(streak, dict)}
