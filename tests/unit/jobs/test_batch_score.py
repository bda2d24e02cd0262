from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.builders.batches import OUTPUT, Batches, batches, once_each, put_rows
from tests.builders.frameworks import zipped
from tests.builders.models import SCORE, make_version
from tests.builders.onnx_models import linear

from headwater.contracts.model import Constraints, Field, LogicalType
from headwater.core.clock import epoch_micros
from headwater.core.errors import HeadwaterError
from headwater.core.jobs import RowChoice
from headwater.core.overrides import OverrideSpec
from headwater.core.setting_sections import JournalSettings
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import JournalTransaction
from headwater.engines.queue.protocol import Progress, State
from headwater.jobs import batch_score
from headwater.jobs.batch import scorer
from headwater.jobs.batch.output import ChunkCommit

START = datetime(2026, 5, 1, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"trip": f"t{n}", "a": float(n), "b": n % 7, "at": START + timedelta(hours=n), "city": "BER" if n % 2 else "PAR"}
    for n in range(450)
]
TIMES = {"event_time": "at"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, journal=JournalSettings(min_free_bytes=0))


@pytest.fixture
def home(settings: Settings) -> Iterator[Batches]:
    with batches(settings, ROWS[:300]) as found:
        put_rows(settings, ROWS[300:], first_seq=301)
        yield found


def test_every_row_has_one_prediction_that_says_whose_it_is(home: Batches) -> None:
    job = home.score(keys=("trip",))
    assert job.state is State.SUCCEEDED, job.error
    assert job.progress.done == job.new.total == 450
    assert dict(job.progress.counts) == {"scored": 450, "failed": 0, "skipped": 0}
    rows = home.written()
    assert once_each(rows, range(1, 451))
    by_seq = {row["source_seq"]: row for row in rows}
    for seq, row in enumerate(ROWS, 1):
        found = by_seq[seq]
        assert found["output_score"] == pytest.approx(row["a"] + 10 * row["b"])
        assert (found["input_a"], found["input_b"]) == (row["a"], row["b"])
        assert json.loads(found["source_key"]) == {"trip": row["trip"]}
    first = by_seq[1]
    expected = {"job": job.new.id, "source": "trips", "model": "delay", "version": 1, "route": "batch", "error": None}
    assert {name: first[name] for name in expected} == expected
    assert first["latency_us"] > 0


def test_what_is_known_of_a_chunk_is_not_written_again(home: Batches) -> None:
    job_id = home.add()
    claim = home.queue.claim(now_us=2**60, lease_us=10**9)
    assert claim is not None
    for _ in range(2):  # the same attempt twice, as by a worker that was taken for dead and its successor
        batch_score.run(claim.job, Forgetful(), home.journal, home.settings)
    assert once_each(home.written(), range(1, 451))
    assert home.journal.totals(OUTPUT).accepted == 450
    assert home.find(job_id).progress.done == 0


def test_a_job_resumes_behind_what_it_noted_and_counts_what_it_did_not_note(home: Batches) -> None:
    job_id = home.add()
    claim = home.queue.claim(now_us=2**60, lease_us=1)
    assert claim is not None
    hold = Failing(after=2, noted=lambda progress: home.queue.keep(claim, progress, now_us=0, lease_us=1))
    with pytest.raises(ZeroDivisionError):
        batch_score.run(claim.job, hold, home.journal, home.settings)
    assert 450 > len(home.written()) > home.find(job_id).progress.done > 0
    home.work()
    job = home.find(job_id)
    assert job.state is State.SUCCEEDED
    assert dict(job.progress.counts) == {"scored": 450, "failed": 0, "skipped": 0}
    assert once_each(home.written(), range(1, 451))


def test_a_chunk_that_fails_to_be_written_leaves_nothing(home: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    def break_late(self: Any, transaction: JournalTransaction) -> Any:
        apply(self, transaction)
        raise HeadwaterError("journal_unavailable", "the disk is gone", retry_after_seconds=1)

    apply = ChunkCommit.apply
    monkeypatch.setattr(ChunkCommit, "apply", break_late)
    monkeypatch.setattr(batch_score, "PATIENCE_SECONDS", 0.0)
    job_id = home.add()
    home.work()
    assert home.written() == []
    job = home.find(job_id)
    assert (job.state, job.error and job.error["code"]) == (State.QUEUED, "journal_unavailable")
    assert job.retry_us is not None


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (RowChoice(where="city = 'BER' and a < 10", names={"city": "string", "a": "number"}), range(2, 11, 2)),
        (RowChoice(where="hour(at) = 3", names={"at": "timestamp"}), range(4, 451, 24)),
        (RowChoice(where="b is null", names={"b": "integer"}), range(0)),
        (RowChoice(**TIMES, since_us=epoch_micros(START + timedelta(hours=440))), range(441, 451)),
        (RowChoice(**TIMES, until_us=epoch_micros(START + timedelta(hours=3))), range(1, 4)),
    ],
)
def test_only_the_rows_that_are_meant_are_scored(home: Batches, choice: RowChoice, expected: range) -> None:
    job = home.score(rows=choice)
    assert job.state is State.SUCCEEDED, job.error
    assert once_each(home.written(), expected)
    assert job.progress.done == 450
    assert dict(job.progress.counts) == {"scored": len(expected), "failed": 0, "skipped": 450 - len(expected)}


