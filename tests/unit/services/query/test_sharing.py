"""What many askers have in common: limits, results in a shared store, stale answers, and the log of it all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.builders.snapshots import KEY, make_key
from tests.builders.valkey import running_valkey
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.query_process import BY_CARRIER, ENVIRONMENT, Asked, asking, endpoint, flights

from headwater.core.clock import FrozenClock
from headwater.core.endpoints import CacheSpec, LimitsSpec
from headwater.core.errors import HeadwaterError
from headwater.core.key_limits import KeyLimitsSpec
from headwater.core.setting_sections import QuerySettings
from headwater.core.snapshot import KeySpec
from headwater.engines.query.log_schema import QUERY_LOG_SCHEMA
from headwater.services.query import cache, shared_store
from headwater.services.query.cache import Kept, SharedResults
from headwater.services.query.execution import Costs, QueryRunner
from headwater.services.query.limits import Limits
from headwater.services.query.shared_store import SharedStore

URL = "/v1/endpoints/by_carrier"
SLOW = "/* {timeout_seconds: 0.4} */ SELECT count(*) AS n FROM range(100000000000) a, range(1000) b"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def key(**limits: Any) -> KeySpec:
    made = make_key("endpoint.invoke:*", "dataset.read:*", "sql.run:*")
    return made.model_copy(update={"limits": KeyLimitsSpec(**limits)})


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no broken server."""
    monkeypatch.setattr(shared_store, "TIMEOUT_SECONDS", 5.0)
    monkeypatch.setattr(shared_store, "CONNECT_SECONDS", 5.0)
    monkeypatch.setattr(cache, "MAX_WAIT_SECONDS", 60.0)


