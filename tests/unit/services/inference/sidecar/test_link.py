"""The worker's end with a real sidecar, a real journal and a real store of profiles."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.builders.entries import NOON_US, Told
from tests.fakes.process import until

from headwater.contracts.model import Field, LogicalType
from headwater.core.home import Home
from headwater.core.setting_sections import JournalSettings
from headwater.core.settings import Settings
from headwater.core.snapshot import LogSpec, OutputSpec
from headwater.engines.blobs import open_blobs
from headwater.engines.journal import open_journal
from headwater.engines.monitoring.merging import merged_profile, merged_traffic
from headwater.engines.monitoring.profile import Profile, build_profile
from headwater.engines.monitoring.store import MonitoringStore
from headwater.services.inference.sidecar import child as child_module
from headwater.services.inference.sidecar import link as link_module
from headwater.services.inference.sidecar.link import SidecarLog
from headwater.services.inference.sidecar.monitor import FIRST_ROWS

MINUTE = NOON_US // 60_000_000
SECONDS = 20.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path, journal=JournalSettings(min_free_bytes=0))
    Home(tmp_path).prepare()
    return settings


@pytest.fixture
async def start(settings: Settings) -> AsyncIterator[Callable[..., SidecarLog]]:
    """Start logs that end with the test, whatever comes in between."""
    logs: list[SidecarLog] = []

    def begin(told: Told, **more: Any) -> SidecarLog:
        log = SidecarLog(settings, told.environments, **more)
        log.start()
        logs.append(log)
        return log

    yield begin
    for log in logs:
        await log.stop()


def logged(settings: Settings) -> list[dict[str, Any]]:
    """Return what the journal has of the predictions, block after block."""
    journal = open_journal(settings)
    try:
        blocks = journal.read("env_1/predictions_delay", max_rows=10**6, max_bytes=1 << 30)
    finally:
        journal.close()
    return [row for stored in blocks for row in pa.ipc.open_stream(stored.block.payload).read_all().to_pylist()]


def seen(settings: Settings, version: str = "mdv_1") -> tuple[Any, Profile | None]:
    """Return traffic and profile of a version."""
    store = MonitoringStore(Home(settings.home).monitoring / "profiles.sqlite3", read_only=True)
    try:
        spans = store.spans("env_1", version, since=0, until=1 << 40)
        reference = store.reference("env_1", version)
        layout = None if reference is None else Profile.from_bytes(reference[1]).layout
        return merged_traffic(spans), None if layout is None else merged_profile(spans, layout)
    finally:
        store.close()


async def acknowledged(log: SidecarLog, rows: int) -> None:
    await until(lambda: log.logged.value(("delay",)) == rows, SECONDS)


async def test_what_is_told_is_logged_once_and_counted(settings: Settings, start: Callable[..., SidecarLog]) -> None:
    told = Told()
    log = start(told)
    entries = [told.rows(count, at_us=NOON_US + count) for count in (1, 3, 7)]
    for entry in entries:
        log.add(entry)
    for code in ("input_invalid", "model_failed", "input_invalid"):
        log.failed(told.failure(code))
    await acknowledged(log, 11)
    assert [row["prediction_id"] for row in logged(settings)] == [i for entry in entries for i in entry.ids]
    await log.stop()
    traffic, _ = seen(settings)
    assert (traffic.requests, traffic.rows, traffic.errors) == (6, 11, 3)
    assert traffic.by_code == {"input_invalid": 2, "model_failed": 1}
    assert traffic.by_route == {"champion": 3}
    assert sum(traffic.latencies) == 3
    assert log.problem is None


async def test_a_graceful_stop_loses_nothing(settings: Settings, start: Callable[..., SidecarLog]) -> None:
    told = Told()
    log = start(told)
    for _ in range(300):
        log.add(told.rows(2))
    await log.stop()
    assert len(logged(settings)) == 600
    assert log.dropped.value(("delay",)) == 0
    assert log.pid is None


async def test_a_sidecar_that_is_killed_costs_and_doubles_nothing(
    settings: Settings, start: Callable[..., SidecarLog]
) -> None:
    told = Told()
    log = start(told)
    log.add(told.rows(1))
    await acknowledged(log, 1)
    sent = 1
    killed: set[int] = set()
    for kill in range(40):
        log.add(told.rows(5))
        sent += 5
        if kill % 10 == 3 and log.pid is not None and log.pid not in killed:
            os.kill(log.pid, signal.SIGKILL)
            killed.add(log.pid)
        await asyncio.sleep(0.05)
    await until(lambda: not log._epochs, SECONDS)
    await log.stop()
    rows = [row["prediction_id"] for row in logged(settings)]
    assert len(rows) == len(set(rows)) == sent
    assert seen(settings)[0].rows == sent
    assert killed
    assert log._child.restarts.value(()) >= 1
    assert log.resent.value(("delay",)) > 0
    assert log.dropped.value(("delay",)) == 0


async def test_an_epoch_that_was_written_but_not_acknowledged_is_not_written_again(
    settings: Settings, start: Callable[..., SidecarLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    log = start(told)
    heard = log._child._on_ack
    monkeypatch.setattr(log._child, "_on_ack", lambda ack: None)
    log.add(told.rows(4))
    await until(lambda: len(logged(settings)) == 4, SECONDS)
    monkeypatch.setattr(log._child, "_on_ack", heard)
    assert log.pid is not None
    os.kill(log.pid, signal.SIGKILL)
    await acknowledged(log, 4)
    await log.stop()
    assert len(logged(settings)) == 4
    assert seen(settings)[0].rows == 4


async def test_a_worker_that_is_killed_loses_nothing_that_was_shipped(settings: Settings) -> None:
    told = Told()
    log = SidecarLog(settings, told.environments)
    log.start()
    log.add(told.rows(1))
    await acknowledged(log, 1)
    log.add(told.rows(6))
    log._ship()  # not closed: the epoch is open when the worker dies
    pid, connection = log.pid, log._child._socket
    assert connection is not None
    assert pid is not None
    log._child._is_stopping = True
    asyncio.get_running_loop().remove_reader(connection)
    log._child._socket = None
    connection.close()  # what the kernel does for a process that is gone
    await until(lambda: log.pid is None, SECONDS)
    assert len(logged(settings)) == 7
    if log._due is not None:
        log._due.cancel()


async def test_what_waits_is_bounded_and_the_rest_is_counted(start: Callable[..., SidecarLog]) -> None:
    told = Told()
    log = start(told, max_waiting_rows=10)
    for _ in range(4):
        log.add(told.rows(4))
    assert log.dropped.value(("delay",)) == 8
    log.add(told.rows(2))
    assert log.is_full
    await acknowledged(log, 10)
    assert not log.is_full


async def test_a_full_disk_is_waited_for(settings: Settings) -> None:
    full = settings.model_copy(update={"journal": JournalSettings(min_free_bytes=1 << 60)})
    told = Told()
    log = SidecarLog(full, told.environments, max_waiting_rows=8)
    log.start()
    log.add(told.rows(5))
    await until(lambda: log.problem is not None and "waits" in log.problem, SECONDS)
    for _ in range(3):
        log.add(told.rows(2))
    assert log.dropped.value(("delay",)) == 4
    # Room again: the sidecar that comes next has other settings, and gets what waits.
    log._child._settings = settings
    assert log.pid is not None
    os.kill(log.pid, signal.SIGKILL)
    await acknowledged(log, 7)
    await log.stop()
    assert len(logged(settings)) == 7


async def test_what_cannot_be_written_when_the_process_stops_is_counted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "STOP_SECONDS", 1.0)
    monkeypatch.setattr(child_module, "_STOP_SECONDS", 0.5)
    full = settings.model_copy(update={"journal": JournalSettings(min_free_bytes=1 << 60)})
    told = Told()
    log = SidecarLog(full, told.environments)
    log.start()
    log.add(told.rows(5))
    await log.stop()
    assert log.dropped.value(("delay",)) == 5
    assert logged(settings) == []


async def test_an_epoch_that_kills_every_sidecar_is_given_up(
    settings: Settings, start: Callable[..., SidecarLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    log = start(told)
    log.add(told.rows(3))
    log._ship(closes=True)
    # Damage on its way: what the sidecar reads is no message.
    log._epochs[0].frames[0][4:8] = b"\xc1\xc1\xc1\xc1"
    await until(lambda: log.dropped.value(("delay",)) == 3, SECONDS)
    log.add(told.rows(2))
    await acknowledged(log, 2)
    assert log._rows == 0


async def test_an_epoch_of_which_a_part_was_damaged_on_its_way_is_written_whole(
    settings: Settings, start: Callable[..., SidecarLog]
) -> None:
    told = Told()
    log = start(told)
    log.add(told.rows(3))
    log._ship()
    log.add(told.rows(2))
    log._ship(closes=True)
    frame = log._epochs[0].frames[1]
    whole = bytes(frame)
    frame[4:8] = b"\xc1\xc1\xc1\xc1"
    await until(lambda: log._child.restarts.value(()) == 1, SECONDS)
    frame[:] = whole
    await acknowledged(log, 5)
    assert len(logged(settings)) == 5


async def test_what_cannot_be_packed_is_dropped_and_the_next_is_not(
    settings: Settings, start: Callable[..., SidecarLog]
) -> None:
    told = Told()
    log = start(told)
    log.add(told.entry([(object(), 1.0)], np.zeros(1)))
    log._ship()
    log.add(told.rows(2))
    await acknowledged(log, 2)
    assert log.dropped.value(("delay",)) == 1
    assert len(logged(settings)) == 2


async def test_the_first_rows_are_the_reference_of_a_version_without_one(
    settings: Settings, start: Callable[..., SidecarLog]
) -> None:
    told = Told()
    one, two = start(told), start(told)
    for _ in range(4):
        one.add(told.rows(FIRST_ROWS // 5))
    await acknowledged(one, FIRST_ROWS * 4 // 5)
    assert seen(settings)[1] is None
    two.add(told.rows(FIRST_ROWS // 2, at_us=NOON_US + 60_000_000))
    await acknowledged(two, FIRST_ROWS // 2)
    one.add(told.rows(50, shift=3.0))
    await acknowledged(one, FIRST_ROWS * 4 // 5 + 50)
    await one.stop()
    await two.stop()
    traffic, profile = seen(settings)
    assert profile is not None
    assert profile.rows == traffic.rows == FIRST_ROWS * 13 // 10 + 50
    names = [(field.layout.subject.side, field.layout.subject.name) for field in profile.fields()]
    assert names == [("input", "a"), ("input", "b"), ("output", "score")]


async def test_a_training_profile_is_the_reference_and_first_rows_add_what_it_lacks(
    settings: Settings, start: Callable[..., SidecarLog]
) -> None:
    fields = (Field("a", LogicalType.NUMBER), Field("b", LogicalType.NUMBER), Field("c", LogicalType.STRING))
    outputs = (OutputSpec(name="score", type="number"),)
    training = build_profile(
        pa.table({"a": np.linspace(0, 1, 500), "b": np.linspace(0, 1, 500), "c": ["x"] * 500}), fields, outputs
    )
    sha256 = open_blobs(settings).put(training.to_bytes())
    told = Told(fields=fields, outputs=outputs, profile_sha256=sha256, log=LogSpec(redact=("b",)))
    log = start(told)
    rows = [(0.5, 0.5, "x" if number % 2 else "new") for number in range(FIRST_ROWS)]
    log.add(told.entry(rows, np.arange(float(FIRST_ROWS))))
    await acknowledged(log, FIRST_ROWS)
    await log.stop()
    _, profile = seen(settings)
    assert profile is not None
    found = {field.layout.subject.name: field for field in profile.fields()}
    assert set(found) == {"a", "c", "score"}
    assert found["a"].layout.edges == training.fields()[0].layout.edges
    assert found["c"].out_of_range == FIRST_ROWS // 2


async def test_telling_costs_microseconds(start: Callable[..., SidecarLog]) -> None:
    told = Told(fields=tuple(Field(f"f{number}", LogicalType.NUMBER) for number in range(30)))
    log = start(told, max_waiting_rows=10**6)
    entry = told.entry(np.zeros((1, 30)), np.zeros(1, np.float32))
    log.add(entry)
    await acknowledged(log, 1)
    best = 1.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1_024):
            log.add(entry)
        best = min(best, (time.perf_counter() - began) / 1_024)
        await asyncio.sleep(0.3)
    assert best < 20e-6  # two to five on a quiet machine


async def test_several_sidecars_write_one_home(settings: Settings, start: Callable[..., SidecarLog]) -> None:
    told = Told()
    logs = [start(told) for _ in range(3)]
    for log in logs:
        log.add(told.rows(10))
    for log in logs:
        await acknowledged(log, 10)
        await log.stop()
    assert seen(settings)[0].rows == 30
    assert len({row["prediction_id"] for row in logged(settings)}) == 30
