from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import QuerySettings
from headwater.core.settings import Settings
from headwater.engines.lake.protocol import TableState
from headwater.engines.query.protocol import TableSource
from headwater.engines.query.sandbox import Sandbox, SandboxResult
from headwater.engines.query.tables import table_source


class Asker:
    def __init__(self, sandbox: Sandbox, source: TableSource) -> None:
        self.sandbox = sandbox
        self.source = source

    @property
    def worker(self) -> Any:
        """Return the idle worker of the first environment."""
        return next(one for one in self.sandbox._idle if one.environment_id == "env_1")

    async def __call__(
        self, sql: str, *, seconds: float = 10.0, environment: str = "env_1", **values: Any
    ) -> SandboxResult:
        return await self.sandbox.run(
            environment, sql, parameters=values, tables=[self.source], max_rows=100, timeout_seconds=seconds
        )


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ask(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Asker]:
    home = tmp_path_factory.mktemp("home")
    for environment in ("env_1", "env_2", "env_3"):
        (home / "lake" / environment).mkdir(parents=True)
    directory = home / "lake" / "env_1"
    path = directory / "1.parquet"
    table = pa.table({"id": pa.array(range(1_000), pa.int64()), "name": ["n"] * 1_000})
    pq.write_table(table, path)
    state = TableState("env_1/items", 1, (str(path),), table.schema, 1_000)
    sandbox = Sandbox(Settings(home=home, query=QuerySettings(sql_memory_bytes=1 << 28)))
    yield Asker(sandbox, table_source("items", table.schema, state))
    await sandbox.close()


async def test_rows_and_types_come_back_and_too_many_are_cut(ask: Asker) -> None:
    result = await ask("select id, name from items where id >= $least order by id", least=5)
    assert result.rows.num_rows == 100
    assert result.is_truncated
    assert result.rows.slice(0, 1).to_pylist() == [{"id": 5, "name": "n"}]
    assert [column.type for column in result.columns] == ["BIGINT", "VARCHAR"]
    assert result.tables == ("items",)
    exact = await ask("select id from items limit 100")
    assert (exact.rows.num_rows, exact.is_truncated) == (100, False)


async def test_a_refused_statement_costs_nothing_and_the_worker_goes_on(ask: Asker) -> None:
    for sql, code in [
        ("select * from read_text('/etc/passwd')", "sql_rejected"),
        ("select nmae from items", "sql_failed"),
        ("select $x", "parameter_invalid"),
    ]:
        with pytest.raises(HeadwaterError) as caught:
            await ask(sql)
        assert caught.value.code == code
        assert "/" not in caught.value.detail
    assert (await ask("select count(*) as n from items")).rows.to_pylist() == [{"n": 1_000}]


async def test_a_parameter_is_never_read_as_sql(ask: Asker) -> None:
    text = "'; select * from secrets; --"
    assert (await ask("select $x as x", x=text)).rows.to_pylist() == [{"x": text}]


async def test_a_query_without_end_is_interrupted_and_its_worker_lives(ask: Asker) -> None:
    began = time.monotonic()
    with pytest.raises(HeadwaterError) as caught:
        await ask("select count(*) from range(100000000000) a, range(1000) b", seconds=0.5)
    assert caught.value.code == "query_timeout"
    assert time.monotonic() - began < 20
    assert (await ask("select 1 as one")).rows.to_pylist() == [{"one": 1}]


async def test_a_query_that_does_not_listen_is_killed_a_second_later_and_the_next_one_runs(ask: Asker) -> None:
    await ask("select 1")
    worker = ask.worker
    worker._process.send_signal(19)  # it stops, as if it never came back from a long call
    began = time.monotonic()
    with pytest.raises(HeadwaterError) as caught:
        await ask("select 1", seconds=0.5)
    assert caught.value.code == "query_timeout"
    assert 1.0 < time.monotonic() - began < 10
    assert not worker.is_alive
    assert (await ask("select 1 as one")).rows.to_pylist() == [{"one": 1}]


async def test_a_worker_that_dies_is_replaced(ask: Asker) -> None:
    await ask("select 1")
    worker = ask.worker
    worker._process.kill()
    await worker._process.wait()
    assert (await ask("select 1 as one")).rows.to_pylist() == [{"one": 1}]
    assert worker not in ask.sandbox._idle
    assert worker not in ask.sandbox._workers


@pytest.mark.parametrize(
    "bomb",
    [
        "select list(i) from range(2000000000) r(i)",
        "select string_agg(repeat_me, '') from (select 'xxxxxxxxxxxxxxxx' as repeat_me from range(1000000000))",
        "select * from range(100000000) r(i) order by md5(i::varchar)",
        "with recursive r(s) as (select 'x' union all select s || s from r) select max(length(s)) from r",
    ],
)
async def test_a_bomb_ends_within_its_limits(ask: Asker, bomb: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        await ask(bomb, seconds=2.0)
    assert caught.value.code in {"sql_failed", "query_timeout"}
    assert (await ask("select 1 as one")).rows.to_pylist() == [{"one": 1}]


async def test_two_environments_never_share_a_worker(ask: Asker) -> None:
    await ask.sandbox.close()
    await ask("select 1")
    with pytest.raises(HeadwaterError) as caught:
        await ask("select * from items", environment="env_2")
    assert caught.value.code in {"sql_failed", "internal"}
    assert {worker.environment_id for worker in ask.sandbox._workers} == {"env_1", "env_2"}


async def test_a_third_environment_takes_the_place_of_an_idle_worker(ask: Asker) -> None:
    await ask.sandbox.close()
    for environment in ("env_1", "env_2", "env_3"):
        await ask("select 1", environment=environment)
    assert {worker.environment_id for worker in ask.sandbox._workers} == {"env_2", "env_3"}


async def test_a_caller_who_leaves_takes_the_worker_with_him(ask: Asker) -> None:
    await ask("select 1")
    worker = ask.worker
    task = asyncio.create_task(ask("select count(*) from range(100000000000) a, range(1000) b"))
    await asyncio.sleep(0.3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not worker.is_alive
    assert worker not in ask.sandbox._workers


async def test_a_caller_who_leaves_while_a_worker_starts_leaves_no_process(ask: Asker) -> None:
    await ask.sandbox.close()
    before = children()
    for seconds in (0.0, 0.02, 0.2):
        task = asyncio.create_task(ask("select 1"))
        await asyncio.sleep(seconds)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert children() == before
    assert (await ask("select 1 as one")).rows.to_pylist() == [{"one": 1}]


def children() -> set[str]:
    """Return the processes that this one started and that still run."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    return {pid for path in found for pid in path.read_text().split()}


async def test_enumerations_come_back_wherever_they_stand(ask: Asker) -> None:
    enum = "'b'::enum('a', 'b')"
    sql = f"select {enum} as e, {{'e': {enum}}} as s, [{enum}] as l from range(10)"
    rows = (await ask(sql)).rows.to_pylist()
    assert rows == [{"e": "b", "s": {"e": "b"}, "l": ["b"]}] * 10


async def test_a_worker_inherits_no_secret(ask: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWATER_BROKER__URL", "redis://:secret@host")
    await ask("select 1")
    worker = ask.worker
    environment = await asyncio.to_thread(Path(f"/proc/{worker._process.pid}/environ").read_bytes)
    assert b"secret" not in environment
