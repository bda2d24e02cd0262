"""Train/serve skew: what predictions were made of, beside what the history of their views says of the same instant.

A difference means that a model is served what it was not trained on: rows that came late, a dataset that was corrected,
an online state that lagged behind.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from pydantic import ValidationError

from headwater.core.home import Home
from headwater.core.spec import Spec

EXAMPLES: Final = 5
_RELATIVE: Final = 1e-6  # sums of the same numbers in another order
_ABSOLUTE: Final = 1e-9
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Difference(Spec):
    """A prediction for which both disagree; ``event_at`` is of which instant the served value was."""

    prediction_id: str
    served: Any = None
    history: Any = None
    as_of: datetime
    event_at: datetime | None = None


class FeatureDifferences(Spec):
    """What was found of one feature: how many predictions were compared, how many differ, and by how much."""

    view: str
    feature: str
    field: str
    compared: int = 0
    differing: int = 0
    max_abs_diff: float | None = None
    examples: tuple[Difference, ...] = ()


class SkewReport(Spec):
    """What a check found.

    ``sampled`` predictions were looked at. Of these, views of ``without_key`` are not known by which entity they were
    read, and those of ``other_revision`` have been changed since; neither can be compared.
    """

    model: str
    version: int
    checked_at: datetime
    since: datetime
    until: datetime
    sampled: int = 0
    without_key: int = 0
    other_revision: int = 0
    features: tuple[FeatureDifferences, ...] = ()

    @property
    def differing(self) -> int:
        """Return how many values differ."""
        return sum(feature.differing for feature in self.features)


class Served(Spec):
    """A value as it was served."""

    prediction_id: str
    value: Any = None
    event_us: int | None = None
    as_of_us: int


def compare(
    view: str, feature: str, field: str, served: Sequence[Served], history: Sequence[Any], *, shows_values: bool
) -> FeatureDifferences:
    """Return how the served values of a feature differ from those of its history, worst first.

    Args:
        view: whose feature it is.
        feature: its name.
        field: the input that it fills.
        served: the values of predictions.
        history: what the history says instead, one for each.
        shows_values: whether examples may be named.
    """
    found = [(one, other, _distance(one.value, other)) for one, other in zip(served, history, strict=True)]
    differing = sorted((item for item in found if item[2] is not None), key=lambda item: -(item[2] or 0.0))
    distances = [distance for _, _, distance in differing if distance is not None and math.isfinite(distance)]
    examples = [
        Difference(
            prediction_id=one.prediction_id,
            served=one.value,
            history=other,
            as_of=instant(one.as_of_us),
            event_at=None if one.event_us is None else instant(one.event_us),
        )
        for one, other, _ in differing[:EXAMPLES]
    ]
    return FeatureDifferences(
        view=view,
        feature=feature,
        field=field,
        compared=len(found),
        differing=len(differing),
        max_abs_diff=max(distances, default=None),
        examples=tuple(examples) if shows_values else (),
    )


def report_path(home: Home, environment_id: str, version_id: str) -> Path:
    """Return where the newest report of a version lies."""
    return home.monitoring / "skew" / f"{environment_id}.{version_id}.json"


def save_report(path: Path, report: SkewReport) -> None:
    """Write a report whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        try:
            file.write(report.model_dump_json().encode())
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def load_report(path: Path) -> SkewReport | None:
    """Return a report; None where there is none that can be read."""
    try:
        return SkewReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def instant(micros: int) -> datetime:
    """Return an instant from microseconds, exactly."""
    return _EPOCH + timedelta(microseconds=micros)


def key_of(features: Mapping[str, Any], view: str) -> tuple[Mapping[str, Any], int, int] | None:
    """Return by what a view was read for a logged prediction: key, as of which microsecond, revision of the view."""
    match features.get(view):
        case [dict() as key, int() as as_of_us, int() as revision]:
            return key, as_of_us, revision
        case _:
            return None


def _distance(one: Any, other: Any) -> float | None:
    """Return how far apart two values are, infinitely where that is no number; None when they are the same."""
    if _is_number(one) and _is_number(other):
        is_same = math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE)
        return None if is_same else float(abs(one - other))
    return None if one == other else math.inf


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
