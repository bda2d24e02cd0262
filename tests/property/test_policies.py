"""Whatever way rows come out, they are those that a plain evaluation of the policies shows, and no others."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders.snapshots import make_snapshot
from tests.fakes.process import until
from tests.fakes.query_process import ENVIRONMENT, Asked, asking, dataset, endpoint
from tests.property.policed import (
    CALLERS,
    COLUMNS,
    CONDITIONS,
    MASK_KEY,
    POLICIES,
    ROWS,
    SHAPE,
    Condition,
    Row,
    make_caller,
    make_policy,
    shown_rows,
    stored,
)

from headwater.contracts.model import Contract
from headwater.core.snapshot import EnvironmentSpec


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, tables=st.lists(st.tuples(POLICIES, st.booleans()), min_size=3, max_size=4), callers=CALLERS)
def test_every_way_out_shows_what_a_plain_evaluation_shows(
    rows: list[Row], tables: list[tuple[Any, bool]], callers: list[Any]
) -> None:
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(_check(Path(home), rows, tables, callers))


async def _check(home: Path, rows: list[Row], tables: list[tuple[Any, bool]], callers: list[Any]) -> None:
    contracts = [Contract(f"t{at}", "1.0", SHAPE, protected=closed) for at, (_, closed) in enumerate(tables)]
    keys = {f"hw_key{at}": make_caller(at, *caller) for at, caller in enumerate(callers)}
    endpoints = [endpoint(f"e{at}", f"select * from t{at} order by n") for at in range(len(tables))]
    async with asking(home, contracts=contracts, keys=keys) as asked:
        policies = [
            make_policy(at, order, one) for at, (listed, _) in enumerate(tables) for order, one in enumerate(listed)
        ]
        ours = EnvironmentSpec(id=ENVIRONMENT, key="d", project="p", organization="o", mask_key=MASK_KEY)
        snapshot = make_snapshot(
            2,
            keys=keys,
            datasets={contract.name: dataset(contract) for contract in contracts},
            endpoints={one.name: one for one in endpoints},
            policies={policy.name: policy for policy in policies},
        )
        asked.control.publish(snapshot.model_copy(update={"environment": ours}))
        await until(lambda: asked.runtime.environments[ENVIRONMENT].snapshot.number == 2)
        for at, (listed, closed) in enumerate(tables):
            if rows:
                asked.seal(f"t{at}", stored(rows))
            for text, caller in zip(keys, callers, strict=True):
                await _check_ways(asked, at, text, *shown_rows(rows, listed, closed, caller))


async def _check_ways(asked: Asked, at: int, key: str, expected: list[Row], columns: list[str]) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    arrow = {**headers, "Accept": "application/vnd.apache.arrow.stream"}
    sql = {"sql": f"select {', '.join(columns)} from t{at} order by n"}
    path, rows_path = f"/v1/endpoints/e{at}", f"/v1/datasets/t{at}/rows"
    lines = (await asked.get(f"{path}.ndjson", headers=headers)).content.splitlines()
    ways = {
        "endpoint": (await asked.get(path, headers=headers)).json()["data"],
        "endpoint.ndjson": [json.loads(line) for line in lines],
        "endpoint.arrow": _arrow((await asked.get(f"{path}.arrow", headers=headers)).content),
        "sql": (await asked.http.post("/v1/sql", json=sql, headers=headers)).json()["data"],
        "rows": (await asked.get(rows_path, headers=headers)).json()["data"],
        "rows.arrow": _arrow((await asked.get(rows_path, headers=arrow)).content),
    }
    hidden = set(COLUMNS) - set(columns)
    for way, rows in ways.items():
        assert [{name: row[name] for name in columns} for row in rows] == expected, way
        assert not any(hidden & row.keys() for row in rows), way
    table = list(csv.DictReader(io.StringIO((await asked.get(f"{path}.csv", headers=headers)).text)))
    assert [row["n"] for row in table] == [str(row["n"]) for row in expected]
    count = await asked.http.post("/v1/sql", json={"sql": f"select count(*) as c from t{at}"}, headers=headers)
    assert count.json()["data"] == [{"c": len(expected)}]


def _arrow(body: bytes) -> list[Row]:
    rows: list[Row] = pa.ipc.open_stream(body).read_all().to_pylist()
    return rows


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda condition: condition.text or "all")
def test_the_conditions_compared_are_decided_by_some_rows(condition: Condition) -> None:
    who = {"home": "AA", "carriers": ["AA"], "sizes": [2], "open": False, "groups": {"red"}}
    rows = [
        {"carrier": carrier, "size": size, "weight": weight, "tail": None}
        for carrier in ("AA", "BB", None) for size in (1, 2, 5, None) for weight in (0.0, 9.0, None)
    ]  # fmt: skip
    held = {condition.holds(row, who) is True for row in rows}
    assert held == ({True} if not condition.text else {True, False})
