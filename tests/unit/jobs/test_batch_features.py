"""Batch jobs whose inputs come from feature views: by key, as of now or of each row's own instant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.builders.batches import ENVIRONMENT, Batches, batches, once_each, put_rows
from tests.builders.features import instant, table_of, view_of

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.core.jobs import FeatureSource
from headwater.core.overrides import OverrideSpec
from headwater.core.setting_sections import JournalSettings
from headwater.core.settings import Settings
from headwater.core.snapshot import DatasetSpec, FeatureInputSpec, FeatureRefSpec, FeatureSpec, FeatureViewSpec
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.engines.queue.protocol import Progress, State
from headwater.jobs import batch_score

SECOND = 1_000_000
T = 1_760_000_000 * SECOND
HOUR = 3_600 * SECOND
FIELDS = (
    Field("entity", LogicalType.STRING),
    Field("x", LogicalType.NUMBER, required=False, nullable=True),
    Field("at", LogicalType.TIMESTAMP),
)
DATASET = DatasetSpec(
    id="dst_1", name="rows", active_version="1.0",
    contracts={"1.0": contract_to_spec(Contract("rows", "1.0.0", FIELDS))},
)  # fmt: skip
NEEDS = (FeatureRefSpec(field="b", view="recent", feature="newest"),)
#: The value of each city by hour: city n has 100 * n + hour.
KNOWN = [{"entity": f"c{n}", "x": 100.0 * n + hour, "at": T + hour * HOUR} for n in range(3) for hour in range(24)]
TRIPS: list[dict[str, Any]] = [
    {"city": f"c{n % 3}", "a": float(n), "at": instant(T + (n % 20) * HOUR + HOUR // 2)} for n in range(250)
]


def recent(default: float | None = None, **members: Any) -> FeatureViewSpec:
    feature = FeatureSpec(name="newest", kind="column", type="number", column="x", default=default)
    return view_of("recent", feature, **members)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, journal=JournalSettings(min_free_bytes=0))


@pytest.fixture
def home(settings: Settings) -> Iterator[Batches]:
    with batches(settings, TRIPS) as found:
        open_lake(settings).append(f"{ENVIRONMENT}/rows", table_of(KNOWN), AppTransaction("rows", 1))
        yield found


def fetched(home: Batches, view: FeatureViewSpec, **changes: Any) -> dict[str, Any]:
    """Return how a job is told to fetch ``b``; ``changes`` are the job's."""
    state = open_lake(home.settings).state(f"{ENVIRONMENT}/rows")
    source = FeatureSource(
        view=view,
        dataset=DATASET,
        files=() if state is None else state.files,
        table_version=None if state is None else state.version,
        row_count=0 if state is None else state.rows,
        columns={"entity": "city"} | ({"planned": "at"} if view.inputs else {}),
    )
    plain = {"columns": {"a": "a"}, "features": NEEDS, "views": {"recent": source}, "as_of_us": T + 100 * HOUR}
    return plain | changes


def test_each_row_has_the_features_of_its_own_instant(home: Batches) -> None:
    job = home.score(**fetched(home, recent(), as_of="at"))
    assert job.state is State.SUCCEEDED, job.error
    rows = home.written()
    assert once_each(rows, range(1, len(TRIPS) + 1))
    for row in rows:
        n = row["source_seq"] - 1
        value = 100.0 * (n % 3) + n % 20
        assert row["input_b"] == value
        assert row["output_score"] == pytest.approx(n + 10 * value)


def test_without_an_instant_of_their_own_features_are_as_of_when_the_job_was_asked_for(home: Batches) -> None:
    home.score(**fetched(home, recent()))
    assert {row["input_b"] for row in home.written()} == {23.0, 123.0, 223.0}


