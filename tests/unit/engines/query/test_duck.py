from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec
from headwater.engines.lake.protocol import TableState
from headwater.engines.query.duck import describe_endpoint
from headwater.engines.query.failures import explain_failure, scrub
from headwater.engines.query.instance import DuckInstance, DuckLimits
from headwater.engines.query.protocol import TableSource
from headwater.engines.query.tables import plain_source, read_source, table_source
from headwater.engines.query.walk import check_query

LIMITS = DuckLimits(1 << 28, 2)
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string()), ("note", pa.string())])


def write(directory: Path, version: int, *tables: pa.Table) -> TableState:
    files = []
    for index, table in enumerate(tables):
        path = directory / f"{version}-{index}.parquet"
        pq.write_table(table, path)
        files.append(str(path))
    return TableState("env_1/items", version, tuple(files), tables[0].schema, sum(table.num_rows for table in tables))


def ask(instance: DuckInstance, sql: str, *sources: TableSource, **parameters: Any) -> list[dict[str, Any]]:
    query = check_query(sql, tables={source.name for source in sources})
    with instance.start(query, parameters, {one.name: one for one in sources}, batch_rows=100) as reading:
        return [row for batch in reading.batches() for row in batch.to_pylist()]


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    directory = tmp_path / "lake" / "env_1"
    directory.mkdir(parents=True)
    return directory


@pytest.fixture
def instance(lake: Path) -> Any:
    with DuckInstance(lake, LIMITS) as one:
        yield one


def items(*rows: tuple[int, str]) -> pa.Table:
    return pa.table({"id": [row[0] for row in rows], "name": [row[1] for row in rows]})


def test_the_files_of_a_version_are_one_table(instance: DuckInstance, lake: Path) -> None:
    source = table_source("items", SCHEMA, write(lake, 1, items((1, "a")), items((2, "b"))))
    assert ask(instance, "select * from items order by id", source) == [
        {"id": 1, "name": "a", "note": None},
        {"id": 2, "name": "b", "note": None},
    ]


def test_files_with_other_columns_are_joined_by_name(instance: DuckInstance, lake: Path) -> None:
    newer = pa.table({"note": ["n"], "id": pa.array([3], pa.int64())})
    state = write(lake, 1, items((1, "a")), newer)
    state = TableState(state.stream, 1, state.files, SCHEMA, 2)
    assert ask(instance, "select id, name, note from items order by id", table_source("items", SCHEMA, state)) == [
        {"id": 1, "name": "a", "note": None},
        {"id": 3, "name": None, "note": "n"},
    ]


def test_a_table_without_rows_is_empty_and_typed(instance: DuckInstance) -> None:
    source = table_source("items", SCHEMA, None)
    assert ask(instance, "select * from items", source) == []
    assert ask(instance, "select count(*) as n, sum(id) as s from items", source) == [{"n": 0, "s": None}]


def test_a_table_whose_rows_are_hidden_looks_empty_and_reads_no_file(instance: DuckInstance, lake: Path) -> None:
    state = write(lake, 1, items((1, "a")))
    Path(state.files[0]).unlink()
    source = table_source("items", SCHEMA, state, hides_rows=True)
    assert ask(instance, "select count(*) as n from items", source) == [{"n": 0}]


def test_a_query_keeps_the_version_it_began_with(instance: DuckInstance, lake: Path) -> None:
    many = pa.table({"id": pa.array(range(50_000), pa.int64()), "name": ["x"] * 50_000})
    first = table_source("items", SCHEMA, write(lake, 1, many))
    query = check_query("select id from items", tables={"items"})
    with instance.start(query, {}, {"items": first}, batch_rows=100) as reading:
        batches = reading.batches()
        seen = next(batches).num_rows
        for version in range(2, 14):
            source = table_source("items", SCHEMA, write(lake, version, items((version, "new"))))
            assert ask(instance, "select id from items", source) == [{"id": version}]
        assert seen + sum(batch.num_rows for batch in batches) == 50_000
    assert len(ask(instance, "select id from items", first)) == 50_000


