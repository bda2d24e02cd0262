"""The log beside outcomes, over real tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.builders.models import make_model, make_version

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.core.snapshot import OutputSpec
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.engines.models.log_schema import OUTCOME_SCHEMA
from headwater.engines.monitoring import evidence as evidence_module
from headwater.engines.monitoring.evidence import Evidence
from headwater.services.inference.comparison import compare_shadow
from headwater.services.inference.quality import describe_performance

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
FIELDS = (Field("a", LogicalType.NUMBER), Field("carrier", LogicalType.STRING))
OUTPUTS = (
    OutputSpec(name="score", type="number"),
    OutputSpec(name="label", type="string"),
    OutputSpec(name="odd {x}", type="number"),
)


class Lake:
    """A lake with predictions and outcomes put straight into it."""

    def __init__(self, home: Path) -> None:
        settings = Settings(home=home)
        self.versions = [make_version(settings, n, fields=FIELDS, outputs=OUTPUTS) for n in (1, 2)]
        self.model = make_model(*self.versions, routes={1: 10_000})
        self._lake = open_lake(settings)
        self.evidence = Evidence(settings, self._lake)
        self._commits = 0
        self._seq = 0

    def log(self, *rows: dict[str, Any]) -> None:
        blank = {"version": 1, "route": "champion", "predicted_at": NOW, "shadow_of": None, "input_carrier": "UA"}
        blank |= {"input_a": 1.0, "output_score": 0.5, "output_label": "no", "output_odd {x}": 2.0}
        schema = pa.schema(
            [
                ("prediction_id", pa.string()),
                ("version", pa.int64()),
                ("route", pa.string()),
                ("predicted_at", pa.timestamp("us", "UTC")),
                ("shadow_of", pa.string()),
                ("input_a", pa.float64()),
                ("input_carrier", pa.string()),
                ("output_score", pa.float64()),
                ("output_label", pa.string()),
                ("output_odd {x}", pa.float64()),
            ]
        )
        self._append("predictions_delay", pa.Table.from_pylist([blank | row for row in rows], schema=schema))

    def report(self, *rows: tuple[str, str | None, float | None, str | None], after: timedelta = timedelta()) -> None:
        names = ("prediction_id", "output", "outcome_number", "outcome_text")
        found = [dict(zip(names, row, strict=True)) | {"reported_at": NOW + after} for row in rows]
        self._append("prediction_outcomes", pa.Table.from_pylist(found, schema=OUTCOME_SCHEMA))

    def quality(self, version: int = 1, slice_by: str | None = None) -> dict[str, Any] | None:
        spec = self.versions[version - 1]
        table = self.evidence.outcomes("env_1", self.model, spec, since_us=0, slice_by=slice_by)
        return describe_performance(spec, table, slice_by)

    def shadow(self) -> dict[str, Any] | None:
        pairs = self.evidence.shadow_pairs("env_1", self.model, self.versions[1], since_us=0)
        return compare_shadow(self.versions[1], pairs)

    def _append(self, dataset: str, table: pa.Table) -> None:
        self._commits += 1
        self._seq += table.num_rows
        seqs = pa.array(range(self._seq - table.num_rows, self._seq), pa.int64())
        self._lake.append(
            f"env_1/{dataset}", table.append_column("_hw_seq", seqs), AppTransaction(f"test:{dataset}", self._commits)
        )


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def test_without_tables_there_is_nothing_to_tell(lake: Lake) -> None:
    assert lake.quality() is None
    assert lake.shadow() is None
    assert lake.evidence.unmatched("env_1", [lake.model], since_us=0) == 0


def test_the_newest_outcome_counts_and_the_delay_is_that_of_its_report(lake: Lake) -> None:
    lake.log(*({"prediction_id": f"p{n}", "output_score": n / 10} for n in range(10)))
    lake.report(*((f"p{n}", None, 0.0, None) for n in range(10)))
    lake.report(*((f"p{n}", None, 1.0, None) for n in range(5, 10)), after=timedelta(hours=1))
    quality = lake.quality()
    assert quality is not None
    assert (quality["output"], quality["kind"], quality["outcomes"]) == ("score", "probability", 10)
    assert quality["metrics"]["auc"] == 1.0
    assert quality["label_delay_seconds"] == 1_800
    assert quality["label_delay_p90_seconds"] == 3_600


def test_an_outcome_speaks_of_the_output_it_names_or_of_the_first_of_its_kind(lake: Lake) -> None:
    lake.log(*({"prediction_id": f"p{n}", "output_label": "yes", "output_odd {x}": 5.0} for n in range(4)))
    lake.report(("p0", None, 1.0, "true"), ("p1", None, None, "yes"), ("p1", "label", None, "no"))
    lake.report(("p2", "odd {x}", 7.0, None), ("p3", "odd {x}", 2.0, None), ("p3", "elsewhere", 2.0, None))
    quality = lake.quality()
    assert quality is not None
    found = {one["output"]: one for one in (quality, *quality["others"])}
    assert {name: one["outcomes"] for name, one in found.items()} == {"odd {x}": 2, "label": 2, "score": 1}
    assert found["odd {x}"]["metrics"] == {"mae": 2.5, "rmse": pytest.approx(2.5495, abs=1e-3), "bias": 0.5}
    assert found["label"]["metrics"] == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("slice_by", "values"),
    [("carrier", ["AA", "UA"]), ("a", ["below 24.75", "24.75 to 49.5", "49.5 to 74.25", "74.25 and more"])],
)
def test_quality_is_told_apart_by_an_input(lake: Lake, slice_by: str, values: Sequence[str]) -> None:
    lake.log(
        *(
            {"prediction_id": f"p{n}", "output_score": 0.9, "input_a": float(n), "input_carrier": ("AA", "UA")[n % 2]}
            for n in range(100)
        )
    )
    lake.report(*((f"p{n}", None, float(n % 2), None) for n in range(100)))
    quality = lake.quality(slice_by=slice_by)
    assert quality is not None
    slices = quality["slices"]["slices"]
    assert [one["value"] for one in slices] == values
    assert sum(one["outcomes"] for one in slices) == 100
    if slice_by == "carrier":
        assert [one["metrics"]["accuracy"] for one in slices] == [0.0, 1.0]


def test_a_shadow_is_compared_with_what_was_served_and_judged_by_the_same_outcome(lake: Lake) -> None:
    lake.log(*({"prediction_id": f"p{n}", "output_score": n / 10} for n in range(10)))
    lake.log(
        *(
            {"prediction_id": f"s{n}", "version": 2, "route": "shadow", "shadow_of": f"p{n}", "output_score": 0.7}
            for n in range(10)
        )
    )
    lake.report(*((f"p{n}", None, 1.0, None) for n in range(10)))
    shadow = lake.shadow()
    assert shadow is not None
    assert (shadow["of_version"], shadow["pairs"], shadow["agreement"]) == (1, 10, 0.5)
    assert shadow["max_abs_diff"] == pytest.approx(0.7)
    assert shadow["mean_abs_diff"] == pytest.approx(0.31)
    assert [one["prediction_id"] for one in shadow["disagreements"]] == ["p0", "p1", "p2", "p3", "p4"]
    assert shadow["disagreements"][0] == {"prediction_id": "p0", "served": 0.0, "shadow": 0.7}
    judged = lake.quality(version=2)
    assert judged is not None
    assert (judged["outcomes"], judged["metrics"]["accuracy"]) == (10, 1.0)


def test_numbers_agree_when_they_are_close(lake: Lake) -> None:
    lake.log({"prediction_id": "p0", "output_score": 100.0}, {"prediction_id": "p1", "output_score": 100.0})
    for n, score in enumerate((100.5, 120.0)):
        lake.log(
            {"prediction_id": f"s{n}", "version": 2, "route": "shadow", "shadow_of": f"p{n}", "output_score": score}
        )
    shadow = lake.shadow()
    assert shadow is not None
    assert shadow["agreement"] == 0.5
    assert [one["prediction_id"] for one in shadow["disagreements"]] == ["p1"]


def test_outcomes_of_predictions_that_no_log_has_are_counted(lake: Lake) -> None:
    lake.log({"prediction_id": "p0"})
    lake.report(("p0", None, 1.0, None), ("gone", None, 1.0, None), ("gone", None, 0.0, None), ("gone", "x", 0.0, None))
    assert lake.evidence.unmatched("env_1", [lake.model], since_us=0) == 2
    later = int(NOW.timestamp() * 1e6) + 1
    assert lake.evidence.unmatched("env_1", [lake.model], since_us=later) == 0


def test_a_log_from_before_shadows_were_told_can_be_read(lake: Lake) -> None:
    old = pa.table(
        {
            "prediction_id": ["p0"],
            "version": pa.array([1], pa.int64()),
            "route": ["champion"],
            "predicted_at": pa.array([NOW], pa.timestamp("us", "UTC")),
            "output_score": [0.5],
        }
    )
    lake._append("predictions_delay", old)
    lake.report(("p0", None, 1.0, None))
    quality = lake.quality()
    assert quality is not None
    assert quality["outcomes"] == 1


def test_a_report_that_takes_too_long_is_ended(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.engines.monitoring.reading.TIMEOUT_SECONDS", 0.0)
    monkeypatch.setattr(evidence_module, "_TRUTH", "SELECT *, sum(range) FROM range(10000000000) GROUP BY ALL")
    with pytest.raises(HeadwaterError) as caught:
        lake.quality()
    assert caught.value.code in {"query_timeout", "sql_failed"}
