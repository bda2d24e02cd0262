"""Whatever SQL a caller writes, nothing comes out of it but what the policy shows, and nothing breaks.

Two services are asked the same. To the caller they look alike, but what the policy hides differs between them: rows,
masked values, a whole table, files. An answer that differs has told something, be it a row or a single bit.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio
from tests.builders.hostile_sql import Attack, attacks
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.process import until
from tests.fakes.query_process import ENVIRONMENT, Asked, asking, dataset

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.core.policies import PolicySpec
from headwater.core.setting_sections import QuerySettings
from headwater.engines.query.sandbox_worker import MAX_RESULT_BYTES

ORDERS: Final = Contract(
    "orders",
    "1.0",
    (
        Field("id", LogicalType.INTEGER),
        Field("customer", LogicalType.STRING),
        Field("amount", LogicalType.NUMBER),
        Field("tenant", LogicalType.STRING),
    ),
    protected=True,
)
PRODUCTS: Final = Contract("products", "1.0", (Field("pid", LogicalType.INTEGER), Field("name", LogicalType.STRING)))
HR: Final = Contract("hr", "1.0", (Field("salary", LogicalType.STRING),))
OWN_TENANT: Final = PolicySpec(
    id="pol_1",
    name="own_tenant",
    resource="dataset:orders",
    priority=10,
    principals=("everyone",),
    row_filter="tenant = 't1'",
    columns={"customer": "last4"},
)
PATIENT: Final = QuerySettings(sql_memory_bytes=1 << 28, memory_limit_bytes=1 << 28, sql_timeout_seconds=20, threads=1)
LIMITS: Final = PATIENT.model_copy(update={"sql_timeout_seconds": 0.5, "sql_max_rows": 100})
CANARY: Final = re.compile(r"CANARY|root:|HEADWATER_|/lake/|part-|@\d")
#: Of these it is known that they give other rows each time, or say when something was.
CHANCE: Final = re.compile(r"tablesample|using sample")
COUNT: Final = "select count(*) as n from orders"
ATTACKS: Final = [attack for attack in attacks() if attack.kind != "bombs"]
BOMBS: Final = [attack for attack in attacks() if attack.kind == "bombs"]


@dataclass(frozen=True)
class World:
    """A service, and where the files lie that no caller may read."""

    asked: Asked
    places: Mapping[str, str]

    async def ask(self, sql: str) -> httpx.Response:
        return await self.asked.http.post("/v1/sql", json={"sql": sql})


@contextlib.asynccontextmanager
async def world(home: Path, secret: str, limits: QuerySettings = PATIENT) -> AsyncIterator[World]:
    """Run a service in which everything that is hidden says ``secret``."""
    key = make_key("sql.run:*", "dataset.read:orders", "dataset.read:products")
    async with asking(home, contracts=(), query=limits) as asked:
        asked.seal("orders", orders(secret))
        asked.seal("products", rows({"pid": [1, 2], "name": ["pen", "ink"]}))
        asked.seal("hr", rows({"salary": [f"CANARY salary {secret}"]}))
        snapshot = make_snapshot(
            2,
            keys={KEY: key},
            datasets={one.name: dataset(one) for one in (ORDERS, PRODUCTS, HR)},
            policies={OWN_TENANT.name: OWN_TENANT},
        )
        asked.control.publish(snapshot)
        await until(lambda: asked.runtime.environments[ENVIRONMENT].snapshot.number == 2)
        yield World(asked, files(home, secret))


def orders(secret: str) -> pa.Table:
    hidden = len(secret)
    return rows(
        {
            "id": [1, 2, 3, hidden],
            "customer": [f"CANARY {secret} 0001", f"CANARY {secret} 0002", f"SECRET_2 {secret}", secret],
            "amount": [5.5, 7.5, 700.0 + hidden, 1e6],
            "tenant": ["t1", "t1", "t2", "t3"],
        }
    )


def rows(columns: dict[str, list[Any]]) -> pa.Table:
    count = len(next(iter(columns.values())))
    system = {
        "_hw_seq": pa.array(range(count), pa.int64()),
        "_hw_received_at": pa.array([1_700_000_000_000_000] * count, pa.timestamp("us", "UTC")),
        "_hw_receipt": pa.array(["rcp_1"] * count),
        "_hw_contract": pa.array(["1.0"] * count),
    }
    return pa.table(columns | system)


def files(home: Path, secret: str) -> dict[str, str]:
    """Write a file beside the lake and a table of another environment; return where they and the own table lie."""
    text, other = home / "canary.txt", home / "lake" / "env_2" / "orders" / "1.parquet"
    text.write_text(f"CANARY {secret}")
    other.parent.mkdir(parents=True)
    pq.write_table(pa.table({"customer": [f"CANARY {secret}"]}), other)
    table = next((home / "lake" / ENVIRONMENT / "orders").rglob("*.parquet"))
    return {"file": str(text), "other": str(other), "table": str(table)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worlds(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[World, World]]:
    first, second = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    async with world(first, "amber") as one, world(second, "cobalt-blue") as two:
        yield one, two


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def limited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with world(tmp_path_factory.mktemp("limited"), "amber", LIMITS) as one:
        yield one


def told(reply: httpx.Response, sql: str) -> Any:
    """Return all that an answer tells, but for what differs from request to request and the order of rows."""
    body = reply.json()
    body.pop("request_id", None)
    if "data" in body:
        assert reply.status_code == 200
        if CHANCE.search(sql):
            return reply.status_code
        body["data"] = sorted(map(repr, body["data"]))
    return reply.status_code, body


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("attack", ATTACKS, ids=[f"{at}-{one.kind}" for at, one in enumerate(ATTACKS)])
async def test_hostile_sql_is_refused_or_answered_as_if_nothing_else_were_there(
    worlds: tuple[World, World], attack: Attack
) -> None:
    one, two = [await answer(world, attack) for world in worlds]
    assert one == two


async def answer(world: World, attack: Attack) -> Any:
    """Return what a world tells, having looked for what may never be told."""
    sql = attack.aimed(world.places)
    reply = await world.ask(sql)
    assert reply.status_code in (200, 422), reply.text
    if attack.is_refused:
        assert reply.json().get("code") == "sql_rejected", reply.text
    if reply.status_code != 200:
        assert_clear(reply.json())
    if sql != attack.sql:
        assert "CANARY" not in reply.text
        return reply.status_code, reply.json().get("code"), reply.json().get("data")  # its details repeat the path
    assert CANARY.search(sql) or not CANARY.search(reply.text), reply.text
    return told(reply, sql)


def assert_clear(problem: dict[str, Any]) -> None:
    """Assert that a problem says what is wrong in words, and where or what to do."""
    assert problem["code"] in {"sql_rejected", "sql_failed", "parameter_invalid"}
    assert 10 < len(problem["detail"]) <= 400
    assert problem["title"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("attack", BOMBS, ids=[str(at) for at, _ in enumerate(BOMBS)])
async def test_a_bomb_ends_in_time_and_the_next_question_is_answered(limited: World, attack: Attack) -> None:
    reply = await limited.ask(attack.sql)
    assert reply.status_code in (200, 422, 413, 503, 504), reply.text
    if reply.status_code == 200:
        assert len(reply.content) < 2 * MAX_RESULT_BYTES
    assert await rows_left(limited) == 2


async def rows_left(limited: World) -> int:
    """Ask something simple until it is answered: a busy machine may need more than half a second even for that."""
    reply = await limited.ask(COUNT)
    for _ in range(20):
        if reply.status_code == 200:
            break
        reply = await limited.ask(COUNT)
    count: int = reply.json()["data"][0]["n"]
    return count


def test_the_corpus_is_large_and_has_nothing_twice() -> None:
    found = [attack.sql for attack in attacks()]
    assert len(set(found)) == len(found) >= 700
    assert len({attack.kind for attack in attacks()}) >= 15