def test_old_views_do_not_pile_up(instance: DuckInstance) -> None:
    for version in range(30):
        ask(instance, "select 1 from items", table_source("items", SCHEMA, TableState("x", version, (), SCHEMA, 0)))
    views = instance.open_cursor().execute("select count(*) from duckdb_views() where schema_name = 'v'").fetchone()
    assert views == (8,)


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('/etc/passwd')",
        "select * from read_parquet('{outside}')",
        "select * from glob('/etc/*')",
        "copy (select 1) to '{outside}.csv'",
        "attach '{outside}.db' as x",
        "install httpfs",
        "load httpfs",
        "set memory_limit = '10GB'",
        "set enable_external_access = true",
        "set allowed_directories = ['/']",
        "reset lock_configuration",
        "create secret s (type s3)",
        "import database '{outside}'",
    ],
)
def test_an_instance_reaches_nothing_outside_its_lake(instance: DuckInstance, tmp_path: Path, sql: str) -> None:
    outside = tmp_path / "outside.parquet"
    pq.write_table(items((1, "SECRET")), outside)
    with pytest.raises(duckdb.Error):
        instance.open_cursor().execute(sql.format(outside=outside)).fetchall()


def test_python_objects_are_no_tables(instance: DuckInstance) -> None:
    hidden = items((1, "SECRET"))
    assert hidden.num_rows
    with pytest.raises(duckdb.Error, match="hidden"):
        instance.open_cursor().execute("select * from hidden")


def test_an_interrupt_stops_a_query_and_leaves_the_instance_usable(instance: DuckInstance) -> None:
    query = check_query("select count(*) from range(100000000000) a, range(1000) b", tables=())
    with instance.start(query, {}, {}, batch_rows=10) as reading:
        timer = threading.Timer(0.2, reading.interrupt)
        timer.start()
        began = time.monotonic()
        with pytest.raises(HeadwaterError) as caught:
            list(reading.batches())
        timer.join()
    assert caught.value.code == "query_timeout"
    assert time.monotonic() - began < 5
    assert ask(instance, "select 1 as one") == [{"one": 1}]


def test_an_interrupt_before_the_start_stops_a_query_too(instance: DuckInstance) -> None:
    reading = instance.start(check_query("select 1", tables=()), {}, {}, batch_rows=10)
    reading.interrupt()
    with reading, pytest.raises(HeadwaterError) as caught:
        list(reading.batches())
    assert caught.value.code == "query_timeout"


def test_memory_is_bounded(instance: DuckInstance) -> None:
    query = check_query("select list(i) from range(200000000) r(i)", tables=())
    with (
        instance.start(query, {}, {}, batch_rows=10) as reading,
        pytest.raises(HeadwaterError, match="memory") as caught,
    ):
        list(reading.batches())
    assert caught.value.code == "sql_failed"


def test_an_error_in_the_middle_of_a_result_is_an_error(instance: DuckInstance) -> None:
    sql = "select case when i = 90000 then cast('x' || i as int) else i end as i from range(100000) r(i)"
    query = check_query(sql, tables=())
    with instance.start(query, {}, {}, batch_rows=10) as reading, pytest.raises(HeadwaterError) as caught:
        list(reading.batches())
    assert caught.value.code == "sql_failed"


def test_the_columns_of_an_endpoint_are_described_without_data() -> None:
    columns = describe_endpoint(
        "select name, count(*) as n, sum(id) as total, $since as since from items where $note is null or note = $note "
        "group by name limit $most",
        {"items": SCHEMA},
        [
            ParameterSpec(name="since", type="timestamp"),
            ParameterSpec(name="note", type="string"),
            ParameterSpec(name="most", type="integer"),
        ],
    )
    assert [(column.name, column.type) for column in columns] == [
        ("name", "VARCHAR"),
        ("n", "BIGINT"),
        ("total", "HUGEINT"),
        ("since", "TIMESTAMP WITH TIME ZONE"),
    ]


def test_a_column_that_does_not_exist_is_found_when_an_endpoint_is_described() -> None:
    with pytest.raises(HeadwaterError, match="nmae") as caught:
        describe_endpoint("select nmae from items", {"items": SCHEMA})
    assert caught.value.code == "sql_failed"


def test_a_source_survives_being_sent_to_a_worker(lake: Path) -> None:
    source = table_source("items", SCHEMA, write(lake, 4, items((1, "a"))), hides_rows=True)
    assert read_source(plain_source(source)) == source


def test_what_a_caller_is_told_has_neither_paths_nor_views() -> None:
    message = 'Binder Error: no column "x" in v."items@12" of /home/me/lake/env_1/part.parquet\n\nLINE 1: select'
    assert scrub(message) == 'Binder Error: no column "x" in items of …'
    assert scrub("Catalog Error: there is no x!") == "Catalog Error: there is no x"
    assert explain_failure(duckdb.IOException("IO Error: No files found /a/b/c")).code == "internal"
