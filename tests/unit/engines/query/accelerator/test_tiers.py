from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes.query_process import flights

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.setting_sections import QuerySettings
from headwater.core.settings import Settings
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction, TableStore
from headwater.engines.query.accelerator import files as shelf_files
from headwater.engines.query.accelerator.demand import lookup_columns
from headwater.engines.query.accelerator.files import BUILDING, SUFFIX, Shelf, holding
from headwater.engines.query.accelerator.tier import ASKED_OFTEN, Accelerator
from headwater.engines.query.duck import DuckEngine
from headwater.engines.query.instance import DuckLimits
from headwater.engines.query.protocol import Reading
from headwater.engines.query.rules import RowRule
from headwater.engines.query.tables import table_source
from headwater.engines.query.walk import check_query

ENV = "env_1"
BIG = 'select count(*) as n, min(id) as low, max(id) as high, sum(fare) as fare, max("at") as last from flights'
ONE = 'select id, carrier, delay, fare, "at" from flights where carrier = $carrier and id % 7 = 0 order by id'


class House:
    """A lake with flights, and an engine with its accelerator, whose thread is ours."""

    def __init__(self, home: Path, **query: Any) -> None:
        options = {"accelerator_min_free_bytes": 0, "memory_limit_bytes": 1 << 28, "threads": 1} | query
        self.settings = Settings(home=home, query=QuerySettings(**options))
        self.lake: TableStore = open_lake(self.settings)
        self.engine = DuckEngine(self.settings, self.lake.state)
        self.number = 0

    @property
    def accelerator(self) -> Accelerator:
        assert self.engine.accelerator is not None
        return self.engine.accelerator

    def seal(self, rows: pa.Table, name: str = "flights") -> None:
        self.number += 1
        self.lake.append(f"{ENV}/{name}", rows, AppTransaction("test", self.number))

    def start(self, sql: str, *, rule: RowRule | None = None, is_wanted: bool = True, **parameters: Any) -> Reading:
        state = self.lake.state(f"{ENV}/flights")
        expected = pa.schema([]) if state is None else state.schema
        source = table_source("flights", expected, state, rule=rule, key=("id",))
        query = check_query(sql, tables={"flights"})
        tables = {"flights": source}
        return self.engine.start(
            ENV, query, parameters=parameters, tables=tables, batch_rows=1_000, is_wanted=is_wanted
        )

    def ask(self, sql: str, **options: Any) -> tuple[str, list[dict[str, Any]]]:
        with self.start(sql, **options) as reading:
            rows = [row for batch in reading.batches() for row in batch.to_pylist()]
            return reading.tier, rows

    def files(self) -> list[Path]:
        return sorted(Home(self.settings.home).accelerator.glob(f"{ENV}/*/*{SUFFIX}"))


@pytest.fixture
def make_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., House]]:
    made: list[House] = []
    monkeypatch.setattr(Accelerator, "_begin", lambda _self: None)

    def make(**query: Any) -> House:
        made.append(House(tmp_path, **query))
        return made[-1]

    yield make
    for house in made:
        house.engine.close()


def accelerated(house: House) -> None:
    """Ask once, then look until the file is in use."""
    house.ask(BIG)
    house.accelerator.look()
    house.accelerator.look()
    assert house.ask(BIG)[0] == "accelerator", house.accelerator.problems()


