"""What the lake knows of predictions: the log beside what became of it, and beside what shadows said.

Read by a small instance of its own, so that a report never takes a place that queries wait for. Blocks; for a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from headwater.core.settings import Settings
from headwater.core.snapshot import ModelSpec, ModelVersionSpec
from headwater.core.streams import OUTCOMES, prediction_log
from headwater.engines.lake.protocol import TableStore
from headwater.engines.models.log_schema import INPUT_PREFIX, OUTCOME_SCHEMA, OUTPUT_PREFIX
from headwater.engines.monitoring.selection import Selection, known_schema, selection_sql
from headwater.engines.query.quoting import quote

if TYPE_CHECKING:
    from headwater.engines.monitoring.reading import LakeReader

MAX_PAIRS: Final = 500_000
_FOREVER_US: Final = 4_102_444_800_000_000  # the year 2100
_Table = tuple[str, pa.Schema]
_OUTCOMES: Final[_Table] = (OUTCOMES, OUTCOME_SCHEMA)
# The newest report of a thing is what became of it.
_TRUTH: Final = """
    SELECT * FROM {outcomes}
    QUALIFY row_number() OVER (PARTITION BY prediction_id, output ORDER BY _hw_seq DESC) = 1
"""


class Evidence:
    """Reads the tables of every environment. Safe to use from several threads, one after the other."""

    def __init__(self, settings: Settings, lake: TableStore) -> None:
        """Open nothing yet."""
        self._settings = settings
        self._lake = lake
        self._reader: LakeReader | None = None
        self._lock = threading.Lock()

    def outcomes(
        self,
        environment_id: str,
        model: ModelSpec,
        version: ModelVersionSpec,
        *,
        since_us: int,
        until_us: int | None = None,
        slice_by: str | None = None,
    ) -> pa.Table:
        """Return the newest predictions of a version that something is known of, a row for each outcome.

        Columns: ``output`` (null for the prediction as a whole), ``outcome_number``, ``outcome_text``, ``delay_us``,
        ``slice`` and ``output_<name>`` for each of the version's. What a shadow predicted is held against what became
        of the prediction that was served.

        Raises:
            HeadwaterError: ``query_timeout``, or ``sql_failed`` with what DuckDB says.
        """
        outputs = "".join(f", p.{_name(OUTPUT_PREFIX + output.name)}" for output in version.outputs)
        slices = "NULL" if slice_by is None else f"p.{_name(INPUT_PREFIX + slice_by)}"
        sql = f"""
            WITH truth AS ({_TRUTH})
            SELECT t.output, t.outcome_number, t.outcome_text, {slices} AS slice,
                epoch_us(t.reported_at) - epoch_us(p.predicted_at) AS delay_us{outputs}
            FROM {{log}} p JOIN truth t ON t.prediction_id = coalesce(p.shadow_of, p.prediction_id)
            WHERE p.version = $version AND p.predicted_at >= make_timestamptz($since_us)
                AND p.predicted_at < make_timestamptz($until_us)
            ORDER BY p.predicted_at DESC LIMIT {MAX_PAIRS}
        """  # noqa: S608 - names are quoted, values are parameters
        until_us = _FOREVER_US if until_us is None else until_us
        values = {"version": version.number, "since_us": since_us, "until_us": until_us}
        return self._read(environment_id, model, sql, values)

    def shadow_pairs(
        self, environment_id: str, model: ModelSpec, version: ModelVersionSpec, *, since_us: int
    ) -> pa.Table:
        """Return what a version said as a shadow, newest first, beside what was served.

        Columns: ``prediction_id`` and ``of_version`` of the served one, ``served_<name>`` and ``shadow_<name>``.
        """
        names = [output.name for output in version.outputs if not output.shape]
        pairs = "".join(
            f", p.{_name(OUTPUT_PREFIX + name)} AS {_name('served_' + name)}"
            f", s.{_name(OUTPUT_PREFIX + name)} AS {_name('shadow_' + name)}"
            for name in names
        )
        sql = f"""
            SELECT p.prediction_id, p.version AS of_version{pairs}
            FROM {{log}} s JOIN {{log}} p ON p.prediction_id = s.shadow_of
            WHERE s.version = $version AND s.route = 'shadow' AND s.predicted_at >= make_timestamptz($since_us)
            ORDER BY s.predicted_at DESC LIMIT {MAX_PAIRS}
        """  # noqa: S608 - as above
        return self._read(environment_id, model, sql, {"version": version.number, "since_us": since_us})

    def unmatched(self, environment_id: str, models: Sequence[ModelSpec], *, since_us: int) -> int:
        """Return how many things were reported about predictions that no log of the environment has."""
        logs = [self._log(model) for model in models]
        known = " UNION ALL ".join(f"SELECT prediction_id FROM {{log{at}}}" for at in range(len(logs)))  # noqa: S608 - as above
        sql = f"""
            SELECT count(DISTINCT (prediction_id, output)) AS unmatched FROM {{outcomes}}
            WHERE reported_at >= make_timestamptz($since_us) AND prediction_id NOT IN ({known})
        """  # noqa: S608 - as above
        tables = {f"log{at}": log for at, log in enumerate(logs)} | {"outcomes": _OUTCOMES}
        found = self._run(environment_id, sql, tables, {"since_us": since_us})
        count: int = found.column("unmatched")[0].as_py()
        return count

    def selected(
        self, environment_id: str, model: ModelSpec, wanted: Selection, *, after: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Return logged predictions behind a sequence number, oldest first, and the number up to which all are known.

        Raises:
            HeadwaterError: ``invalid_parameter`` for an expression that does not fit the model's log.
        """
        log = self._log(model)
        sql = selection_sql(known_schema(model.versions.values()), wanted)
        # First how far the table goes, then what lies within: a row that comes between the two is for the next time.
        found = self._run(environment_id, "SELECT coalesce(max(_hw_seq), -1) AS newest FROM {log}", {"log": log}, {})
        newest = max(int(found.column("newest")[0].as_py()), after)
        values = {"after": after, "newest": newest, "limit": limit, "since_us": wanted.since_us}
        rows = self._run(environment_id, sql, {"log": log}, values).to_pylist()
        return rows, int(rows[-1]["_hw_seq"]) if len(rows) == limit else newest

    def close(self) -> None:
        """Close every instance."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()

    def _read(self, environment_id: str, model: ModelSpec, sql: str, values: dict[str, Any]) -> pa.Table:
        tables = {"log": self._log(model), "outcomes": _OUTCOMES}
        return self._run(environment_id, sql, tables, values)

    def _run(self, environment_id: str, sql: str, tables: dict[str, _Table], values: dict[str, Any]) -> pa.Table:
        with self._lock:
            if self._reader is None:
                from headwater.engines.monitoring.reading import LakeReader  # noqa: PLC0415 - DuckDB, for who asks

                self._reader = LakeReader(self._settings, self._lake)
            return self._reader.run(environment_id, sql, tables, values)

    def _log(self, model: ModelSpec) -> _Table:
        """Return a model's log with the columns of all its versions that are known here."""
        return prediction_log(model.name), known_schema(model.versions.values())


def _name(column: str) -> str:
    """Return a column's name for a statement whose tables are filled in by ``format``."""
    return quote(column).replace("{", "{{").replace("}", "}}")
