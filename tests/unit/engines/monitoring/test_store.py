from __future__ import annotations

import stat
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.engines.monitoring.merging import hour_of, merged_profile, merged_traffic
from headwater.engines.monitoring.profile import Profile, build_profile
from headwater.engines.monitoring.store import HOURS_KEPT, MINUTES_KEPT, FirstRows, MonitoringStore, Span
from headwater.engines.monitoring.traffic import Traffic

REFERENCE = build_profile(pa.table({"a": np.arange(100.0)}), [Field("a", LogicalType.NUMBER)], ())
NOW = 30_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "monitoring" / "profiles.sqlite3"


def span(minute: int, *, writer: str = "w", epoch: int = 1, values: tuple[float, ...] = (1.0,)) -> Span:
    traffic = Traffic()
    traffic.add(["champion"] * len(values), len(values), [1_000] * len(values))
    profile = Profile(REFERENCE.layout)
    profile.update(np.array([values]), [])
    return Span("env_1", "mdv_1", minute, 1, writer, epoch, traffic.to_bytes(), profile.layout.id, profile.counters())


def test_a_writer_replaces_its_own_rows_and_readers_add_up(path: Path) -> None:
    one, two = MonitoringStore(path), MonitoringStore(path)
    one.put([span(5), span(6)])
    one.put([span(5, epoch=2, values=(1.0, 2.0))])
    two.put([span(5, writer="v", values=(3.0, 4.0, 5.0))])
    reader = MonitoringStore(path, read_only=True)
    found = reader.spans("env_1", "mdv_1", since=5, until=7)
    assert [(one.minute, one.writer, one.epoch) for one in found] == [(5, "v", 1), (5, "w", 2), (6, "w", 1)]
    assert merged_traffic(found).rows == merged_profile(found, REFERENCE.layout).rows == 6
    assert reader.spans("env_1", "mdv_1", since=6, until=6) == []
    assert reader.spans("env_2", "mdv_1", since=0, until=NOW) == []
    own = one.own("env_1", "mdv_1", 5, "w")
    assert own is not None
    assert own.epoch == 2
    assert one.own("env_1", "mdv_1", 9, "w") is None
    for store in (one, two, reader):
        store.close()


def test_it_survives_being_closed_and_is_its_owners_alone(path: Path) -> None:
    store = MonitoringStore(path)
    store.put([span(5)])
    store.put_reference("env_1", "mdv_1", "training", REFERENCE.to_bytes())
    store.close()
    again = MonitoringStore(path)
    assert len(again.spans("env_1", "mdv_1", since=0, until=NOW)) == 1
    assert again.reference("env_1", "mdv_1") == ("training", REFERENCE.to_bytes())
    assert again.reference("env_1", "mdv_2") is None
    again.close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_old_minutes_become_hours_and_older_hours_go(path: Path) -> None:
    store = MonitoringStore(path)
    old = (NOW - MINUTES_KEPT) // 60 * 60 - 60
    store.put([span(old), span(old + 1), span(old + 59, writer="v"), span(NOW - 5), span(NOW - HOURS_KEPT - 1)])
    assert store.condense(NOW, lambda spans: hour_of(spans, REFERENCE.layout)) == 3
    found = store.spans("env_1", "mdv_1", since=0, until=NOW)
    assert [(one.minute, one.minutes) for one in found] == [(old, 60), (NOW - 5, 1)]
    assert merged_traffic(found[:1]).requests == 3
    assert merged_profile(found[:1], REFERENCE.layout).rows == 3
    # A minute that comes late joins its hour.
    store.put([span(old + 7)])
    assert store.condense(NOW, lambda spans: hour_of(spans, REFERENCE.layout)) == 1
    found = store.spans("env_1", "mdv_1", since=0, until=NOW)
    assert merged_traffic(found[:1]).requests == 4
    assert store.condense(NOW, lambda spans: hour_of(spans, REFERENCE.layout)) == 0
    store.close()


def test_an_hour_without_a_layout_keeps_its_traffic() -> None:
    hour = hour_of([span(61), span(62)], None)
    assert (hour.minute, hour.minutes, hour.counters, hour.layout) == (60, 60, None, "")
    assert merged_traffic([hour]).requests == 2


def test_counters_of_another_layout_are_left_out() -> None:
    other = build_profile(pa.table({"a": [7.0]}), [Field("a", LogicalType.NUMBER)], ())
    assert merged_profile([span(1)], other.layout).rows == 0


def first_rows(epoch: int, rows: int = 2) -> FirstRows:
    return FirstRows("env_1", "mdv_1", "w", epoch, 5, rows, b"rows")


def test_first_rows_are_kept_once_until_there_is_a_reference(path: Path) -> None:
    store = MonitoringStore(path)
    assert store.add_first_rows(first_rows(1)) == 2
    assert store.add_first_rows(first_rows(1)) == 2
    assert store.add_first_rows(first_rows(2, rows=3)) == 5
    made: list[int] = []

    def make(waiting: list[FirstRows]) -> tuple[str, bytes, list[Span]]:
        made.append(sum(one.rows for one in waiting))
        return "first_rows", REFERENCE.to_bytes(), [span(5, writer="first")]

    store.settle("env_1", "mdv_1", make)
    store.settle("env_1", "mdv_1", make)
    assert made == [5]
    assert store.add_first_rows(first_rows(3)) is None
    assert store.count_first_rows("env_1", "mdv_1") == 0
    assert len(store.spans("env_1", "mdv_1", since=0, until=NOW)) == 1
    store.close()


def test_a_reference_that_cannot_be_made_changes_nothing(path: Path) -> None:
    store = MonitoringStore(path)
    store.add_first_rows(first_rows(1))

    def make(_waiting: list[FirstRows]) -> tuple[str, bytes, list[Span]]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        store.settle("env_1", "mdv_1", make)
    assert store.count_first_rows("env_1", "mdv_1") == 2
    store.settle("env_1", "mdv_2", make)  # nothing waits, so nothing is made
    store.close()


def test_writers_at_once_take_turns(path: Path) -> None:
    MonitoringStore(path).close()

    def write(writer: str) -> None:
        store = MonitoringStore(path)
        for minute in range(30):
            store.put([span(minute, writer=writer)])
        store.close()

    threads = [threading.Thread(target=write, args=(f"w{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = MonitoringStore(path, read_only=True)
    assert merged_traffic(store.spans("env_1", "mdv_1", since=0, until=NOW)).requests == 120
    store.close()


@pytest.mark.parametrize("content", [b"no database at all" * 100, b""])
def test_a_file_that_cannot_be_used_is_named(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(HeadwaterError) as caught:
        MonitoringStore(path, read_only=True)
    assert str(path) in caught.value.detail


def test_a_file_of_another_format_is_refused(path: Path) -> None:
    store = MonitoringStore(path)
    store._connection.pragma("user_version", 9)
    store.close()
    with pytest.raises(HeadwaterError, match="format 9") as caught:
        MonitoringStore(path)
    assert caught.value.code == "home_version"


def test_quantiles_of_latencies_are_interpolated() -> None:
    traffic = Traffic()
    assert traffic.quantile_ms(0.5) is None
    traffic.add(["champion"] * 100, 100, [1_000] * 99 + [10**9])
    assert traffic.quantile_ms(0.5) == pytest.approx(0.9, abs=0.11)
    assert traffic.quantile_ms(1.0) == 80_000
    traffic.fail("overloaded", 3)
    assert (traffic.requests, traffic.errors) == (103, 3)
    assert Traffic.from_bytes(traffic.to_bytes()) == traffic