def test_a_column_may_have_another_name_than_the_input(home: Batches) -> None:
    assert home.score(columns={"a": "b", "b": "a"}).state is State.SUCCEEDED
    row = next(row for row in home.written() if row["source_seq"] == 10)
    assert (row["input_a"], row["input_b"], row["output_score"]) == (2, 9, 92)


def override(key: dict[str, Any], value: float, hours: float = 1, **members: Any) -> OverrideSpec:
    now = datetime.now(UTC)
    return OverrideSpec(
        id=f"ovr_{value:g}",
        model="delay",
        output="score",
        key=key,
        value=value,
        reason="strike",
        requested_by="a",
        approved_by="b",
        valid_from=now - timedelta(days=1),
        valid_until=now + timedelta(hours=hours),
        **members,
    )


@pytest.mark.parametrize("on_error", ["stop", "null"])
def test_what_people_have_overridden_is_served_and_says_so(home: Batches, on_error: str) -> None:
    overrides = (override({"a": 9}, 500.0), override({"a": 10}, 501.0, hours=-1), override({"c": 1}, 502.0))
    job = home.score(overrides=overrides, on_error=on_error)
    assert job.state is State.SUCCEEDED, job.error
    rows = {row["source_seq"]: row for row in home.written()}
    assert (rows[10]["output_score"], rows[10]["route"]) == (500.0, "override")
    assert json.loads(rows[10]["overrides"]) == {"score": {"override": "ovr_500", "served": 500.0, "own": 29.0}}
    others = [row for seq, row in rows.items() if seq != 10]
    assert {(row["route"], row["overrides"]) for row in others} == {("batch", None)}
    assert rows[11]["output_score"] == 40.0


BAD: list[dict[str, Any]] = [
    {"a": 1.0, "b": 2.0},
    {"a": None, "b": 2.0},
    {"a": float("nan"), "b": 2.0},
    {"a": 1e300, "b": 2.0},
    {"a": 4.0, "b": 200.0},
    {"a": 5.0, "b": 1.0},
]
BOUNDED = (
    Field("a", LogicalType.NUMBER),
    Field("b", LogicalType.NUMBER, constraints=Constraints(le=100)),
)


@pytest.fixture
def bad(settings: Settings) -> Iterator[Batches]:
    with batches(settings, BAD) as found:
        found.version = make_version(settings, fields=BOUNDED, artifact=linear([1, 10]))
        yield found