@pytest.fixture(params=["here", "shared"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[SharedStore]:
    if request.param == "here":
        yield SharedStore(None)
        return
    with running_valkey() as url:
        shared = SharedStore(url)
        yield shared
        await shared.close()


async def test_a_key_may_ask_so_often_and_is_told_when_again(store: SharedStore) -> None:
    limits, asker = Limits(FrozenClock(NOON), store), key(requests_per_second=2)
    first = await limits.admit(asker, "e")
    assert dict(first.headers)[b"ratelimit-policy"] == b'"requests";q=2;w=1'
    assert dict(first.headers)[b"ratelimit"].startswith(b'"requests";r=1;')
    await limits.admit(asker, "e")
    with pytest.raises(HeadwaterError) as caught:
        await limits.admit(asker, "e")
    assert (caught.value.code, caught.value.retry_after_seconds) == ("rate_limited", 1)
    await limits.admit(key(requests_per_second=2).model_copy(update={"id": "key_other"}), "e")
    await asyncio.sleep(0.7)
    await limits.admit(asker, "e")


async def test_a_rate_holds_over_all_workers_that_share_a_store() -> None:
    with running_valkey() as url:
        stores = [SharedStore(url) for _ in range(3)]
        workers = [Limits(FrozenClock(NOON), one) for one in stores]
        asker = key(requests_per_second=0.01)
        outcomes = [await _is_admitted(worker, asker) for worker in workers]
        assert outcomes == [True, False, False]
        for one in stores:
            await one.close()


async def _is_admitted(limits: Limits, asker: KeySpec) -> bool:
    try:
        await limits.admit(asker, "e")
    except HeadwaterError:
        return False
    return True


async def test_queries_at_once_are_given_back(store: SharedStore) -> None:
    limits, asker = Limits(FrozenClock(NOON), store), key(concurrency=1)
    permit = await limits.admit(asker, "e")
    assert not await _is_admitted(limits, asker)
    permit.release()
    permit.release()
    assert await _is_admitted(limits, asker)
    assert not await _is_admitted(limits, asker)


async def test_an_endpoint_limits_each_key_by_itself(store: SharedStore) -> None:
    limits = Limits(FrozenClock(NOON), store)
    spec = LimitsSpec(requests_per_second=1, concurrency=5)
    one, other = key(), key().model_copy(update={"id": "key_other"})
    await limits.admit(one, "e", spec)
    with pytest.raises(HeadwaterError, match="1 times a second"):
        await limits.admit(one, "e", spec)
    await limits.admit(other, "e", spec)
    await limits.admit(one, "f", spec)


async def test_bytes_read_in_a_day_are_a_budget_until_midnight(store: SharedStore) -> None:
    clock = FrozenClock(NOON)
    limits, asker = Limits(clock, store), key(scanned_bytes_per_day=1_000)
    await limits.charge(asker, 999)
    await limits.admit(asker, "e")
    await limits.charge(asker, 1)
    with pytest.raises(HeadwaterError) as caught:
        await limits.admit(asker, "e")
    assert (caught.value.code, caught.value.retry_after_seconds) == ("quota_exceeded", 12 * 3_600)
    clock.advance(timedelta(hours=12))
    await limits.admit(asker, "e")


async def test_a_server_that_does_not_answer_costs_one_deadline_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_store, "CONNECT_SECONDS", 0.2)

    gone = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the other side has had enough
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = SharedStore(f"redis://127.0.0.1:{port}/0")
    began = time.monotonic()
    assert await store.get(b"x") is None
    assert time.monotonic() - began < 10
    assert not store.is_usable
    assert store.problem is not None
    assert await Limits(FrozenClock(NOON), store).admit(key(requests_per_second=1), "e")
    assert store.calls.value(("failed",)) == 1
    await store.close()
    await asyncio.wait_for(gone.wait(), 10)
    server.close()
    await server.wait_closed()


async def test_a_server_that_is_gone_and_comes_back_is_used_again() -> None:
    with running_valkey() as url:
        store = SharedStore(url)
        await store.put(b"x", b"1", seconds=60)
    assert await store.get(b"x") is None
    assert not store.is_usable
    with running_valkey() as url:
        store._client, store._url = None, url
        store._rests_until = 0.0
        await store.put(b"x", b"2", seconds=60)
        assert await store.get(b"x") == b"2"
        assert store.problem is None
        await store.close()


async def test_one_worker_works_a_result_out_and_the_others_wait_for_it() -> None:
    with running_valkey() as url:
        stores = [SharedStore(url), SharedStore(url)]
        one, other = (SharedResults(store) for store in stores)
        assert await one.wait(b"tag", 60) is None  # nobody else is at it, so it is ours
        waiting = asyncio.create_task(other.wait(b"tag", 60))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await one.put(b"tag", Kept(b"body", 7))
        assert await waiting == Kept(b"body", 7)
        await one.give_up(b"tag")
        assert await other.wait(b"tag", 5) is None
        for store in stores:
            await store.close()


async def test_a_result_of_one_worker_is_answered_by_another(tmp_path: Path) -> None:
    with running_valkey() as url:
        async with _asking_shared(tmp_path / "a", url) as first, _asking_shared(tmp_path / "b", url) as second:
            for one in (first, second):
                one.seal("flights", flights(0, 30))
            before = await first.get(URL)
            after = await second.get(URL)
            assert after.content == before.content
            assert second.service._endpoints.answers.value(("by_carrier", "cached")) == 1


def _asking_shared(home: Path, url: str) -> Any:
    return asking(home, endpoint("by_carrier", BY_CARRIER), cache_url=url)


async def test_what_one_environment_keeps_another_never_sees(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        compiled = asked.runtime.environments[ENVIRONMENT].compiled["query"]
        reader = compiled.rows_of(compiled.tables["flights"])
        other = compiled.tables["flights"].__class__("flights", "env_2/flights", compiled.tables["flights"].schema)
        twin = type(compiled)("env_2", {"flights": other}, {}, compiled.rulings, compiled.engine).rows_of(other)
        assert reader.seed != twin.seed


async def test_limits_reach_the_caller_as_headers(tmp_path: Path) -> None:
    limited = endpoint("by_carrier", BY_CARRIER, limits=LimitsSpec(requests_per_second=1))
    async with asking(tmp_path, limited) as asked:
        asked.seal("flights", flights(0, 30))
        first = await asked.get(URL)
        assert first.headers["ratelimit-policy"] == '"requests";q=1;w=1'
        refused = await asked.get(URL)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["ratelimit"] == '"requests";r=0;t=1'


async def test_a_key_may_have_fewer_rows_and_bytes_than_the_endpoint_gives(tmp_path: Path) -> None:
    rows = endpoint("all", "select * from flights order by id")
    for limits in ({"max_rows": 10}, {"max_bytes": 500}):
        async with asking(tmp_path, rows, keys={KEY: key(**limits)}) as asked:
            if not asked.lake.state(f"{ENVIRONMENT}/flights"):
                asked.seal("flights", flights(0, 100))
            for suffix in ("", ".csv"):
                body = (await asked.get(f"/v1/endpoints/all{suffix}")).json()
                assert body["code"] == "result_too_large"


async def test_while_there_is_no_slot_the_last_answer_is_served_and_says_so(tmp_path: Path) -> None:
    lasting = endpoint("by_carrier", BY_CARRIER, cache=CacheSpec(stale_seconds=60))
    async with asking(tmp_path, lasting, endpoint("strict", BY_CARRIER), endpoint("slow", SLOW)) as asked:
        asked.seal("flights", flights(0, 30))
        before = [await asked.get(path) for path in (URL, "/v1/endpoints/strict")]
        asked.seal("flights", flights(30, 30))
        await asyncio.sleep(0.05)
        admission = asked.service._runner.quick.admission
        slots = [await admission.enter(1, f"x{number}") for number in range(admission.slots)]
        admission._waiting += admission._max_waiting
        try:
            stale, strict = [await asked.get(path) for path in (URL, "/v1/endpoints/strict")]
        finally:
            admission._waiting -= admission._max_waiting
            for slot in slots:
                slot.release()
        assert stale.content == before[0].content
        assert stale.headers["hw-stale"] == "true"
        assert stale.headers["warning"] == '110 - "Response is Stale"'
        assert int(stale.headers["age"]) < 60
        assert stale.headers["etag"] == before[0].headers["etag"]
        assert (strict.status_code, strict.json()["code"]) == (503, "overloaded")
        fresh = await asked.get(URL)
        assert "hw-stale" not in fresh.headers
        assert fresh.headers["etag"] != before[0].headers["etag"]


async def _logged(asked: Asked) -> list[dict[str, Any]]:
    await asked.service._log._write_waiting()
    journal = asked.runtime.journal
    assert isinstance(journal, MemoryJournal)
    rows: list[dict[str, Any]] = []
    for stored in journal.read(f"{ENVIRONMENT}/query_log", max_rows=10_000, max_bytes=1 << 30):
        rows += pa.ipc.open_stream(stored.block.payload).read_all().to_pylist()
    return rows


async def test_every_answer_is_logged_with_who_what_and_where_from(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER), endpoint("slow", SLOW)) as asked:
        asked.seal("flights", flights(0, 30))
        first = await asked.get(f"{URL}?carrier=AA")
        for _ in range(3):
            await asked.get(f"{URL}?carrier=AA")
        await asked.get(f"{URL}?carrier=AA", headers={"If-None-Match": first.headers["etag"]})
        await asked.get(f"{URL}?carier=AA")
        await asked.get("/v1/datasets/flights/rows")
        await asked.http.post("/v1/sql", json={"sql": "select sum(delay) as n from flights"})
        await asked.get("/v1/endpoints/slow")
        rows = await _logged(asked)
        found = {(row["kind"], row["name"], row["source"], row["code"]): row for row in rows}
        assert set(found) == {
            ("endpoint", "by_carrier", "parquet", None),
            ("endpoint", "by_carrier", "memory", None),
            ("endpoint", "by_carrier", "not_modified", None),
            ("endpoint", "by_carrier", None, "parameter_invalid"),
            ("rows", "flights", "parquet", None),
            ("sql", None, "worker", None),
            ("endpoint", "slow", None, "query_timeout"),
        }
        run = found["endpoint", "by_carrier", "parquet", None]
        assert run["rows"] == 1
        assert run["bytes_scanned"] > 0
        assert run["bytes_out"] == len(first.content)
        assert run["principal_id"] == "sva_1"
        assert "AA" not in run["parameters"]
        assert sum(row["answers"] for row in rows if row["source"] == "memory") == 3
        assert found["sql", None, "worker", None]["bytes_scanned"] > 0
        assert all(row["total_ms"] > 0 for row in rows)


async def test_logged_values_show_numbers_and_enumerations_but_no_text(tmp_path: Path) -> None:
    async with asking(
        tmp_path,
        endpoint("by_carrier", BY_CARRIER),
        query=QuerySettings(memory_limit_bytes=1 << 28, log_parameters="values"),
    ) as asked:
        await asked.get(f"{URL}?carrier=alice@example.com&above=5")
        (row,) = await _logged(asked)
        assert "alice" not in row["parameters"]
        assert '"above":5' in row["parameters"]


async def test_a_log_that_cannot_keep_up_drops_and_counts(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("one", "select now() as t")) as asked:
        asked.service._log._max_waiting = 2
        for _ in range(5):
            assert (await asked.get("/v1/endpoints/one")).status_code == 200
        assert asked.service._log.answers.value(("dropped",)) >= 1


async def test_sql_that_would_read_too_much_is_refused_before_it_reads(tmp_path: Path) -> None:
    async with asking(tmp_path, query=QuerySettings(sql_memory_bytes=1 << 28, sql_max_scanned_bytes=50)) as asked:
        asked.seal("flights", flights(0, 5_000))
        refused = await asked.http.post("/v1/sql", json={"sql": "select * from flights"})
        assert (refused.status_code, refused.json()["code"]) == (422, "query_too_costly")
        assert refused.json()["scanned_bytes"] > 50
        allowed = await asked.http.post("/v1/sql", json={"sql": "select count(*) as n from flights"})
        assert allowed.json()["data"] == [{"n": 5_000}]


async def test_a_client_that_leaves_ends_its_sql(tmp_path: Path) -> None:
    bomb = "select count(*) as n from range(100000000) a, range(100000) b"
    async with asking(tmp_path) as asked:
        asking_it = asyncio.create_task(asked.http.post("/v1/sql", json={"sql": bomb}))
        await asyncio.sleep(1.0)
        asking_it.cancel()
        await asyncio.gather(asking_it, return_exceptions=True)
        began = time.monotonic()
        again = await asked.http.post("/v1/sql", json={"sql": "select 1 as n"})
        assert again.status_code == 200
        assert time.monotonic() - began < asked.runtime.settings.query.sql_timeout_seconds


def test_an_endpoint_that_takes_long_is_kept_from_the_others_until_it_is_quick_again() -> None:
    costs = Costs()
    assert not costs.is_slow("a")
    costs.note("a", 5.0)
    assert costs.is_slow("a")
    for _ in range(8):
        costs.note("a", 0.01)
    assert not costs.is_slow("a")


async def test_slow_endpoints_and_a_single_one_leave_slots_to_others(tmp_path: Path) -> None:
    runner = QueryRunner(3)
    runner.costs.note("slow", 10.0)

    class Idle:
        def close(self) -> None:
            pass

    try:
        first = await runner.begin(Idle(), timeout_seconds=1, label="slow")  # type: ignore[arg-type] # it never runs
        assert (runner.slow.admission.running, runner.quick.admission.running) == (1, 0)
        quick = [await runner.begin(Idle(), timeout_seconds=1, label="one") for _ in range(2)]  # type: ignore[arg-type] # as above
        with pytest.raises(HeadwaterError, match="no slot"):
            await runner.begin(Idle(), timeout_seconds=0.05, label="one")  # type: ignore[arg-type] # as above
        quick.append(await runner.begin(Idle(), timeout_seconds=1, label="other"))  # type: ignore[arg-type] # as above
        for execution in (first, *quick):
            execution.close()
        assert runner.quick.admission._shares == {}
    finally:
        runner.close()


async def test_a_day_of_queries_is_reported_from_the_log(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by_carrier", BY_CARRIER)) as asked:
        asked.seal("flights", flights(0, 30))
        for _ in range(4):
            await asked.get(URL)
        await asked.get(f"{URL}?nothing=1")
        rows = await _logged(asked)
        system = {
            "_hw_seq": pa.array(range(len(rows)), pa.int64()),
            "_hw_received_at": pa.array([row["answered_at"] for row in rows], pa.timestamp("us", "UTC")),
            "_hw_receipt": pa.array(["rcp_1"] * len(rows)),
            "_hw_contract": pa.array(["1.0.0"] * len(rows)),
        }
        sealed = pa.Table.from_pylist(rows, schema=QUERY_LOG_SCHEMA)
        for name, column in system.items():
            sealed = sealed.append_column(name, column)
        asked.seal("query_log", sealed)
        token = asked.runtime.home.node_token.read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        report = (await asked.get(f"/internal/v1/queries/{ENVIRONMENT}/report", headers=headers)).json()
        (one,) = report["endpoints"]
        assert (one["kind"], one["name"], one["answers"], one["failed"]) == ("endpoint", "by_carrier", 5, 1)
        assert one["cached"] == pytest.approx(3 / 5)
        assert one["p95_query_ms"] > 0
        assert {row["code"] for row in report["slowest"]} == {None, "parameter_invalid"}
        other = await asked.get(f"/internal/v1/queries/{ENVIRONMENT}/report?day=2020-01-01", headers=headers)
        assert other.json() == {"day": "2020-01-01", "endpoints": [], "slowest": []}
        assert (await asked.get(f"/internal/v1/queries/{ENVIRONMENT}/report")).status_code == 401
