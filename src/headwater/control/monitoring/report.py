"""The report of a version as services answer it. Members unknown here are ignored, so newer services can say more."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headwater.control.catalog.data_plane import DataPlane
from headwater.core.errors import HeadwaterError
from headwater.core.monitoring_specs import QualitySpec

Side = Literal["input", "output"]
T = TypeVar("T", bound="Part")


class ReportUnreadable(HeadwaterError):
    """The services' report of one version makes no sense; those of others may."""

    def __init__(self, detail: str) -> None:
        """Say what is wrong with it."""
        super().__init__("services_unavailable", f"the services' report is not understood: {detail}")


class Part(BaseModel):
    """A piece of a report; numbers are finite or absent."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, allow_inf_nan=False)


class Window(Part):
    """The time that a report is about."""

    since: datetime = Field(alias="from")
    until: datetime = Field(alias="to")
    minutes: int = Field(ge=1)


class Traffic(Part):
    """What was asked from ``minute`` on, for ``minutes``."""

    minute: datetime
    minutes: int = 1
    requests: int = 0
    rows: int = 0
    errors: int = 0
    p50_ms: float | None = None
    p99_ms: float | None = None


class Distribution(Part):
    """Shares by bin. ``bins`` are the edges between the bins of a number, of which there is one more."""

    share: tuple[float, ...] = ()
    bins: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    rows: int = 0
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None


class Hour(Part):
    """How far a field was from its reference in one hour."""

    hour: datetime
    psi: float | None = None
    rows: int = 0


class FieldReport(Part):
    """One input or output: what it looked like, against its reference."""

    name: str
    side: Side
    kind: Literal["number", "category"]
    rows: int = 0
    nulls: int = 0
    out_of_range: int = 0
    distinct: int | None = None
    reference: Distribution = Distribution()
    current: Distribution = Distribution()
    psi: float | None = None
    ks: float | None = None
    js: float | None = None
    chi2_p: float | None = None
    series: tuple[Hour, ...] = ()

    @property
    def null_rate(self) -> float | None:
        """Return the share of nulls."""
        return self.nulls / self.rows if self.rows else None

    @property
    def out_of_range_rate(self) -> float | None:
        """Return the share of values out of range."""
        return self.out_of_range / self.rows if self.rows else None


class Calibration(Part):
    """Predictions between two probabilities."""

    least: float = Field(alias="from")
    most: float = Field(alias="to")
    rows: int
    predicted: float
    observed: float


class Quality(Part):
    """How good the predictions of one output were."""

    output: str = ""
    kind: str = ""
    outcomes: int = 0
    metrics: dict[str, float | None] = {}
    calibration: tuple[Calibration, ...] = ()


class Performance(Quality):
    """The quality of the output that most is known of, and of the others beside it."""

    label_delay_seconds: float | None = None
    label_delay_p90_seconds: float | None = None
    unmatched: int = 0
    others: tuple[Quality, ...] = ()


class Disagreement(Part):
    """A prediction that a shadow would have made otherwise."""

    prediction_id: str
    served: Any = None
    shadow: Any = None


class Shadow(Part):
    """What the version said as a shadow, beside what was served."""

    of_version: int
    pairs: int
    output: str = ""
    agreement: float | None = None
    mean_abs_diff: float | None = None
    max_abs_diff: float | None = None
    disagreements: tuple[Disagreement, ...] = ()


class SkewExample(Part):
    """A prediction that was made of another value than history has."""

    prediction_id: str
    served: Any = None
    history: Any = None
    as_of: datetime
    event_at: datetime | None = None


class SkewedFeature(Part):
    """A feature as it was served, beside what history says."""

    view: str
    feature: str
    compared: int = 0
    differing: int = 0
    max_abs_diff: float | None = None
    examples: tuple[SkewExample, ...] = ()


class Skew(Part):
    """The newest check of whether features were served as history has them."""

    checked_at: datetime
    since: datetime
    until: datetime
    sampled: int = 0
    without_key: int = 0
    other_revision: int = 0
    features: tuple[SkewedFeature, ...] = ()


class Report(Part):
    """All that services know of a version over a window."""

    model: str
    version: int
    window: Window
    traffic: tuple[Traffic, ...] = ()
    by_code: dict[str, int] = {}
    by_route: dict[str, int] = {}
    fields: tuple[FieldReport, ...] = ()
    reference_source: str = "none"
    performance: Performance | None = None
    shadow: Shadow | None = None
    skew: Skew | None = None
    problems: tuple[str, ...] = ()

    @property
    def requests(self) -> int:
        """Return how many requests there were."""
        return sum(minute.requests for minute in self.traffic)

    @property
    def rows(self) -> int:
        """Return how many rows were asked about."""
        return sum(minute.rows for minute in self.traffic)

    @property
    def errors(self) -> int:
        """Return how many requests failed."""
        return sum(minute.errors for minute in self.traffic)

    def side(self, side: Side) -> list[FieldReport]:
        """Return the inputs or the outputs, those that drifted most first, those without traffic last."""
        found = [field for field in self.fields if field.side == side]
        return sorted(found, key=lambda field: (field.psi is None, -(field.psi or 0.0), field.name))

    def plain(self) -> dict[str, Any]:
        """Return it as services gave it, without what is not known here."""
        return self.model_dump(mode="json", by_alias=True)


class KnownQuality(Part):
    """How good the predictions of a window were, by the outcomes that are known."""

    window: Window
    performance: Performance | None = None


def ask_quality(services: DataPlane, environment_id: str, model: str, version: int, spec: QualitySpec) -> KnownQuality:
    """Return the quality of the predictions that ``spec`` judges; raises as ``ask_report`` does."""
    answer = services.model_quality(
        environment_id, model, version, minutes=60 * spec.window_hours, settle_minutes=spec.settle_minutes
    )
    return _understood(KnownQuality, answer)


def ask_report(
    services: DataPlane, environment_id: str, model: str, version: int, *, minutes: int, evidence: bool = True
) -> Report:
    """Return the report of a version over the last ``minutes``.

    Args:
        services: who is asked.
        environment_id: the public id.
        model: its name.
        version: its number.
        minutes: the window.
        evidence: whether outcomes and shadows are asked for too, for which the lake has to be read.

    Raises:
        ReportUnreadable: it makes no sense.
        HeadwaterError: ``services_unavailable``, or what services say, such as ``model_not_found``.
    """
    answer = services.model_report(environment_id, model, version, minutes=minutes, evidence=evidence)
    return _understood(Report, answer)


def _understood(shape: type[T], answer: Any) -> T:
    try:
        return shape.model_validate(answer)
    except ValidationError as error:
        first = error.errors()[0]
        raise ReportUnreadable(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
