"""When streams are sealed, and how trouble with one is kept from the others."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from tests.builders.journal import make_block

from headwater.core.clock import FrozenClock, epoch_micros
from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import TableStore
from headwater.jobs import sealer as module
from headwater.jobs.sealer import Sealer

START = datetime(2026, 1, 1, tzinfo=UTC)


class Bench:
    """A sealer with a clock that stands still."""

    def __init__(self, journal: Journal, lake: TableStore, settings: Settings) -> None:
        self.journal, self.lake, self.settings = journal, lake, settings
        self.clock = FrozenClock(START)
        self.sealer = Sealer(journal, lake, settings, clock=self.clock)

    def append(self, stream: str = "e/a", rows: int = 1) -> None:
        at = epoch_micros(self.clock.now())
        block = make_block(range(rows), stream=stream, received_at_us=at)
        self.journal.write(lambda tx: tx.append(block))

    def wait(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    def heartbeat(self) -> dict[str, Any]:
        self.sealer._heartbeat_at = 0.0
        self.sealer.sweep()
        report: dict[str, Any] = json.loads((self.settings.home / "run" / "sealer.json").read_text())
        return report

    def break_stream(self, monkeypatch: pytest.MonkeyPatch, stream: str, error: Exception) -> None:
        real = self.lake.append

        def append(name: str, *arguments: Any) -> int:
            if name == stream:
                raise error
            return real(name, *arguments)

        monkeypatch.setattr(self.lake, "append", append)


@pytest.fixture
def bench(journal: Journal, lake: TableStore, settings: Settings) -> Iterator[Bench]:
    bench = Bench(journal, lake, settings)
    yield bench
    bench.sealer._upkeep.close()


def test_rows_wait_for_half_the_interval(bench: Bench) -> None:
    bench.append()
    bench.wait(0.49)
    assert bench.sealer.sweep() == 0
    bench.wait(0.01)
    assert bench.sealer.sweep() == 1


def test_a_full_segment_does_not_wait(bench: Bench, settings: Settings) -> None:
    bench.sealer._limits = settings.lake.model_copy(update={"segment_max_rows": 5})
    bench.append(rows=5)
    assert bench.sealer.sweep() == 5


def test_rows_from_the_future_do_not_wait_for_it(bench: Bench) -> None:
    bench.append()
    bench.wait(-3_600)
    assert bench.sealer.sweep() == 1


@pytest.mark.parametrize(
    ("trouble", "says"),
    [(HeadwaterError("storage_exhausted"), "storage_exhausted: The disk"), (KeyError("bug"), "KeyError: 'bug'")],
)
def test_trouble_with_one_stream_leaves_the_others_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, trouble: Exception, says: str
) -> None:
    with monkeypatch.context() as patch:
        bench.break_stream(patch, "e/bad", trouble)
        for stream in ("e/bad", "e/good"):
            bench.append(stream)
        bench.wait(1)
        assert bench.sealer.sweep() == 1
        assert [backlog.stream for backlog in bench.journal.backlogs()] == ["e/bad"]
        (error,) = bench.heartbeat()["errors"]
        assert error["stream"] == "e/bad"
        assert error["error"].startswith(says)
    assert bench.sealer.drain() == 1
    assert bench.heartbeat()["errors"] == []


def test_a_failing_stream_is_tried_again_ever_more_rarely(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.break_stream(monkeypatch, "e/a", HeadwaterError("internal"))
    now = 1_000.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now, perf_counter=lambda: now))
    bench.append()
    bench.wait(1)
    tries = []
    for _ in range(110):
        before = bench.sealer._troubles.get("e/a")
        bench.sealer.sweep()
        if bench.sealer._troubles["e/a"] is not before:
            tries.append(round(now - 1_000, 1))
        now += 0.25
    assert tries[:6] == pytest.approx([0.0, 0.5, 1.5, 3.5, 7.5, 15.5], abs=0.3)
    assert tries[-1] - tries[-2] == pytest.approx(10, abs=0.3)


def test_the_heartbeat_tells_how_far_behind_the_lake_is(bench: Bench) -> None:
    assert bench.heartbeat()["lag_seconds"] == 0.0
    bench.append(rows=3)
    bench.wait(0.25)
    report = bench.heartbeat()
    assert (report["lag_seconds"], report["streams"], report["rows"]) == (0.25, 1, 3)
    assert report["at"] == "2026-01-01T00:00:00.250000+00:00"


def test_a_journal_that_cannot_be_read_is_reported_and_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> list[Any]:
        raise HeadwaterError("journal_unavailable", "the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(bench.journal, "backlogs", fail)
        assert bench.heartbeat()["errors"][0]["stream"] == "journal"
    assert bench.heartbeat()["errors"] == []


def test_a_stopped_sealer_seals_what_is_not_due(journal: Journal, lake: TableStore, settings: Settings) -> None:
    bench = Bench(journal, lake, settings)
    bench.append()
    stop = threading.Event()
    stop.set()
    bench.sealer.run(stop)
    assert journal.backlogs() == []


def test_draining_ends_however_much_still_comes_in(
    bench: Bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.sealer._limits = settings.lake.model_copy(update={"segment_max_rows": 1})
    real: Callable[..., int] = bench.lake.append

    def append(*arguments: Any) -> int:
        bench.append()
        return real(*arguments)

    monkeypatch.setattr(bench.lake, "append", append)
    for _ in range(3):
        bench.append()
    assert bench.sealer.drain() == 3
    assert bench.journal.backlogs()[0].rows == 3
