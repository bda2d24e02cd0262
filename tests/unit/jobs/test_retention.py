"""What the sealer forgets: refused rows, verdicts and row keys past what their contracts say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.builders.datasets import make_contract, make_dataset
from tests.builders.snapshots import make_snapshot
from tests.fakes.control import FakeControl

from headwater.contracts.model import Dedup
from headwater.core.clock import FrozenClock, epoch_micros
from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot
from headwater.core.settings import Settings
from headwater.core.snapshot import DatasetSpec
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import AppTransaction, TableStore
from headwater.jobs.retention import read_retentions
from headwater.jobs.upkeep import Upkeep

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
STREAM = "env_1/_hw_quarantine"


@pytest.fixture
def control(tmp_path: Path) -> FakeControl:
    control = FakeControl()
    control.establish_trust(Home(tmp_path))
    return control


def keep(home: Path, control: FakeControl, number: int, *datasets: DatasetSpec) -> Path:
    """Put a snapshot where services keep theirs."""
    snapshot = make_snapshot(number, datasets={dataset.name: dataset for dataset in datasets})
    path = Home(home).snapshots / "env_1" / f"{number}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(SignedSnapshot.sign(snapshot, control.key).to_bytes())
    return path


def dataset(name: str, days: int | None = 30, within: timedelta | None = None) -> DatasetSpec:
    retention = None if days is None else days * DAY
    return make_dataset(make_contract(name, dedup=Dedup(("id",), within=within), quarantine_retention=retention))


def refused(lake: TableStore, *rows: tuple[str, int]) -> None:
    """Seal refused rows of datasets, some days old."""
    schema = pa.schema([("dataset_id", pa.string()), ("received_at", pa.timestamp("us", "UTC"))])
    made = [{"dataset_id": f"dst_{name}", "received_at": NOW - days * DAY} for name, days in rows]
    lake.append(STREAM, pa.Table.from_pylist(made, schema), AppTransaction("test", 1))


def left(lake: TableStore) -> list[tuple[str, int]]:
    state = lake.state(STREAM)
    assert state is not None
    rows = [row for file in state.files for row in pq.read_table(file).to_pylist()]
    return sorted((row["dataset_id"].removeprefix("dst_"), (NOW - row["received_at"]).days) for row in rows)


def remember(journal: Journal, stream: str, days: int) -> bytes:
    key = f"{days:016}".encode()
    journal.write(lambda tx: tx.put_keys(stream, {key: bytes(16)}, epoch_micros(NOW - days * DAY)))
    return key


def prune(journal: Journal, lake: TableStore, settings: Settings) -> None:
    upkeep = Upkeep(journal, lake, settings, FrozenClock(NOW))
    upkeep.prune()
    upkeep.close()


def test_the_newest_configuration_that_verifies_says_what_is_kept(tmp_path: Path, control: FakeControl) -> None:
    home = Home(tmp_path)
    assert read_retentions(home) == []
    keep(tmp_path, control, 9, dataset("orders", 7))
    keep(tmp_path, control, 10, dataset("orders", 8), dataset("events", None, within=DAY))
    keep(tmp_path, FakeControl(), 11, dataset("orders", 1))  # signed by somebody else
    (home.snapshots / "env_1" / "12.json").write_text("{")
    (retention,) = read_retentions(home)
    assert retention.quarantine_stream == STREAM
    assert retention.quarantine == {"dst_orders": 8 * DAY, "dst_events": None}
    assert retention.keys == {"env_1/events": DAY, "env_1/flag_exposures": DAY}


def test_refused_rows_go_when_their_time_is_over_and_the_ledger_stays(
    journal: Journal, lake: TableStore, settings: Settings, control: FakeControl
) -> None:
    keep(
        settings.home, control, 1, dataset("orders", 30), dataset("events", None), dataset("facts", 5), dataset("z", 0)
    )
    refused(
        lake, ("orders", 31), ("orders", 29), ("events", 900), ("z", 900), ("facts", 6), ("facts", 4), ("gone", 900)
    )
    prune(journal, lake, settings)
    assert left(lake) == [("events", 900), ("facts", 4), ("gone", 900), ("orders", 29), ("z", 900)]


def test_without_a_configuration_nothing_expires(journal: Journal, lake: TableStore, settings: Settings) -> None:
    refused(lake, ("orders", 900))
    key = remember(journal, "env_1/orders", 900)
    prune(journal, lake, settings)
    assert left(lake) == [("orders", 900)]
    assert journal.find_keys("env_1/orders", [key])


def test_verdicts_go_once_the_rows_they_are_about_are_gone(
    journal: Journal, lake: TableStore, settings: Settings, control: FakeControl
) -> None:
    keep(settings.home, control, 1, dataset("orders", 30), dataset("facts", 5))
    refused(lake, ("orders", 40), ("orders", 20))
    old, young = remember(journal, STREAM, 35), remember(journal, STREAM, 10)
    prune(journal, lake, settings)
    assert set(journal.find_keys(STREAM, [old, young])) == {
        old,
        young,
    }  # there may have been more rows than one pass takes
    prune(journal, lake, settings)
    assert set(journal.find_keys(STREAM, [old, young])) == {young}


def test_verdicts_stay_where_any_rows_do_for_ever(
    journal: Journal, lake: TableStore, settings: Settings, control: FakeControl
) -> None:
    keep(settings.home, control, 1, dataset("orders", 30), dataset("events", None))
    key = remember(journal, STREAM, 900)
    prune(journal, lake, settings)
    assert journal.find_keys(STREAM, [key])


def test_row_keys_are_remembered_as_long_as_the_contract_says(
    journal: Journal, lake: TableStore, settings: Settings, control: FakeControl
) -> None:
    ages = timedelta(days=999_999_000)
    keep(settings.home, control, 1, dataset("orders", within=7 * DAY), dataset("facts"), dataset("ages", within=ages))
    keys = {stream: remember(journal, f"env_1/{stream}", 8) for stream in ("orders", "facts", "ages")}
    fresh = remember(journal, "env_1/orders", 6)
    prune(journal, lake, settings)
    assert set(journal.find_keys("env_1/orders", [keys["orders"], fresh])) == {fresh}
    assert journal.find_keys("env_1/facts", [keys["facts"]])
    assert journal.find_keys("env_1/ages", [keys["ages"]])
