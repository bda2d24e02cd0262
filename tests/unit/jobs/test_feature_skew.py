"""Features that were served, computed again from history: over a real lake, an online store and the queue."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from tests.builders.features import ENVIRONMENT, instant, put_rows, table_of, view_of
from tests.builders.models import make_model, make_version
from tests.builders.snapshots import make_snapshot
from tests.fakes.control import FakeControl

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.core.home import Home
from headwater.core.jobs import FEATURE_SKEW
from headwater.core.sealed_snapshot import SignedSnapshot
from headwater.core.settings import Settings
from headwater.core.snapshot import DatasetSpec, FeatureRefSpec, FeatureSpec, FeatureViewSpec, Snapshot
from headwater.engines.features.fetch import FeatureFetcher
from headwater.engines.features.skew import SkewReport, load_report, report_path
from headwater.engines.features.skew_jobs import find_check, plan_check, queue_check
from headwater.engines.journal import open_journal
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.engines.models.log_schema import OWN_FIELDS
from headwater.engines.online import open_online
from headwater.engines.queue import open_queue
from headwater.engines.queue.protocol import JobStore, State
from headwater.jobs.runner import work_off
from headwater.jobs.skew_schedule import schedule_checks

SECOND = 1_000_000
NOW = int(time.time()) * SECOND
HOUR = 3_600 * SECOND
LAST = NOW - 7 * HOUR + 199 * 60 * SECOND
NEEDS = (
    FeatureRefSpec(field="a", view="recent", feature="newest"),
    FeatureRefSpec(field="b", view="recent", feature="mean_6h"),
)
FIELDS = (
    Field("entity", LogicalType.STRING),
    Field("x", LogicalType.NUMBER),
    Field("at", LogicalType.TIMESTAMP),
)


def recent(**members: Any) -> FeatureViewSpec:
    return view_of(
        "recent",
        FeatureSpec(name="newest", kind="column", type="number", column="x"),
        FeatureSpec(
            name="mean_6h", kind="aggregate", type="number", aggregate="mean", column="x", window_seconds=21_600
        ),
        **members,
    )


class World:
    """A home with a view's rows in the lake and online, a model that reads it, and its log."""

    def __init__(self, settings: Settings, view: FeatureViewSpec) -> None:
        self.settings = settings
        self.view = view
        self.lake = open_lake(settings)
        self.online = open_online(settings)
        self.queue: JobStore = open_queue(settings)
        self.version = make_version(settings).model_copy(update={"features": NEEDS})
        contract = contract_to_spec(Contract("rows", "1.0.0", FIELDS))
        self.dataset = DatasetSpec(id="dst_1", name="rows", active_version="1.0", contracts={"1.0": contract})
        self._commits = 0
        self._rows = 0

    @property
    def snapshot(self) -> Snapshot:
        return make_snapshot(
            environment=ENVIRONMENT, models=[make_model(self.version)], features={"recent": self.view},
            datasets={"rows": self.dataset},
        )  # fmt: skip

    def add_rows(self, *rows: Mapping[str, Any], online: bool = True) -> None:
        """Append rows to the dataset, and to the online state unless they are to be missing there."""
        first = self._rows + 1
        self._rows += len(rows)
        self._append("rows", table_of(rows, first_seq=first))
        if online:
            put_rows(self.online, self.view, rows, now_us=LAST, first_seq=first)

    async def predict(self, *entities: str, as_of_us: int = NOW - 2 * HOUR, revision: int = 1) -> None:
        """Log a prediction for each entity, with what the online state says."""
        keys = [{"entity": entity} for entity in entities]
        fetched = await FeatureFetcher(self.online).fetch(
            ENVIRONMENT, {"recent": self.view}, NEEDS, keys, now_us=as_of_us
        )
        assert not fetched.errors
        self.log(
            [
                json.dumps(provenance | {"recent": [key, as_of_us, revision]})
                for key, provenance in zip(keys, fetched.provenance, strict=True)
            ],
            as_of_us,
        )

    def log(self, features: Sequence[str | None], as_of_us: int) -> None:
        blank: dict[str, Any] = dict.fromkeys(field.name for field in OWN_FIELDS)
        rows = [
            blank | {"prediction_id": f"prd_{self._commits}_{at}", "version": 1, "features": text,
                     "predicted_at": instant(as_of_us)}
            for at, text in enumerate(features)
        ]  # fmt: skip
        self._append("predictions_delay", pa.Table.from_pylist(rows, schema=pa.schema(OWN_FIELDS)))

    def check(self, **options: Any) -> SkewReport:
        check = plan_check(
            self.snapshot, self.snapshot.models["delay"], self.version, now_us=time.time_ns() // 1_000, **options
        )
        job = queue_check(self.queue, check, principal_id="sva_1", now_us=NOW)
        self.work()
        done = self.queue.find(ENVIRONMENT, job.new.id)
        assert done is not None
        assert (done.state, done.error) == (State.SUCCEEDED, None)
        report = load_report(report_path(Home(self.settings.home), ENVIRONMENT, self.version.id))
        assert report is not None
        return report

    def work(self) -> None:
        journal = open_journal(self.settings)
        try:
            work_off(self.queue, journal, self.settings, threading.Event())
        finally:
            journal.close()

    def close(self) -> None:
        self.queue.close()
        self.online.close()

    def _append(self, dataset: str, table: pa.Table) -> None:
        self._commits += 1
        self.lake.append(f"{ENVIRONMENT}/{dataset}", table, AppTransaction("test", self._commits))


