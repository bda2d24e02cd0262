"""The report of a model version: its traffic, the drift of its fields, its quality, and what it said as a shadow."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.core.snapshot import ModelSpec, ModelVersionSpec
from headwater.engines.features.skew import load_report, report_path
from headwater.engines.lake.protocol import TableStore
from headwater.engines.monitoring.drift import measure, psi, shares_of
from headwater.engines.monitoring.evidence import Evidence
from headwater.engines.monitoring.merging import merged_profile, merged_traffic
from headwater.engines.monitoring.profile import FieldProfile, Profile
from headwater.engines.monitoring.store import HOUR, MINUTES_KEPT, MonitoringStore, Span
from headwater.services.inference.comparison import compare_shadow
from headwater.services.inference.quality import describe_performance
from headwater.services.kit.service import Environment

DEFAULT_MINUTES: Final = 24 * 60
MAX_MINUTES: Final = 90 * 24 * 60
FILE_NAME: Final = "profiles.sqlite3"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which report: of a version, over the last ``minutes``, its quality told apart by an input as well.

    Without ``evidence`` the lake is left alone, and quality and shadow are None: for those who ask all the time.
    """

    environment: Environment
    model: str
    version: int
    minutes: int = DEFAULT_MINUTES
    slice_by: str | None = None
    evidence: bool = True


class Reporter:
    """Makes reports from the profiles in the home and the tables in the lake. Blocks; for a thread."""

    def __init__(self, settings: Settings, lake: TableStore) -> None:
        """Open nothing yet."""
        self._home = Home(settings.home)
        self._path = self._home.monitoring / FILE_NAME
        self.evidence = Evidence(settings, lake)

    def report(self, wanted: Wanted) -> dict[str, Any]:
        """Return the report as JSON has it.

        Raises:
            HeadwaterError: ``model_not_found``; ``invalid_parameter`` when ``slice_by`` is none of the inputs.
        """
        model, version = _find(wanted)
        until = int(time.time()) // 60 + 1
        since = until - wanted.minutes
        spans, reference = self._stored(wanted.environment.id, version.id, since, until)
        traffic = merged_traffic(spans)
        document: dict[str, Any] = {
            "model": model.name,
            "version": version.number,
            "window": {"from": _instant(since), "to": _instant(until), "minutes": wanted.minutes},
            "traffic": _traffic(spans, wanted.minutes),
            "by_code": traffic.by_code,
            "by_route": traffic.by_route,
            **_fields(spans, reference),
            "problems": [],
        }
        for member, read in (("performance", self._performance), ("shadow", self._shadow)):
            document[member] = None
            if not wanted.evidence:
                continue
            try:
                document[member] = read(wanted, model, version, since * 60_000_000)
            except HeadwaterError as error:  # what the profiles say is worth having without the lake
                document["problems"].append(f"{member}: {error.detail}")
        document["skew"] = self._skew(wanted, version) if wanted.evidence else None
        return document

    def quality(self, wanted: Wanted, settle_minutes: int) -> dict[str, Any]:
        """Return the quality alone, of predictions older than ``settle_minutes``: ``window`` and ``performance``.

        Raises:
            HeadwaterError: ``model_not_found``, or what kept the lake from being read.
        """
        model, version = _find(wanted)
        now = int(time.time()) // 60 + 1
        since, until = now - wanted.minutes, now - settle_minutes
        table = self.evidence.outcomes(
            wanted.environment.id, model, version, since_us=since * 60_000_000, until_us=until * 60_000_000
        )
        return {
            "window": {"from": _instant(since), "to": _instant(until), "minutes": max(until - since, 1)},
            "performance": describe_performance(version, table, None),
        }

    def close(self) -> None:
        """Let go of the lake."""
        self.evidence.close()

    def _performance(
        self, wanted: Wanted, model: ModelSpec, version: ModelVersionSpec, since_us: int
    ) -> dict[str, Any] | None:
        environment = wanted.environment
        table = self.evidence.outcomes(environment.id, model, version, since_us=since_us, slice_by=wanted.slice_by)
        models = list(environment.snapshot.models.values())
        unmatched = self.evidence.unmatched(environment.id, models, since_us=since_us)
        found = describe_performance(version, table, wanted.slice_by)
        if found is None and unmatched:
            found = {"outcomes": 0, "label_delay_seconds": None, "metrics": {}, "calibration": []}
        return None if found is None else found | {"unmatched": unmatched}

    def _shadow(
        self, wanted: Wanted, model: ModelSpec, version: ModelVersionSpec, since_us: int
    ) -> dict[str, Any] | None:
        pairs = self.evidence.shadow_pairs(wanted.environment.id, model, version, since_us=since_us)
        return compare_shadow(version, pairs)

    def _skew(self, wanted: Wanted, version: ModelVersionSpec) -> dict[str, Any] | None:
        """Return what the newest check of train/serve skew found."""
        found = load_report(report_path(self._home, wanted.environment.id, version.id))
        return None if found is None else found.model_dump(mode="json")

    def _stored(
        self, environment_id: str, version_id: str, since: int, until: int
    ) -> tuple[list[Span], tuple[str, bytes] | None]:
        """Return the spans and the reference of a version; nothing where no sidecar ever wrote."""
        if not self._path.exists():
            return [], None
        store = MonitoringStore(self._path, read_only=True)
        try:
            spans = store.spans(environment_id, version_id, since=since, until=until)
            return spans, store.reference(environment_id, version_id)
        finally:
            store.close()