def test_bad_rows_are_written_without_outputs_and_say_what_is_wrong(bad: Batches) -> None:
    job = bad.score(on_error="null")
    assert job.state is State.SUCCEEDED, job.error
    assert dict(job.progress.counts) == {"scored": 2, "failed": 4, "skipped": 0}
    rows = bad.written()
    assert [row["source_seq"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["output_score"] for row in rows] == [21, None, None, None, None, 15]
    errors = [row["error"] and json.loads(row["error"])[0] for row in rows]
    assert [error and (error["code"], error["path"]) for error in errors] == [
        None,
        ("missing_field", "/a"),
        ("type_mismatch", "/a"),
        ("out_of_range", "/a"),
        ("out_of_range", "/b"),
        None,
    ]


def test_the_first_bad_row_stops_the_job_and_is_named(bad: Batches) -> None:
    job = bad.score(columns={"a": "a", "b": "b"})
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["code"] == "input_invalid"
    assert "row 2 (_hw_seq) of trips, input 'a'" in job.error["detail"]
    assert job.error["source_seq"] == 2
    assert job.error["hint"]
    assert bad.written() == []


def test_values_that_are_not_public_stay_out_of_predictions_and_errors(bad: Batches) -> None:
    bad.score(on_error="null", redact=("b",))
    rows = bad.written()
    assert {row["input_b"] for row in rows} == {None}
    assert json.loads(rows[4]["error"])[0]["actual"] == "<redacted>"
    assert "200" not in rows[4]["error"]


def test_a_version_that_is_vacuumed_away_fails_with_the_cure(home: Batches) -> None:
    job = home.score(files=(str(home.settings.home / "gone.parquet"),))
    assert (job.state, job.error and job.error["code"]) == (State.FAILED, "conflict")
    assert job.error is not None
    assert "gone.parquet is gone" in job.error["detail"]
    assert str(home.settings.home) not in job.error["detail"]


def test_a_model_without_its_artifact_fails_with_the_reason(home: Batches, settings: Settings) -> None:
    home.version = make_version(settings, artifact=b"no model at all")
    job = home.score()
    assert (job.state, job.error and job.error["code"]) == (State.FAILED, "model_unavailable")


def test_an_empty_dataset_is_done_at_once(settings: Settings) -> None:
    with batches(settings) as home:
        job = home.score()
        assert (job.state, job.progress.done) == (State.SUCCEEDED, 0)


def test_a_job_waits_while_the_sealer_has_more_than_enough(home: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_score, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(type(home.journal), "unsealed_bytes", lambda _self: 1 << 40)
    job = home.score()
    assert (job.state, job.error and job.error["code"]) == (State.QUEUED, "overloaded")
    assert home.written() == []


FRAGILE = """
import os


class Model:
    def __init__(self, directory):
        pass

    def predict(self, columns):
        if 13 in columns["a"]:
            raise ValueError("thirteen brings bad luck")
        if 66 in columns["a"]:
            os._exit(3)
        return {"score": columns["a"] + columns["b"]}
"""


@pytest.fixture
def fragile(settings: Settings, tmp_path: Path) -> Iterator[Batches]:
    """Lend a home whose model runs in a process of its own, and fails for some numbers."""
    archive = zipped(tmp_path / "model.zip", {"model.py": FRAGILE})
    with batches(settings, [{"a": float(n), "b": 1.0} for n in range(40)]) as found:
        version = make_version(settings, artifact=archive.read_bytes(), outputs=(SCORE,))
        found.version = version.model_copy(update={"framework": "python"})
        yield found


def test_rows_that_the_model_fails_for_are_found_among_the_others(fragile: Batches) -> None:
    job = fragile.score(on_error="null")
    assert job.state is State.SUCCEEDED, job.error
    assert dict(job.progress.counts) == {"scored": 39, "failed": 1, "skipped": 0}
    rows = fragile.written()
    assert [row["output_score"] for row in rows] == [None if n == 13 else n + 1 for n in range(40)]
    (error,) = json.loads(rows[13]["error"])
    assert error["code"] == "model_failed"
    assert "thirteen brings bad luck" in error["message"]


def test_a_model_that_fails_stops_the_job_unless_it_may_not(fragile: Batches) -> None:
    job = fragile.score()
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error["code"] == "model_failed"
    assert "rows 1 to 40 (_hw_seq) of trips" in job.error["detail"]
    assert "thirteen" in job.error["detail"]
    assert fragile.written() == []


@pytest.mark.parametrize("on_error", ["stop", "null"])
def test_a_row_that_ends_the_models_process_is_found_too(fragile: Batches, on_error: str) -> None:
    put_rows(fragile.settings, [{"a": 65.0, "b": 1.0}, {"a": 66.0, "b": 1.0}], first_seq=41)
    job = fragile.score(on_error=on_error, rows=RowChoice(where="a > 60", names={"a": "number"}))
    if on_error == "stop":
        assert job.state is State.FAILED
        assert job.error is not None
        assert "rows 41 to 42 (_hw_seq) of trips: the model's process ended" in job.error["detail"]
        return
    assert job.state is State.SUCCEEDED, job.error
    rows = fragile.written()
    assert [(row["source_seq"], row["output_score"]) for row in rows] == [(41, 66), (42, None)]


def test_a_model_that_cannot_run_for_long_has_the_job_tried_again_later(
    fragile: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_arguments: object) -> None:
        raise HeadwaterError("model_unavailable", "its process keeps ending", retry_after_seconds=1)

    monkeypatch.setattr(scorer.Scorer, "_run", away)
    monkeypatch.setattr(scorer, "PATIENCE_SECONDS", 0.0)
    job = fragile.score(on_error="null")
    assert job.state is State.QUEUED
    assert job.error is not None
    assert job.error["code"] == "model_unavailable"
    assert job.retry_us is not None
    assert fragile.written() == []


class Forgetful:
    """A hold that notes nothing."""

    def beat(self) -> None:
        return

    def note(self, progress: Progress) -> None:  # noqa: ARG002 - that is the point
        return


class Failing:
    """A hold that dies where a process might: after a chunk is written and before it is noted."""

    def __init__(self, *, after: int, noted: Any) -> None:
        self._left = after
        self._noted = noted

    def beat(self) -> None:
        return

    def note(self, progress: Progress) -> None:
        if not self._left:
            raise ZeroDivisionError
        self._left -= 1
        self._noted(progress)
