"""The sealer as a process: what it promises when it is stopped, doubled, starved or killed."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.builders import children
from tests.builders.journal import STREAM, make_block

from headwater.core.setting_sections import JournalSettings, LakeSettings
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake import open_lake


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path,
        journal=JournalSettings(min_free_bytes=0),
        lake=LakeSettings(segment_max_rows=3, compact_every_commits=5, seal_interval_seconds=1.0),
    )


@pytest.fixture
def journal(settings: Settings) -> Iterator[Journal]:
    journal = open_journal(settings)
    yield journal
    journal.close()


@pytest.fixture
def start_sealer(settings: Settings) -> Iterator[Callable[[], Popen[str]]]:
    started: list[Popen[str]] = []

    def start() -> Popen[str]:
        started.append(children.start(settings, "serve"))
        return started[-1]

    yield start
    for sealer in started:
        sealer.kill()
        sealer.communicate()


def append(journal: Journal, first: int, last: int) -> None:
    now = time.time_ns() // 1_000
    for n in range(first, last + 1):
        block = make_block([n], receipt=f"rcp_{n}", received_at_us=now)
        journal.write(lambda tx, block=block: tx.append(block))  # type: ignore[misc]


def sealed(settings: Settings) -> pa.Table:
    state = open_lake(settings).state(STREAM)
    assert state is not None
    return pa.concat_tables([pq.read_table(file) for file in state.files]).sort_by("_hw_seq")


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> float:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, "waited too long"
        time.sleep(0.02)
    return time.monotonic() - started


def assert_once(settings: Settings, ids: list[int]) -> None:
    """Every id is in the table exactly once, numbered as it was written."""
    rows = sealed(settings)
    assert rows.column("_hw_seq").to_pylist() == list(range(1, len(ids) + 1))
    assert rows.column("id").to_pylist() == ids
    assert rows.column("_hw_receipt").to_pylist() == [f"rcp_{n}" for n in ids]


class TestDeath:
    @pytest.mark.parametrize("after", [0, 2])
    @pytest.mark.parametrize(
        "point",
        [
            "before the file is synced",
            "before the commit",
            "after the commit, before it is synced",
            "before the journal hears of it",
            "after the table is made",
        ],
    )
    def test_a_sealer_that_dies_half_way_neither_loses_nor_doubles(
        self, journal: Journal, settings: Settings, point: str, after: int
    ) -> None:
        append(journal, 1, 10)
        children.run(settings, "seal", point, after)
        assert journal.backlogs(), "it was to die before the end"
        append(journal, 11, 14)
        # The next segment is cut elsewhere: it would hold rows that the table has and rows that it has not.
        larger = settings.lake.model_copy(update={"segment_max_rows": 5})
        children.run(settings.model_copy(update={"lake": larger}), "seal")
        assert journal.backlogs() == []
        assert_once(settings, list(range(1, 15)))

    @pytest.mark.parametrize(
        "point",
        [
            "before files are swapped",
            "after files are swapped",
            "before the checkpoint is synced",
            "after the checkpoint",
        ],
    )
    def test_upkeep_that_dies_half_way_changes_no_row(self, journal: Journal, settings: Settings, point: str) -> None:
        append(journal, 1, 60)
        children.run(settings, "seal", point)
        assert journal.backlogs(), "it was to die before the end"
        children.run(settings, "seal")
        assert_once(settings, list(range(1, 61)))

    def test_a_sealer_killed_again_and_again_neither_loses_nor_doubles(
        self, journal: Journal, settings: Settings, start_sealer: Callable[[], Popen[str]]
    ) -> None:
        chance = random.Random(11)
        for round_ in range(4):
            sealer = start_sealer()
            wait_until((settings.home / "run" / "sealer.json").exists)
            for n in range(10):
                append(journal, round_ * 10 + n + 1, round_ * 10 + n + 1)
                time.sleep(chance.uniform(0, 0.06))
            time.sleep(chance.uniform(0, 0.5))
            sealer.kill()
            sealer.wait(20)
            (settings.home / "run" / "sealer.json").unlink()
        children.run(settings, "seal")
        assert_once(settings, list(range(1, 41)))


class TestLife:
    @pytest.mark.alone
    def test_an_acknowledged_row_can_be_read_within_two_seconds(
        self, journal: Journal, settings: Settings, start_sealer: Callable[[], Popen[str]]
    ) -> None:
        start_sealer()
        lake = open_lake(settings)
        append(journal, 0, 0)
        wait_until(lambda: lake.state(STREAM) is not None)
        waits = []
        for n in range(1, 4):
            append(journal, n, n)
            waits.append(wait_until(lambda n=n: lake.state(STREAM).rows == n + 1))  # type: ignore[misc, union-attr]
        assert sorted(waits)[1] < 2.0

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_stopped_sealer_seals_what_waits_and_leaves_cleanly(
        self, journal: Journal, settings: Settings, start_sealer: Callable[[], Popen[str]], number: signal.Signals
    ) -> None:
        sealer = start_sealer()
        wait_until((settings.home / "run" / "sealer.json").exists)
        append(journal, 1, 10)
        sealer.send_signal(number)
        assert sealer.wait(20) == 0
        assert journal.backlogs() == []
        assert_once(settings, list(range(1, 11)))

    def test_a_second_sealer_says_who_serves_and_takes_over(
        self, journal: Journal, settings: Settings, start_sealer: Callable[[], Popen[str]]
    ) -> None:
        first = start_sealer()
        heartbeat = settings.home / "run" / "sealer.json"
        wait_until(heartbeat.exists)
        second = start_sealer()
        assert second.stderr is not None
        line = second.stderr.readline()
        assert "another sealer serves this home" in line
        assert str(first.pid) in line
        first.kill()
        wait_until(lambda: json.loads(heartbeat.read_text())["pid"] == second.pid)
        append(journal, 1, 2)
        second.terminate()
        assert second.wait(20) == 0
        assert_once(settings, [1, 2])

    def test_a_second_sealer_can_be_stopped_while_it_waits(
        self, settings: Settings, start_sealer: Callable[[], Popen[str]]
    ) -> None:
        start_sealer()
        wait_until((settings.home / "run" / "sealer.json").exists)
        second = start_sealer()
        assert second.stderr is not None
        second.stderr.readline()
        second.terminate()
        assert second.wait(20) == 0
