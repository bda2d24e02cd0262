"""What every table store promises to one caller at a time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction, Expiry, TableStore

STREAM = "env_1/flights"


def numbers(*values: int) -> pa.Table:
    return pa.table({"id": pa.array(values, pa.int64())})


def once(version: int, *, first: int | None = None) -> AppTransaction:
    return AppTransaction("hw:test", version, first)


def rows_of(lake: TableStore, stream: str = STREAM) -> list[dict[str, Any]]:
    """Read a table the way any other reader would: its files, by name, columns by name."""
    state = lake.state(stream)
    assert state is not None
    tables = [pq.read_table(file) for file in state.files]
    rows: list[dict[str, Any]] = pa.concat_tables(tables, promote_options="permissive").to_pylist()
    assert state.rows == len(rows)
    return rows


def ids(lake: TableStore) -> list[int]:
    return sorted(row["id"] for row in rows_of(lake))


class TestAppending:
    def test_the_first_rows_make_the_table(self, lake: TableStore) -> None:
        assert lake.state(STREAM) is None
        version = lake.append(STREAM, numbers(1, 2), once(1))
        state = lake.state(STREAM)
        assert state is not None
        assert (state.stream, state.version, state.rows) == (STREAM, version, 2)
        assert all(Path(file).is_absolute() for file in state.files)
        assert ids(lake) == [1, 2]

    @pytest.mark.parametrize("folder", ["my home", "höme 日本", "50% # ? + ~", "it's"])
    def test_files_are_named_as_the_disk_names_them(self, tmp_path: Path, folder: str) -> None:
        lake = open_lake(Settings(home=tmp_path / folder))
        lake.append(STREAM, numbers(1, 2), once(1))
        assert ids(lake) == [1, 2]

    def test_the_same_transaction_appends_once(self, lake: TableStore, lake_settings: Settings) -> None:
        version = lake.append(STREAM, numbers(1), once(5))
        assert lake.append(STREAM, numbers(1), once(5)) == version
        assert lake.append(STREAM, numbers(1), once(4)) == version
        assert open_lake(lake_settings).append(STREAM, numbers(1), once(5)) == version
        assert ids(lake) == [1]

    def test_other_writers_do_not_stand_in_the_way(self, lake: TableStore) -> None:
        lake.append(STREAM, numbers(1), AppTransaction("a", 5))
        lake.append(STREAM, numbers(2), AppTransaction("b", 1))
        assert (lake.committed(STREAM, "a"), lake.committed(STREAM, "b"), lake.committed(STREAM, "c")) == (5, 1, None)
        assert ids(lake) == [1, 2]

    def test_a_table_with_a_part_of_the_rows_refuses_the_whole(self, lake: TableStore) -> None:
        lake.append(STREAM, numbers(1, 2), once(2, first=1))
        with pytest.raises(HeadwaterError) as caught:
            lake.append(STREAM, numbers(2, 3), once(3, first=2))
        assert caught.value.code == "conflict"
        lake.append(STREAM, numbers(3), once(3, first=3))
        assert ids(lake) == [1, 2, 3]

    def test_a_missing_table_has_nothing_committed(self, lake: TableStore) -> None:
        assert lake.committed(STREAM, "a") is None
        assert lake.streams("env_1") == []

    @pytest.mark.parametrize("stream", ["flights", "env/../other", "/etc/x", "a/b/c", "../x", "env/", "env/.hidden"])
    def test_a_stream_cannot_name_a_place_outside(self, lake: TableStore, stream: str) -> None:
        with pytest.raises(HeadwaterError, match="not of the form"):
            lake.append(stream, numbers(1), once(1))

    def test_the_tables_of_an_environment_are_listed(self, lake: TableStore) -> None:
        for stream in ("env_1/b", "env_1/a", "env_2/c"):
            lake.append(stream, numbers(1), once(1))
        assert lake.streams("env_1") == ["env_1/a", "env_1/b"]
        assert lake.streams("env_9") == lake.streams("..") == lake.streams("") == []


class TestState:
    def test_another_process_sees_each_commit(self, lake: TableStore, lake_settings: Settings) -> None:
        reader = open_lake(lake_settings)
        for n in range(1, 60):
            lake.append(STREAM, numbers(n), once(n))
            state = reader.state(STREAM)
            assert state is not None
            assert state.rows == n

    def test_nothing_is_read_again_while_nothing_changed(self, lake: TableStore) -> None:
        lake.append(STREAM, numbers(1), once(1))
        assert lake.state(STREAM) is lake.state(STREAM)


class TestColumns:
    def test_new_columns_are_null_in_older_rows(self, lake: TableStore) -> None:
        lake.append(STREAM, numbers(1), once(1))
        lake.append(STREAM, pa.table({"id": [2], "note": ["x"]}), once(2))
        lake.append(STREAM, numbers(3), once(3))
        rows = sorted(rows_of(lake), key=lambda row: row["id"])
        assert [row["note"] for row in rows] == [None, "x", None]

    def test_structs_grow_members(self, lake: TableStore) -> None:
        lake.append(STREAM, pa.table({"id": [1], "s": [{"a": 1}], "l": [[{"a": 1}]]}), once(1))
        lake.append(STREAM, pa.table({"id": [2], "s": [{"b": "x"}], "l": [[{"b": "y"}]]}), once(2))
        state = lake.state(STREAM)
        assert state is not None
        assert state.schema.field("s").type == pa.struct([("a", pa.int64()), ("b", pa.string())])
        newest = next(row for row in rows_of(lake) if row["id"] == 2)
        assert newest["s"] == {"a": None, "b": "x"}
        assert newest["l"] == [{"a": None, "b": "y"}]

    def test_every_type_keeps_its_values(self, lake: TableStore) -> None:
        row = {
            "i": -(2**63),
            "f": 0.1,
            "b": True,
            "t": "ü\x00",
            "bin": b"\x00\xff",
            "d": date(1, 1, 1),
            "at": datetime(2013, 11, 3, 5, 30, 0, 1, tzinfo=UTC),
            "dec": Decimal("12345678901234567890.123456789"),
            "l": [1, None],
            "m": [("k", 1.5)],
            "s": {"x": None},
        }
        schema = pa.schema(
            [
                ("i", pa.int64()),
                ("f", pa.float64()),
                ("b", pa.bool_()),
                ("t", pa.string()),
                ("bin", pa.binary()),
                ("d", pa.date32()),
                ("at", pa.timestamp("us", "UTC")),
                ("dec", pa.decimal128(38, 9)),
                ("l", pa.list_(pa.int64())),
                ("m", pa.map_(pa.string(), pa.float64())),
                ("s", pa.struct([("x", pa.string())])),
            ]
        )
        rows = pa.Table.from_pylist([row, dict.fromkeys(row)], schema)
        for n in range(1, 25):
            lake.append(STREAM, rows, once(n))
            lake.maintain(STREAM)
        assert len(lake.state(STREAM).files) < 24  # type: ignore[union-attr]
        assert rows_of(lake) == [row, dict.fromkeys(row)] * 24

    @pytest.mark.parametrize(
        ("column", "says"),
        [
            (pa.array(["x"]), "is int64 in the table and string in the rows"),
            (pa.array([1.5]), "is int64 in the table and double in the rows"),
        ],
    )
    def test_another_type_is_refused_and_nothing_is_stored(self, lake: TableStore, column: pa.Array, says: str) -> None:
        lake.append(STREAM, numbers(1), once(1))
        with pytest.raises(HeadwaterError, match=says) as caught:
            lake.append(STREAM, pa.table({"id": column}), once(2))
        assert caught.value.code == "schema_mismatch"
        assert ids(lake) == [1]
        assert lake.append(STREAM, numbers(2), once(2))

    def test_names_that_differ_only_in_case_are_refused(self, lake: TableStore) -> None:
        lake.append(STREAM, numbers(1), once(1))
        with pytest.raises(HeadwaterError, match="only in case"):
            lake.append(STREAM, pa.table({"ID": [1]}), once(2))
        with pytest.raises(HeadwaterError, match="only in case"):
            lake.append("env_1/new", pa.table({"a": [1], "A": [1]}), once(1))

    def test_a_value_that_would_change_is_refused(self, lake: TableStore) -> None:
        at = pa.array([1], pa.timestamp("ns", "UTC"))
        with pytest.raises(HeadwaterError, match="lose data"):
            lake.append(STREAM, pa.table({"at": at}), once(1))


DAY = timedelta(days=1)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def aged(*rows: tuple[str | None, int | None, int]) -> pa.Table:
    """Return rows of an owner (or none), some days old (or of unknown age), with a number."""
    schema = pa.schema([("owner", pa.string()), ("at", pa.timestamp("us", "UTC")), ("id", pa.int64())])
    made = [
        {"owner": owner, "at": None if days is None else NOW - days * DAY, "id": number} for owner, days, number in rows
    ]
    return pa.Table.from_pylist(made, schema)


def older_than(**days: int) -> Expiry:
    return Expiry("owner", "at", {owner: NOW - count * DAY for owner, count in days.items()})


class TestExpiry:
    def test_old_rows_of_each_owner_go_and_every_other_row_stays(self, lake: TableStore) -> None:
        lake.append(STREAM, aged(("a", 40, 1), ("a", 20, 2), ("b", 40, 3)), once(1))
        lake.append(STREAM, aged(("a", 31, 4), ("a", 50, 5)), once(2))
        lake.append(STREAM, aged(("b", 5, 6), ("b", 70, 7), ("c", 900, 8)), once(3))
        lake.append(STREAM, aged((None, 900, 9), ("a", None, 10), (None, None, 11)), once(4))
        assert lake.expire(STREAM, older_than(a=30, b=60)) == 4
        assert ids(lake) == [2, 3, 6, 8, 9, 10, 11]
        assert lake.expire(STREAM, older_than(a=30, b=60)) == 0

    def test_the_instant_itself_stays(self, lake: TableStore) -> None:
        lake.append(STREAM, aged(("a", 30, 1)), once(1))
        assert lake.expire(STREAM, older_than(a=30)) == 0

    def test_rows_that_went_do_not_come_back_with_what_is_done_next(
        self, lake: TableStore, lake_settings: Settings
    ) -> None:
        for n in range(1, 30):
            lake.append(STREAM, aged(("a", 60 - n, n)), once(n))
        assert lake.expire(STREAM, older_than(a=40)) == 19
        assert lake.append(STREAM, aged(("a", 60, 1)), once(1))  # a repeated append is still known as done
        lake.append(STREAM, aged(("a", 0, 30)), once(30))
        for _ in range(3):
            lake.maintain(STREAM)
        assert ids(lake) == list(range(20, 31))
        assert open_lake(lake_settings).expire(STREAM, older_than(a=40)) == 0
        assert lake.committed(STREAM, "hw:test") == 30

    def test_files_with_old_rows_alone_go_without_a_successor(self, lake: TableStore) -> None:
        lake.append(STREAM, aged(("a", 60, 1), ("a", 61, 2)), once(1))
        lake.append(STREAM, aged(("a", 1, 3)), once(2))
        assert lake.expire(STREAM, older_than(a=30)) == 2
        assert len(lake.state(STREAM).files) == 1  # type: ignore[union-attr]
        assert lake.expire(STREAM, Expiry("owner", "at", {"a": NOW + DAY})) == 1
        assert rows_of_nothing(lake)
        lake.append(STREAM, aged(("a", 1, 4)), once(3))
        assert ids(lake) == [4]

    def test_a_pinned_version_stays_readable_until_the_vacuum(self, lake: TableStore, lake_settings: Settings) -> None:
        lake.append(STREAM, aged(("a", 60, 1), ("a", 1, 2)), once(1))
        before = lake.state(STREAM)
        assert before is not None
        assert lake.expire(STREAM, older_than(a=30)) == 1
        assert [pq.read_metadata(file).num_rows for file in before.files] == [2]
        hasty = lake_settings.lake.model_copy(update={"vacuum_retention_hours": 0})
        open_lake(lake_settings.model_copy(update={"lake": hasty})).expire(STREAM, older_than(a=30))
        assert not Path(before.files[0]).exists()
        assert ids(lake) == [2]

    def test_what_does_not_exist_has_no_old_rows(self, lake: TableStore) -> None:
        assert lake.expire(STREAM, older_than(a=30)) == 0
        lake.append(STREAM, numbers(1), once(1))
        assert lake.expire(STREAM, older_than(a=30)) == 0
        assert lake.expire(STREAM, Expiry("owner", "at", {})) == 0
        assert ids(lake) == [1]


def rows_of_nothing(lake: TableStore) -> bool:
    state = lake.state(STREAM)
    return state is not None and not state.files and state.rows == 0


class TestUpkeep:
    def test_many_small_files_become_few_and_every_row_stays(self, lake: TableStore) -> None:
        compacted = 0
        for n in range(1, 61):
            lake.append(STREAM, numbers(n), once(n))
            compacted += lake.maintain(STREAM).compacted
        state = lake.state(STREAM)
        assert state is not None
        assert compacted > 40
        assert len(state.files) < 25
        assert ids(lake) == list(range(1, 61))
        assert lake.committed(STREAM, "hw:test") == 60

    def test_a_reader_may_go_on_with_the_files_it_knows(self, lake: TableStore) -> None:
        for n in range(1, 12):
            lake.append(STREAM, numbers(n), once(n))
        before = lake.state(STREAM)
        assert before is not None
        assert lake.maintain(STREAM).compacted
        assert sum(pq.read_metadata(file).num_rows for file in before.files) == 11

    def test_nothing_is_done_when_nothing_is_due(self, lake: TableStore) -> None:
        assert lake.maintain(STREAM).checkpointed is False
        lake.append(STREAM, numbers(1), once(1))
        assert lake.maintain(STREAM).checkpointed is False


class TestEarlierVersions:
    def test_an_earlier_version_is_what_it_was(self, lake: TableStore, lake_settings: Settings) -> None:
        began = datetime.now(UTC) - timedelta(seconds=2)
        first = lake.append(STREAM, numbers(1, 2), once(1))
        second = lake.append(STREAM, numbers(3), once(2))
        for store in (lake, open_lake(lake_settings)):
            states = [store.state_at(STREAM, version) for version in (first, second)]
            assert [state and (state.version, state.rows) for state in states] == [(first, 2), (second, 3)]
            assert all(state and state.committed_at and began < state.committed_at for state in states)

    def test_a_version_that_never_was_or_has_lost_its_files_is_none(self, lake: TableStore) -> None:
        version = lake.append(STREAM, numbers(1), once(1))
        lake.append(STREAM, numbers(2), once(2))
        assert lake.state_at(STREAM, 99) is None
        assert lake.state_at(STREAM, 2**80) is None
        assert lake.state_at("env_1/nothing", 0) is None
        state = lake.state_at(STREAM, version)
        assert state is not None
        Path(state.files[0]).unlink()
        assert lake.state_at(STREAM, version) is None