def _find(wanted: Wanted) -> tuple[ModelSpec, ModelVersionSpec]:
    environment = wanted.environment
    model = environment.snapshot.models.get(wanted.model)
    version = None if model is None else model.versions.get(wanted.version)
    if model is None or version is None:
        raise environment.missing(
            "model_not_found", f"there is no version {wanted.version} of a model {wanted.model[:80]!r} here"
        )
    names = [field["name"] for field in version.inputs["fields"]]
    if wanted.slice_by is not None and wanted.slice_by not in names:
        raise HeadwaterError(
            "invalid_parameter",
            f"slice_by: the model has no input {wanted.slice_by[:80]!r}",
            hint=f"one of: {', '.join(names)[:200]}",
        )
    return model, version


def _traffic(spans: Sequence[Span], minutes: int) -> list[dict[str, Any]]:
    """Return the traffic minute by minute, hour by hour where that is much or minutes are no longer kept."""
    step = 1 if minutes <= MINUTES_KEPT else HOUR
    groups: dict[tuple[int, int], list[Span]] = {}
    for span in spans:
        length = max(span.minutes, step)
        groups.setdefault((span.minute // length * length, length), []).append(span)
    return [
        {
            "minute": _instant(minute),
            "minutes": length,
            "requests": traffic.requests,
            "rows": traffic.rows,
            "errors": traffic.errors,
            "p50_ms": traffic.quantile_ms(0.5),
            "p99_ms": traffic.quantile_ms(0.99),
        }
        for (minute, length), traffic in sorted((key, merged_traffic(group)) for key, group in groups.items())
    ]


def _fields(spans: Sequence[Span], stored: tuple[str, bytes] | None) -> dict[str, Any]:
    """Return the fields with their drift from the reference; none while there is no reference."""
    if stored is None:
        return {"fields": [], "reference_source": "none"}
    source, data = stored
    reference = Profile.from_bytes(data)
    hours: dict[int, list[Span]] = {}
    for span in spans:
        hours.setdefault(span.minute // HOUR * HOUR, []).append(span)
    by_hour = {hour: merged_profile(group, reference.layout) for hour, group in sorted(hours.items())}
    current = Profile(reference.layout)
    for profile in by_hour.values():
        current.merge(profile)
    series = {hour: profile.fields() for hour, profile in by_hour.items() if profile.rows}
    fields = [
        _field(expected, found, {hour: listed[at] for hour, listed in series.items()})
        for at, (expected, found) in enumerate(zip(reference.fields(), current.fields(), strict=True))
    ]
    return {"fields": fields, "reference_source": source}


def _field(reference: FieldProfile, current: FieldProfile, by_hour: dict[int, FieldProfile]) -> dict[str, Any]:
    layout = reference.layout
    drift = measure(reference, current)
    bins = {"bins": layout.edges} if layout.is_number else {"categories": layout.categories}
    return {
        "name": layout.subject.name,
        "side": layout.subject.side,
        "kind": layout.subject.kind,
        "rows": current.rows,
        "nulls": current.nulls,
        "out_of_range": current.out_of_range,
        "distinct": current.distinct,
        "reference": {**bins, "share": shares_of(reference.counts), "rows": reference.rows} | _moments(reference),
        "current": {"share": shares_of(current.counts)} | _moments(current),
        "psi": drift.psi,
        "ks": drift.ks,
        "js": drift.js,
        "chi2_p": drift.chi2_p,
        "series": [
            {"hour": _instant(hour), "psi": psi(reference.counts, profile.counts), "rows": profile.rows}
            for hour, profile in by_hour.items()
        ],
    }


def _moments(field: FieldProfile) -> dict[str, Any]:
    return {"mean": field.mean, "std": field.std, "min": field.least, "max": field.most}


def _instant(minute: int) -> str:
    return datetime.fromtimestamp(minute * 60, UTC).isoformat().replace("+00:00", "Z")