def test_declared_delays_and_expressions_count_as_they_do_online(home: Batches) -> None:
    view = recent(delay_seconds=3 * 3_600, inputs=(FeatureInputSpec(name="planned", type="timestamp"),))
    hour = FeatureSpec(name="newest_and_hour", kind="expression", type="number", expression="newest + hour(planned)")
    view = view.model_copy(update={"features": (*view.features, hour)})
    needs = (FeatureRefSpec(field="b", view="recent", feature="newest_and_hour"),)
    job = home.score(**fetched(home, view, as_of="at", features=needs, on_error="null"))
    assert job.state is State.SUCCEEDED, job.error
    for row in home.written():
        n = row["source_seq"] - 1
        if n % 20 < 3:
            assert row["output_score"] is None
        else:
            assert row["input_b"] == 100.0 * (n % 3) + n % 20 - 3 + TRIPS[n]["at"].hour


def test_an_entity_without_a_value_is_a_bad_row_unless_there_is_a_default(home: Batches) -> None:
    put_rows(home.settings, [{"city": "nowhere", "a": 1.0, "at": instant(T + HOUR)}], first_seq=251)
    stopped = home.score(**fetched(home, recent()))
    assert stopped.state is State.FAILED
    assert stopped.error is not None
    assert "input 'b': recent.newest has no value for the entity" in stopped.error["detail"]
    lenient = home.score(**fetched(home, recent(), on_error="null"))
    assert dict(lenient.progress.counts) == {"scored": 250, "failed": 1, "skipped": 0}
    (bad,) = [row for row in home.written() if row["job"] == lenient.new.id and row["error"]]
    assert [error["code"] for error in json.loads(bad["error"])] == ["entity_missing"]
    filled = home.score(**fetched(home, recent(default=7.0)))
    assert dict(filled.progress.counts) == {"scored": 251, "failed": 0, "skipped": 0}


def test_an_override_of_an_entity_is_held_against_the_keys_of_a_row(home: Batches) -> None:
    now = datetime.now(UTC)
    shut = OverrideSpec(
        id="ovr_1",
        model="delay",
        output="score",
        by="entity",
        key={"entity": "c1"},
        value=-1.0,
        reason="closed",
        requested_by="a",
        approved_by="b",
        valid_from=now - timedelta(days=1),
        valid_until=now + timedelta(days=1),
    )
    job = home.score(**fetched(home, recent(), overrides=(shut,)))
    assert job.state is State.SUCCEEDED, job.error
    for row in home.written():
        is_shut = (row["source_seq"] - 1) % 3 == 1
        assert (row["output_score"] == -1.0, row["route"]) == (is_shut, "override" if is_shut else "batch")


class Dying:
    """A hold of a worker that dies once it has noted something."""

    def beat(self) -> None:
        return

    def note(self, progress: Progress) -> None:
        raise KeyboardInterrupt(progress)


def test_a_job_that_is_resumed_computes_the_same_features(home: Batches) -> None:
    job_id = home.add(**fetched(home, recent()))
    with pytest.raises(KeyboardInterrupt):
        batch_score.run(home.find(job_id), Dying(), home.journal, home.settings)
    assert len(home.written()) == 100
    late = [{"entity": f"c{n}", "x": -1.0, "at": T + 50 * HOUR} for n in range(3)]
    open_lake(home.settings).append(f"{ENVIRONMENT}/rows", table_of(late, first_seq=999), AppTransaction("rows", 2))
    home.work()
    done = home.find(job_id)
    assert done.state is State.SUCCEEDED, done.error
    rows = home.written()
    assert once_each(rows, range(1, len(TRIPS) + 1))
    assert {row["input_b"] for row in rows} == {23.0, 123.0, 223.0}, "what came later is for the next job"
    assert list((home.settings.home / "jobs").glob("spill-*")) == []


def test_a_version_of_the_view_s_table_that_is_gone_is_said(home: Batches) -> None:
    asked = fetched(home, recent())
    for path in asked["views"]["recent"].files:
        Path(path).unlink()
    job = home.score(**asked)
    assert job.error is not None
    assert (job.state, job.error["code"]) == (State.FAILED, "conflict")
    assert "of rows is not there any more" in job.error["detail"]
