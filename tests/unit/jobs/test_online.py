"""Views' online state follows the lake: built, fed as rows are sealed, caught up after whatever happened."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.builders.journal import ipc
from tests.builders.snapshots import make_snapshot

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot, public_key_text
from headwater.core.settings import Settings
from headwater.core.snapshot import DatasetSpec, FeatureRefSpec, FeatureSpec, FeatureViewSpec, Snapshot
from headwater.engines.features.fetch import FeatureFetcher
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Block, Journal, Span
from headwater.engines.lake.protocol import TableStore
from headwater.engines.online import open_online
from headwater.engines.online.protocol import OnlineStore
from headwater.engines.online.sqlite import SqliteOnlineStore
from headwater.jobs.online import feeder as feeder_module
from headwater.jobs.online import keeper as keeper_module
from headwater.jobs.online.feeder import Feeder
from headwater.jobs.online.keeper import OnlineKeeper
from headwater.jobs.sealer import Sealer

ENVIRONMENT = "env_1"
STREAM = f"{ENVIRONMENT}/readings"
CONTRACT = Contract(
    "readings",
    "1.0",
    (
        Field("sensor", LogicalType.STRING),
        Field("at", LogicalType.TIMESTAMP),
        Field("value", LogicalType.NUMBER),
    ),
)
VIEW = FeatureViewSpec(
    id="fv_1",
    name="recent",
    revision=1,
    dataset="readings",
    entities=("sensor",),
    entity_types=("string",),
    event_time="at",
    features=(
        FeatureSpec(name="value", type="number", kind="column", column="value"),
        FeatureSpec(name="count", type="integer", kind="aggregate", aggregate="count", window_seconds=86_400),
        FeatureSpec(
            name="total", type="number", kind="aggregate", aggregate="sum", column="value", window_seconds=86_400
        ),
    ),
)


def publish(home: Path, number: int = 1, view: FeatureViewSpec = VIEW) -> Snapshot:
    """Put a signed snapshot where services keep theirs."""
    key = Ed25519PrivateKey.generate()
    spec = DatasetSpec(id="ds_1", name="readings", active_version="1.0", contracts={"1.0": contract_to_spec(CONTRACT)})
    snapshot = make_snapshot(number, environment=ENVIRONMENT, datasets={"readings": spec}, features={view.name: view})
    (home / "run" / "snapshot.pub").write_text(public_key_text(key))
    directory = home / "run" / "snapshots" / ENVIRONMENT
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{number}.json").write_bytes(SignedSnapshot.sign(snapshot, key).to_bytes())
    return snapshot


class Bench:
    """A journal, a lake and an online store in one home."""

    def __init__(self, journal: Journal, lake: TableStore, settings: Settings) -> None:
        self.journal, self.lake, self.settings = journal, lake, settings
        self.store: OnlineStore = open_online(settings)
        self.sent = 0

    def send(self, *values: float, sensor: str = "a") -> None:
        """Have rows accepted, each a second after the one before."""
        now = time.time_ns() // 1_000
        rows = pa.table(
            {
                "sensor": [sensor] * len(values),
                "at": pa.array([now - 60_000_000 + n for n in range(len(values))], pa.timestamp("us", "UTC")),
                "value": list(values),
            }
        )
        block = Block(STREAM, ipc(rows), len(values), (Span("rcp_1", len(values), now, "1.0"),))
        self.journal.write(lambda tx: tx.append(block))
        self.journal.write(lambda tx: tx.put_receipts([_receipt(len(values), self.sent)]))
        self.sent += 1

    def ask(self, sensor: str = "a", view: FeatureViewSpec = VIEW) -> dict[str, Any]:
        needs = [FeatureRefSpec(field=f.name, view=view.name, feature=f.name) for f in view.features]
        fetch = FeatureFetcher(self.store).fetch(
            ENVIRONMENT, {view.name: view}, needs, [{"sensor": sensor}], now_us=time.time_ns() // 1_000
        )
        return asyncio.run(fetch).values[0]

    def answers(self, expected: dict[str, Any], sensor: str = "a", view: FeatureViewSpec = VIEW) -> bool:
        try:
            return self.ask(sensor, view) == expected
        except HeadwaterError as error:
            if error.code != "features_unavailable":
                raise
            return False


def _receipt(rows: int, number: int) -> Any:
    from tests.builders.journal import make_receipt

    from headwater.engines.journal.protocol import Counts

    return make_receipt(f"rcp_{number}", stream=STREAM, counts=Counts(rows, accepted=rows))


@pytest.fixture
def bench(journal: Journal, lake: TableStore, settings: Settings) -> Iterator[Bench]:
    bench = Bench(journal, lake, settings)
    yield bench
    bench.store.close()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(feeder_module, "_FORGET_SECONDS", 0.0)
    monkeypatch.setattr(feeder_module, "_PIN_SECONDS", 0.001)


class Running:
    """A sealer in a thread."""

    def __init__(self, bench: Bench) -> None:
        self.sealer = Sealer(bench.journal, bench.lake, bench.settings)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.sealer.run, args=(self.stop,))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def test_rows_show_within_moments_of_being_sealed(bench: Bench) -> None:
    publish(bench.settings.home)
    with Running(bench):
        bench.send(1.0, 2.0)
        until(lambda: bench.answers({"value": 2.0, "count": 2, "total": 3.0}))
        bench.send(3.0)
        bench.send(5.0, sensor="b")
        until(lambda: bench.answers({"value": 3.0, "count": 3, "total": 6.0}))
        until(lambda: bench.answers({"value": 5.0, "count": 1, "total": 5.0}, sensor="b"))


def test_a_view_that_comes_later_begins_with_what_the_lake_holds(bench: Bench) -> None:
    with Running(bench):
        bench.send(1.0, 2.0)
        until(lambda: bench.lake.state(STREAM) is not None)
        publish(bench.settings.home)
        until(lambda: bench.answers({"value": 2.0, "count": 2, "total": 3.0}))
        changed = VIEW.model_copy(update={"revision": 2, "features": VIEW.features[:2]})
        publish(bench.settings.home, 2, changed)
        until(lambda: bench.answers({"value": 2.0, "count": 2}, view=changed))


def test_what_was_sealed_while_nobody_fed_is_caught_up(bench: Bench) -> None:
    publish(bench.settings.home)
    with Running(bench):
        bench.send(1.0)
        until(lambda: bench.answers({"value": 1.0, "count": 1, "total": 1.0}))
    silent = Sealer(bench.journal, bench.lake, bench.settings)
    bench.send(2.0)
    silent.drain()
    silent._upkeep.close()
    with Running(bench):
        until(lambda: bench.answers({"value": 2.0, "count": 2, "total": 3.0}))


def feeding(bench: Bench) -> tuple[Feeder, Snapshot]:
    snapshot = publish(bench.settings.home)
    return Feeder(bench.store, bench.journal, bench.lake, bench.settings), snapshot


def seal(bench: Bench) -> pa.Table:
    """Seal what waits; return the rows of the last segment."""
    sealer = Sealer(bench.journal, bench.lake, bench.settings)
    tables: list[pa.Table] = []
    sealer._online.offer = lambda stream, rows: tables.append(rows)  # type: ignore[method-assign]
    sealer.drain()
    sealer._upkeep.close()
    return tables[-1]


def test_rows_that_are_offered_twice_count_once(bench: Bench) -> None:
    feeder, snapshot = feeding(bench)
    bench.send(1.0, 2.0)
    rows = seal(bench)
    for _ in range(3):
        feeder.append(feeder.target(snapshot, "recent"), rows)
    assert bench.ask() == {"value": 2.0, "count": 2, "total": 3.0}
    feeder.close()


def test_a_segment_that_was_missed_is_read_from_the_lake(bench: Bench) -> None:
    feeder, snapshot = feeding(bench)
    bench.send(1.0)
    feeder.append(feeder.target(snapshot, "recent"), seal(bench))
    bench.send(2.0)
    seal(bench)  # never offered
    bench.send(4.0)
    feeder.append(feeder.target(snapshot, "recent"), seal(bench))
    assert bench.ask() == {"value": 4.0, "count": 3, "total": 7.0}
    feeder.close()


def test_a_crash_between_the_values_and_their_note_counts_nothing_twice(bench: Bench) -> None:
    feeder, snapshot = feeding(bench)
    bench.send(1.0)
    feeder.append(feeder.target(snapshot, "recent"), seal(bench))
    note = bench.store.note("view/env_1/recent/" + feeder.materialiser.find(ENVIRONMENT, VIEW).layout.digest)  # type: ignore[union-attr]
    bench.send(2.0)
    bench.send(8.0, sensor="b")
    feeder.append(feeder.target(snapshot, "recent"), seal(bench))
    # As if it had died before the note: the values are there, and half of the next segment comes with the same rows.
    name = "view/env_1/recent/" + feeder.materialiser.find(ENVIRONMENT, VIEW).layout.digest  # type: ignore[union-attr]
    assert note is not None
    bench.store.write([], {name: note})
    bench.send(4.0)
    seal(bench)
    feeder.bring_up(feeder.target(snapshot, "recent"))
    assert bench.ask() == {"value": 4.0, "count": 3, "total": 7.0}
    assert bench.ask("b") == {"value": 8.0, "count": 1, "total": 8.0}
    feeder.close()


def test_a_build_that_was_stopped_goes_on_where_it_was(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    feeder, snapshot = feeding(bench)
    for sensor in "abcdefgh":
        bench.send(1.0, sensor=sensor)
    seal(bench)
    monkeypatch.setattr(feeder_module, "PART_ROWS", 2)
    seen: list[int] = []

    def stop(done: int, parts: int) -> None:
        seen.append(done)
        if done == 3 and parts == 5:
            raise KeyboardInterrupt

    target = feeder.target(snapshot, "recent")
    with pytest.raises(KeyboardInterrupt):
        feeder.build(target, report=stop)
    feeder.build(target, report=lambda done, _parts: seen.append(done))
    assert seen == [1, 2, 3, 4, 5]
    assert all(bench.ask(sensor) == {"value": 1.0, "count": 1, "total": 1.0} for sensor in "abcdefgh")
    feeder.close()


def test_a_new_generation_replaces_the_old_one(bench: Bench) -> None:
    feeder, snapshot = feeding(bench)
    bench.send(1.0)
    seal(bench)
    target = feeder.target(snapshot, "recent")
    first = feeder.build(target)
    second = feeder.build(target)
    assert (first.progress.generation, second.progress.generation) == (1, 2)
    assert bench.ask() == {"value": 1.0, "count": 1, "total": 1.0}
    key = first.space + b"\x91\xa1a"
    assert bench.store.read([key]) == [None]
    feeder.close()


def test_a_table_that_is_older_than_the_journal_counts_whole_and_goes_on(bench: Bench, tmp_path: Path) -> None:
    feeder, snapshot = feeding(bench)
    bench.send(1.0, 2.0, 3.0)
    feeder.append(feeder.target(snapshot, "recent"), seal(bench))
    feeder.close()
    young = open_journal(bench.settings.model_copy(update={"home": tmp_path / "young"}))
    bench.journal, old = young, bench.journal
    feeder = Feeder(bench.store, young, bench.lake, bench.settings)
    feeder.bring_up(feeder.target(snapshot, "recent"))
    assert bench.ask() == {"value": 3.0, "count": 3, "total": 6.0}
    bench.send(4.0)  # number 1 of the new journal
    rows = seal(bench)
    feeder.append(feeder.target(snapshot, "recent"), rows)
    feeder.append(feeder.target(snapshot, "recent"), rows)
    assert bench.ask() == {"value": 4.0, "count": 4, "total": 10.0}
    feeder.close()
    young.close()
    bench.journal = old


def test_trouble_is_reported_and_mends_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "_FIRST_PAUSE_SECONDS", 0.05)
    publish(bench.settings.home)
    real, broken = SqliteOnlineStore.write, threading.Event()
    broken.set()

    def write(self: SqliteOnlineStore, *arguments: Any) -> None:
        if broken.is_set():
            raise HeadwaterError("features_unavailable", "the store is away")
        real(self, *arguments)

    monkeypatch.setattr(SqliteOnlineStore, "write", write)
    with Running(bench) as running:
        bench.send(1.0)
        until(lambda: bool(running.sealer._online.errors()))
        until(lambda: bench.lake.state(STREAM) is not None)  # sealing does not wait for it
        assert running.sealer._online.errors()[0]["error"] == "features_unavailable: the store is away"
        broken.clear()
        until(lambda: bench.answers({"value": 1.0, "count": 1, "total": 1.0}))
        until(lambda: not running.sealer._online.errors())


def test_too_much_at_once_is_read_from_the_lake(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "_QUEUE_BYTES", 1)
    publish(bench.settings.home)
    with Running(bench):
        bench.send(1.0, 2.0)
        until(lambda: bench.answers({"value": 2.0, "count": 2, "total": 3.0}))


def test_a_snapshot_that_nobody_signed_feeds_nothing(bench: Bench) -> None:
    publish(bench.settings.home)
    (bench.settings.home / "run" / "snapshot.pub").write_text(public_key_text(Ed25519PrivateKey.generate()))
    keeper = OnlineKeeper(bench.journal, bench.lake, bench.settings)
    keeper.start()
    time.sleep(0.2)
    keeper.close()
    with pytest.raises(HeadwaterError, match="not materialised"):
        bench.ask()
    assert Home(bench.settings.home).kept_environments() == [ENVIRONMENT]