@pytest.fixture
def view() -> FeatureViewSpec:
    return recent()


@pytest.fixture
def world(settings: Settings, view: FeatureViewSpec) -> Iterator[World]:
    made = World(settings, view)
    made.add_rows(
        *({"entity": "ab"[at % 2], "x": float(at), "at": NOW - 7 * HOUR + at * 60 * SECOND} for at in range(200))
    )
    yield made
    made.close()


def differing(report: SkewReport) -> dict[str, int]:
    return {one.feature: one.differing for one in report.features}


async def test_what_was_served_is_what_history_says(world: World) -> None:
    await world.predict("a", "b", as_of_us=NOW - 3 * HOUR)
    await world.predict("a", "b", "a", as_of_us=NOW - 2 * HOUR)
    report = world.check()
    assert (report.sampled, report.without_key, report.other_revision) == (5, 0, 0)
    assert {one.feature: (one.compared, one.differing, one.max_abs_diff) for one in report.features} == {
        "newest": (5, 0, None),
        "mean_6h": (5, 0, None),
    }


async def test_rows_that_came_late_show_as_differences_with_examples(world: World) -> None:
    await world.predict("a", "b")
    world.add_rows({"entity": "a", "x": 500.0, "at": NOW - 3 * HOUR, "received": NOW - HOUR})
    report = world.check()
    found = {one.feature: one for one in report.features}
    assert differing(report) == {"newest": 1, "mean_6h": 1}
    (example,) = found["newest"].examples
    assert (example.served, example.history, example.as_of) == (198.0, 500.0, instant(NOW - 2 * HOUR))
    assert found["newest"].max_abs_diff == 302
    assert found["newest"].field == "a"
    assert example.event_at is not None


@pytest.mark.parametrize("view", [recent(as_received=True)], ids=["as_received"])
async def test_where_history_knows_what_had_been_received_late_rows_are_no_skew(world: World) -> None:
    await world.predict("a", "b")
    world.add_rows({"entity": "a", "x": 500.0, "at": NOW - 3 * HOUR, "received": NOW - HOUR})
    assert differing(world.check()) == {"newest": 0, "mean_6h": 0}


@pytest.mark.parametrize("view", [recent(delay_seconds=3_600)], ids=["delayed"])
async def test_declared_delays_count_on_both_sides(world: World) -> None:
    await world.predict("a", "b", as_of_us=NOW - 3 * HOUR)
    report = world.check()
    assert differing(report) == {"newest": 0, "mean_6h": 0}
    assert [one.compared for one in report.features] == [2, 2]
    world.add_rows({"entity": "a", "x": 500.0, "at": NOW - 3 * HOUR - 600 * SECOND})
    assert differing(world.check()) == {"newest": 0, "mean_6h": 0}, "it is younger than the delay"


async def test_an_online_state_that_lags_behind_is_found(world: World) -> None:
    world.add_rows({"entity": "b", "x": -40.0, "at": NOW - 3 * HOUR}, online=False)
    await world.predict("a", "b")
    assert differing(world.check()) == {"newest": 1, "mean_6h": 1}


async def test_what_cannot_be_compared_is_counted(world: World) -> None:
    await world.predict("a")
    await world.predict("b", revision=7)
    world.log(['{"recent.newest": [1.0, null]}', "{}", None], NOW - 2 * HOUR)
    report = world.check()
    assert (report.sampled, report.without_key, report.other_revision) == (3, 1, 1)
    assert {one.compared for one in report.features} == {1}


async def test_only_a_sample_of_the_window_is_looked_at(world: World) -> None:
    await world.predict(*"ab" * 10)
    await world.predict("a", as_of_us=NOW - 30 * HOUR)
    assert world.check(sample=7).sampled == 7
    assert world.check().sampled == 20


async def test_values_of_a_protected_dataset_are_compared_and_not_shown(world: World) -> None:
    await world.predict("a")
    world.add_rows({"entity": "a", "x": 500.0, "at": NOW - 3 * HOUR})
    world.dataset = world.dataset.model_copy(update={"protected": True})
    report = world.check()
    assert differing(report) == {"newest": 1, "mean_6h": 1}
    assert [one.examples for one in report.features] == [(), ()]


def test_without_a_log_there_is_nothing_to_compare(world: World) -> None:
    report = world.check()
    assert (report.sampled, [one.compared for one in report.features]) == (0, [0, 0])


def test_served_versions_are_checked_once_a_day(world: World) -> None:
    control = FakeControl()
    home = Home(world.settings.home)
    control.establish_trust(home)
    folder = home.snapshots / ENVIRONMENT
    folder.mkdir(parents=True)
    signed = SignedSnapshot.sign(world.snapshot, control.key)
    (folder / "1.json").write_bytes(signed.model_dump_json().encode())
    assert schedule_checks(world.settings) == 1
    assert schedule_checks(world.settings) == 1, "it is still due, and queued once"
    jobs = world.queue.recent(ENVIRONMENT, limit=9)
    assert [(job.new.kind, job.new.subject) for job in jobs] == [(FEATURE_SKEW, "delay")]
    world.work()
    assert schedule_checks(world.settings) == 0
    assert schedule_checks(world.settings, now=datetime.now(UTC) + timedelta(days=1, minutes=1)) == 1
    assert len(world.queue.recent(ENVIRONMENT, limit=9)) == 2
    found = find_check(world.queue, ENVIRONMENT, world.version.id)
    assert found is not None
    assert found.state is State.QUEUED
