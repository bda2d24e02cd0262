"""Checks train/serve skew: the features of a sample of the log, computed again as of the same instants."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import duckdb
import orjson
import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.jobs import FeatureSkewCheck
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.core.streams import prediction_log, stream_name
from headwater.engines.features.lake import open_duckdb
from headwater.engines.features.recall import labels_of, recall
from headwater.engines.features.skew import (
    FeatureDifferences,
    Served,
    SkewReport,
    compare,
    instant,
    key_of,
    report_path,
    save_report,
)
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import TableStore
from headwater.engines.models.log_schema import OWN_FIELDS
from headwater.engines.query.tables import SYSTEM_COLUMNS, table_source, view_body
from headwater.engines.queue.protocol import Job, Progress

_LOG: Final = pa.schema([*OWN_FIELDS, *SYSTEM_COLUMNS])
_log = get_logger(__name__)


class Hold(Protocol):
    """A worker's hold on its job. Both methods raise when it must stop."""

    def beat(self) -> None:
        """Say that work goes on."""
        ...

    def note(self, progress: Progress) -> None:
        """Note durably how far the job is."""
        ...


@dataclass(frozen=True, slots=True)
class _Logged:
    """A prediction of the sample with what the log says of its features."""

    prediction_id: str
    features: Mapping[str, Any]


def run(job: Job, hold: Hold, journal: Journal, settings: Settings) -> None:
    """Check a version and keep the report, in the place of an earlier one. Once more is harmless.

    Raises:
        HeadwaterError: ``sql_failed`` with what DuckDB says.
        Exception: what ``hold`` raised.
    """
    del journal
    check = FeatureSkewCheck.model_validate_json(job.new.payload)
    lake = open_lake(settings)
    with _duckdb(settings) as connection:
        try:
            sample = _read_sample(connection, lake, check)
            report = _Check(connection, lake, check, hold).run(sample)
        except duckdb.Error as error:
            raise HeadwaterError(
                "sql_failed", f"the features could not be computed again: {str(error)[:300]}", hint="see the log"
            ) from error
    save_report(report_path(Home(settings.home), check.environment_id, check.version_id), report)
    counts = {"compared": sum(one.compared for one in report.features), "differing": report.differing}
    hold.note(Progress(done=report.sampled, counts=counts))
    if report.differing:
        _log.warning("features_skewed", model=check.model, version=check.version, **counts)


class _Check:
    """One check under way."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, lake: TableStore, check: FeatureSkewCheck, hold: Hold
    ) -> None:
        self._connection = connection
        self._lake = lake
        self._check = check
        self._hold = hold
        self._without_key: set[str] = set()
        self._other_revision: set[str] = set()

    def run(self, sample: Sequence[_Logged]) -> SkewReport:
        check = self._check
        features = [found for name in check.views for found in self._compare_view(name, sample)]
        return SkewReport(
            model=check.model,
            version=check.version,
            checked_at=instant(time.time_ns() // 1_000),
            since=instant(check.since_us),
            until=instant(check.until_us),
            sampled=len(sample),
            without_key=len(self._without_key),
            other_revision=len(self._other_revision),
            features=tuple(sorted(features, key=lambda one: (-one.differing, one.view, one.feature))),
        )

    def _compare_view(self, name: str, sample: Sequence[_Logged]) -> Iterator[FeatureDifferences]:
        """Yield what was found of each feature of a view that the model uses."""
        self._hold.beat()
        view = self._check.views[name]
        dataset = self._check.datasets[view.dataset]
        needs = [need for need in self._check.needs if need.view == name]
        known = list(self._comparable(name, view.revision, [f"{name}.{need.feature}" for need in needs], sample))
        frame: pa.Table | None = None
        if known:
            labels = labels_of(view, [key for _, key, _ in known], [as_of_us for _, _, as_of_us in known])
            state = self._lake.state(stream_name(self._check.environment_id, view.dataset))
            frame = recall(self._connection, view, dataset, state, labels)
        for need in needs:
            full_name = f"{name}.{need.feature}"
            values = [] if frame is None else frame.column(need.feature).to_pylist()
            pairs = [
                (_served(logged, full_name, as_of_us), value)
                for (logged, _key, as_of_us), value in zip(known, values, strict=True)
                if full_name in logged.features
            ]
            yield compare(
                name, need.feature, need.field, [one for one, _ in pairs], [value for _, value in pairs],
                shows_values=not dataset.protected,
            )  # fmt: skip

    def _comparable(
        self, view: str, revision: int, names: Sequence[str], sample: Sequence[_Logged]
    ) -> Iterator[tuple[_Logged, Mapping[str, Any], int]]:
        """Yield the predictions that were made of the view as it is now, with the key and as of when."""
        for logged in sample:
            if not any(name in logged.features for name in names):
                continue
            found = key_of(logged.features, view)
            if found is None:
                self._without_key.add(logged.prediction_id)
            elif found[2] != revision:
                self._other_revision.add(logged.prediction_id)
            else:
                yield logged, found[0], found[1]


def _read_sample(connection: duckdb.DuckDBPyConnection, lake: TableStore, check: FeatureSkewCheck) -> Sequence[_Logged]:
    """Return predictions that features were fetched for, drawn by their ids."""
    state = lake.state(stream_name(check.environment_id, prediction_log(check.model)))
    log = view_body(table_source("log", _LOG, state))
    rows = connection.execute(
        f"SELECT prediction_id, features FROM ({log}) WHERE version = $version AND features IS NOT NULL "  # noqa: S608 - files of ours
        "AND predicted_at >= make_timestamptz($since) AND predicted_at < make_timestamptz($until) "
        "ORDER BY hash(prediction_id), prediction_id LIMIT $sample",
        {"version": check.version, "since": check.since_us, "until": check.until_us, "sample": check.sample},
    ).fetchall()
    read = [_Logged(prediction_id, orjson.loads(text)) for prediction_id, text in rows]
    return [logged for logged in read if logged.features]


def _served(logged: _Logged, full_name: str, as_of_us: int) -> Served:
    value, event_us = logged.features[full_name]
    return Served(prediction_id=logged.prediction_id, value=value, event_us=event_us, as_of_us=as_of_us)


@contextmanager
def _duckdb(settings: Settings) -> Iterator[duckdb.DuckDBPyConnection]:
    home = Home(settings.home)
    home.jobs.mkdir(parents=True, exist_ok=True, mode=0o700)
    spill = tempfile.mkdtemp(dir=home.jobs, prefix="spill-")
    connection = open_duckdb(threads=1, memory_bytes=settings.query.memory_limit_bytes, spill=spill)
    try:
        yield connection
    finally:
        connection.close()
        shutil.rmtree(spill, ignore_errors=True)