def test_both_tiers_answer_alike(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.seal(flights(0, 5_000))
    before = house.ask(BIG), house.ask(ONE, carrier="BB")
    assert {tier for tier, _ in before} == {"parquet"}
    accelerated(house)
    after = house.ask(BIG), house.ask(ONE, carrier="BB")
    assert {tier for tier, _ in after} == {"accelerator"}
    assert [rows for _, rows in before] == [rows for _, rows in after]
    assert house.accelerator.stats()["files"] == 1
    assert house.accelerator.counts["built"] == 1


def test_policies_decide_over_the_accelerator_as_over_parquet(make_house: Callable[..., House]) -> None:
    rule = RowRule("\"rows\".carrier = 'AA'", (("id", '"rows"."id"'), ("carrier", "'*'")), hidden=("fare",))
    house = make_house()
    house.seal(flights(0, 300))
    sql = "select * from flights order by id"
    _, before = house.ask(sql, rule=rule)
    accelerated(house)
    tier, after = house.ask(sql, rule=rule)
    assert tier == "accelerator"
    assert after == before
    assert {row["carrier"] for row in after} == {"*"}
    assert list(after[0]) == ["id", "carrier"]
    assert house.ask("select count(*) as n from flights") == ("accelerator", [{"n": 300}])


def test_rows_that_came_since_are_answered_from_memory(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.seal(flights(0, 3_000))
    accelerated(house)
    for first in (3_000, 3_100, 3_200):
        house.seal(flights(first, 100))
        tier, rows = house.ask(BIG)
        assert tier == "accelerator"
        assert (rows[0]["n"], rows[0]["high"]) == (first + 100, first + 99)
    assert len(house.files()) == 1


def test_a_query_on_an_older_version_sees_that_version(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.seal(flights(0, 1_000))
    accelerated(house)
    house.seal(flights(1_000, 10))
    older = house.start("select count(*) as n from flights")
    assert house.ask(BIG)[1][0]["n"] == 1_010
    house.seal(flights(1_010, 10))
    assert house.ask(BIG)[1][0]["n"] == 1_020
    with older:
        assert [batch.to_pylist() for batch in older.batches()] == [[{"n": 1_010}]]
        assert older.tier == "accelerator"


def test_a_new_column_shows_as_it_does_from_parquet(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.seal(flights(0, 1_000))
    accelerated(house)
    newer = flights(1_000, 10)
    house.seal(newer.append_column("gate", pa.array(["A1"] * 10)))
    sql = "select gate, count(*) as n from flights group by gate order by gate nulls first"
    assert house.ask(sql) == ("accelerator", [{"gate": None, "n": 1_000}, {"gate": "A1", "n": 10}])
    house.seal(flights(1_010, 5))  # files without the column, after one that has it
    assert house.ask(sql) == ("accelerator", [{"gate": None, "n": 1_005}, {"gate": "A1", "n": 10}])


def test_files_that_were_merged_make_the_old_file_useless(make_house: Callable[..., House], tmp_path: Path) -> None:
    house = make_house()
    house.seal(flights(0, 1_000))
    accelerated(house)
    (old,) = house.files()
    state = house.lake.state(f"{ENV}/flights")
    assert state is not None
    merged = type(state)(
        state.stream, state.version + 1, (*state.files[1:], state.files[0] + ".x"), state.schema, 1_000
    )
    house.accelerator._newest = lambda _stream: merged  # what compaction leaves
    house.accelerator.look()
    assert not old.exists()
    assert house.accelerator.counts["outdated"] == 1


def noisy(rows: int, width: int) -> pa.Table:
    """Return flights with a column that does not compress."""
    noise = [os.urandom(width).hex() for _ in range(rows)]
    return flights(0, rows).append_column("noise", pa.array(noise))


@pytest.mark.parametrize("where", ["head", "middle"])
def test_a_damaged_file_is_left_for_parquet_and_made_anew(make_house: Callable[..., House], where: str) -> None:
    house = make_house()
    house.seal(noisy(50_000, 20))
    sql = "select max(noise) as m, count(*) as n from flights"
    _, right = house.ask(sql)
    accelerated(house)
    (path,) = house.files()
    content = bytearray(path.read_bytes())
    assert len(content) > 1 << 20
    span = slice(4_096, 8_192) if where == "head" else slice(1 << 18, len(content) - (1 << 18))
    content[span] = os.urandom(len(content[span]))
    path.write_bytes(content)
    house.accelerator._instances.clear()  # as a new process meets it
    if where == "head":
        house.accelerator._shelf._known.clear()
    house.accelerator.look()
    assert house.ask(sql) == ("parquet", right)
    house.accelerator.look()
    assert house.accelerator.counts["damaged"] == 1
    assert house.ask(sql) == ("parquet", right)


def test_a_file_of_another_engine_is_not_read(
    make_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house()
    house.seal(flights(0, 1_000))
    accelerated(house)
    (old,) = house.files()
    house.accelerator._instances.clear()
    house.accelerator._shelf._known.clear()
    monkeypatch.setattr(shelf_files, "FORMAT", shelf_files.FORMAT + 1)
    house.accelerator.look()
    assert not old.exists()
    assert house.ask(BIG)[0] == "parquet"


def test_a_build_without_room_says_so_and_rests(make_house: Callable[..., House]) -> None:
    house = make_house(accelerator_min_free_bytes=1 << 60)
    house.seal(flights(0, 100))
    house.ask(BIG)
    house.accelerator.look()
    house.accelerator.look()
    (problem,) = house.accelerator.problems()
    assert "flights" in problem
    assert "the disk has" in problem
    assert house.accelerator.counts["build_failed"] == 1
    assert house.ask(BIG)[0] == "parquet"


def test_a_build_that_exceeds_its_bound_leaves_nothing(make_house: Callable[..., House]) -> None:
    house = make_house(accelerator_bytes=300_000)
    house.seal(flights(0, 20_000))
    house.ask(BIG)
    house.accelerator.look()
    assert house.accelerator.counts["build_failed"] == 1
    assert not [path for path in Home(house.settings.home).accelerator.rglob("*") if BUILDING in path.name]
    assert house.ask(BIG)[0] == "parquet"


def test_what_a_killed_build_left_is_swept_unless_it_runs(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    folder = shelf.folder(ENV, "flights")
    with holding(folder / "lock") as is_held:
        assert is_held
        left = folder / f"77{BUILDING}"
        left.write_bytes(b"half")
        shelf.sweep()
        assert left.exists()
    shelf.sweep()
    assert not left.exists()


def test_the_files_unused_for_longest_make_room(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    for age, name in enumerate("abc"):
        path = shelf.folder(ENV, name) / f"x{SUFFIX}"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 100)
        os.utime(path, (1_000 + age, 1_000 + age))
    assert [path.parent.name for path in shelf.make_room(200)] == ["a"]
    assert [path.parent.name for path in shelf.make_room(50, keep=shelf.folder(ENV, "b") / f"x{SUFFIX}")] == ["c", "b"]


def test_a_table_is_accelerated_once_it_is_asked_often(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.seal(flights(0, 100))
    for _ in range(int(ASKED_OFTEN) - 2):
        house.ask(BIG, is_wanted=False)
    house.accelerator.look()
    assert not house.files()
    for _ in range(4):
        house.ask(BIG, is_wanted=False)
    house.accelerator.look()
    assert len(house.files()) == 1


def test_nothing_is_read_through_the_files_but_their_tables(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.seal(flights(0, 100))
    accelerated(house)
    (path,) = house.files()
    instance = house.accelerator._instances[ENV]
    for sql in (
        f"select * from read_blob('{path}')",
        f"attach '{path}' as again",
        "select * from read_text('/etc/passwd')",
        f"copy (select 1) to '{path.parent}/x.csv'",
        "set memory_limit = '10GB'",
        "insert into b0.t select * from b0.t",
    ):
        with instance.open_cursor() as cursor, pytest.raises(duckdb.Error):
            cursor.execute(sql).fetchall()


def test_an_interrupt_ends_an_accelerated_query(make_house: Callable[..., House]) -> None:
    house = make_house()
    house.seal(flights(0, 2_000))
    accelerated(house)
    with house.start("select count(*) as n from flights a, flights b, flights c, range(1000) d") as reading:
        timer = threading.Timer(0.1, reading.interrupt)
        timer.start()
        began = time.monotonic()
        with pytest.raises(HeadwaterError) as caught:
            list(reading.batches())
        timer.join()
    assert caught.value.code == "query_timeout"
    assert time.monotonic() - began < 20
    assert reading.tier == "accelerator"


def test_a_query_that_needs_more_memory_than_the_files_have_goes_on_with_parquet(
    make_house: Callable[..., House],
) -> None:
    house = make_house(accelerator_memory_bytes=1 << 27, memory_limit_bytes=1 << 30)
    house.seal(noisy(100_000, 400))
    accelerated(house)
    house.accelerator._limits = DuckLimits(1 << 26, 1)
    house.accelerator._instances.clear()
    house.accelerator.look()
    tier, rows = house.ask("select id, noise from flights order by noise")
    assert (tier, len(rows)) == ("parquet", 100_000)
    assert house.accelerator.counts["fell_back"] == 1
    assert house.files()


def test_the_thread_builds_by_itself(tmp_path: Path) -> None:
    house = House(tmp_path)
    with closing(house.engine):
        house.seal(flights(0, 500))
        deadline = time.monotonic() + 60
        while house.ask(BIG)[0] != "accelerator":
            assert time.monotonic() < deadline, house.accelerator.problems()
            time.sleep(0.1)
        assert house.ask(BIG)[1][0]["n"] == 500


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("select * from flights where carrier = $c", {"carrier"}),
        ("select * from flights f where f.carrier = $c and $i = f.id and delay > 3", {"carrier", "id"}),
        ("select * from flights where carrier = $c or id = $i", set()),
        ("select * from flights where $c is null or carrier = $c", set()),
        ("with one as (select * from flights where id = $i) select count(*) from one", {"id"}),
        ("select * from flights where carrier = 'AA'", set()),
    ],
)
def test_columns_that_tables_are_asked_by(sql: str, columns: set[str]) -> None:
    source = table_source("flights", flights(0, 1).schema, None)
    found = lookup_columns(check_query(sql, tables={"flights"}), {"flights": source})
    assert found.get("flights", frozenset()) == columns


_CONDITIONS = st.sampled_from(
    ["true", "id % 3 = $n", "carrier = 'BB'", "delay is null", "delay > $n * 10", "fare < 100 and carrier <> 'AA'"]
)
_SHAPES = st.sampled_from(
    [
        "select * from flights where {} order by id",
        "select carrier, count(*) as n, sum(fare) as s, min(delay) as d from flights where {} group by 1 order by 1",
        "select a.id, b.carrier from flights a join flights b on a.id = b.id + 1 where {} order by 1 limit 50",
        'select max("at") as m, count(distinct carrier) as c from flights where {}',
    ]
)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(0, 3), _SHAPES, _CONDITIONS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_asked_whenever_rows_come_the_tiers_agree(
    tmp_path_factory: pytest.TempPathFactory, commits: list[int], n: int, shape: str, condition: str
) -> None:
    sql = shape.format(condition.replace("id ", "a.id ") if " a join" in shape else condition)
    sql = sql.replace("carrier =", "a.carrier =").replace("carrier <>", "a.carrier <>") if " a join" in shape else sql
    sql = sql.replace("delay", "a.delay").replace("fare <", "a.fare <") if " a join" in shape else sql
    parameters = {"n": n} if "$n" in sql else {}
    home = tmp_path_factory.mktemp("home")
    plain, quick = House(home, accelerator_bytes=0), House(home)
    quick.engine.accelerator._begin = lambda: None  # type: ignore[union-attr,method-assign] # we look ourselves
    with closing(plain.engine), closing(quick.engine):
        at = 0
        for number, rows in enumerate(commits):
            quick.seal(flights(at, rows))
            at += rows
            if number == 0:
                accelerated(quick)
            tier, got = quick.ask(sql, **parameters)
            assert tier == "accelerator"
            assert plain.ask(sql, **parameters) == ("parquet", got)
