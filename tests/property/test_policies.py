"""Whatever way rows come out, they are those that a plain evaluation of the policies shows, and no others."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.builders.snapshots import make_key, make_snapshot
from tests.fakes.process import until
from tests.fakes.query_process import ENVIRONMENT, Asked, asking, dataset, endpoint

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.core.policies import PolicySpec
from headwater.core.snapshot import EnvironmentSpec, KeySpec

Row = dict[str, Any]
MASK_KEY = "a test's key"
GROUPS = ("red", "blue")
ROLES = ("analyst", "partner")
PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Condition:
    """A filter as it is written, the attributes that it uses, and the same in plain Python (None: unknown)."""

    text: str
    attributes: Mapping[str, str]
    holds: Callable[[Row, Mapping[str, Any]], bool | None]


def of(column: str, test: Callable[[Any, Any], bool]) -> Callable[[Row, Mapping[str, Any]], bool | None]:
    """Return a condition on one column, which says nothing about a null."""
    return lambda row, who: None if row[column] is None else test(row[column], who)


CONDITIONS = (
    Condition("", {}, lambda row, who: True),
    Condition("carrier = 'AA'", {}, of("carrier", lambda carrier, who: carrier == "AA")),
    Condition("carrier is null or size > 3", {}, lambda row, who: row["carrier"] is None or (row["size"] or 0) > 3),
    Condition("not (size = 2)", {}, of("size", lambda size, who: size != 2)),
    Condition("weight * 2 < 5", {}, of("weight", lambda weight, who: weight * 2 < 5)),
    Condition("10 / size > 4", {}, of("size", lambda size, who: size != 0 and 10 / size > 4)),
    Condition("carrier = caller.home", {"home": "string"}, of("carrier", lambda carrier, who: carrier == who["home"])),
    Condition(
        "carrier in (caller.carriers)",
        {"carriers": "strings"},
        of("carrier", lambda carrier, who: carrier in who["carriers"]),
    ),
    Condition(
        "size in (caller.sizes, 1)", {"sizes": "integers"}, of("size", lambda size, who: size in (*who["sizes"], 1))
    ),
    Condition(
        "'red' in (caller.groups) and size > 0", {}, of("size", lambda size, who: "red" in who["groups"] and size > 0)
    ),
    Condition("caller.open or size = 1", {"open": "boolean"}, lambda row, who: who["open"] or row["size"] == 1),
    Condition(
        "lower(carrier) = lower(caller.home)",
        {"home": "string"},
        of("carrier", lambda carrier, who: carrier.lower() == who["home"].lower()),
    ),
)
PRINCIPALS = ("everyone", *(f"role:{role}" for role in ROLES), *(f"group:{name}" for name in GROUPS))
MASKS: tuple[dict[str, str], ...] = (
    {},
    {"carrier": "hash"},
    {"carrier": "null"},
    {"carrier": "hide"},
    {"tail": "last4"},
    {"tail": "hide", "size": "null"},
)
TEXTS = st.sampled_from(["AA", "BB", "aa", "it's", "' OR 1=1 --", "ß", ""])
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "carrier": st.none() | TEXTS,
            "size": st.none() | st.integers(-2, 5),
            "weight": st.none() | st.sampled_from([0.0, 2.5, 2.4999, -1.0]),
            "tail": st.none() | st.sampled_from(["N12345", "N1", "", "äöüß€"]),
        }
    ),
    max_size=12,
)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "home": TEXTS | st.just(7),
        "carriers": st.lists(TEXTS, max_size=3),
        "sizes": st.lists(st.integers(-2, 5), max_size=2) | st.just("not a list"),
        "open": st.booleans() | st.none(),
    },
)
CALLERS = st.lists(
    st.tuples(st.sets(st.sampled_from(ROLES)), st.sets(st.sampled_from(GROUPS)), ATTRIBUTES), min_size=2, max_size=3
)
POLICIES = st.lists(
    st.tuples(
        st.sets(st.sampled_from(PRINCIPALS), min_size=1),
        st.sampled_from(CONDITIONS),
        st.sampled_from(MASKS),
        st.sampled_from([None, PAST, FUTURE]),
    ),
    max_size=3,
)
SHAPE = (
    Field("n", LogicalType.INTEGER),
    Field("carrier", LogicalType.STRING, nullable=True),
    Field("size", LogicalType.INTEGER, nullable=True),
    Field("weight", LogicalType.NUMBER, nullable=True),
    Field("tail", LogicalType.STRING, nullable=True),
)
COLUMNS = [field.name for field in SHAPE]


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, tables=st.lists(st.tuples(POLICIES, st.booleans()), min_size=3, max_size=4), callers=CALLERS)
def test_every_way_out_shows_what_a_plain_evaluation_shows(
    rows: list[Row], tables: list[tuple[Any, bool]], callers: list[Any]
) -> None:
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(_check(Path(home), rows, tables, callers))


async def _check(home: Path, rows: list[Row], tables: list[tuple[Any, bool]], callers: list[Any]) -> None:
    contracts = [Contract(f"t{at}", "1.0", SHAPE, protected=closed) for at, (_, closed) in enumerate(tables)]
    keys = {f"hw_key{at}": _key(at, *caller) for at, caller in enumerate(callers)}
    endpoints = [endpoint(f"e{at}", f"select * from t{at} order by n") for at in range(len(tables))]
    async with asking(home, contracts=contracts, keys=keys) as asked:
        policies = [_spec(at, order, one) for at, (listed, _) in enumerate(tables) for order, one in enumerate(listed)]
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
                asked.seal(f"t{at}", _table(rows))
            for text, caller in zip(keys, callers, strict=True):
                await _check_ways(asked, at, text, *_plain(rows, listed, closed, caller))


def _key(at: int, roles: set[str], groups: set[str], attributes: dict[str, Any]) -> KeySpec:
    key = make_key("endpoint.invoke:*", "dataset.read:*", "sql.run:*", prefix=f"key{at}", key_id=f"key_{at}")
    return key.model_copy(
        update={"roles": tuple(sorted(roles)), "groups": tuple(sorted(groups)), "attributes": attributes}
    )


def _spec(at: int, order: int, drawn: tuple[set[str], Condition, dict[str, Any], datetime | None]) -> PolicySpec:
    principals, condition, masks, expires_at = drawn
    return PolicySpec(
        id=f"pol_{at}_{order}", name=f"p{at}_{order}", resource=f"dataset:t{at}", priority=order,
        principals=tuple(sorted(principals)), row_filter=condition.text, attributes=dict(condition.attributes),
        columns=masks, expires_at=expires_at,
    )  # fmt: skip


def _plain(rows: list[Row], policies: list[Any], closed: bool, caller: Any) -> tuple[list[Row], list[str]]:
    """Return the rows and columns that the policies show, by what they are said to mean."""
    numbered = [{"n": n, **row} for n, row in enumerate(rows)]
    if not policies and not closed:
        return numbered, COLUMNS
    roles, groups, attributes = caller
    mine = {"everyone", *(f"role:{role}" for role in roles), *(f"group:{name}" for name in groups)}
    for principals, condition, masks, expires_at in policies:
        if not principals & mine or expires_at == PAST:
            continue
        columns = [name for name in COLUMNS if masks.get(name) != "hide"]
        if not all(_fits(attributes.get(name), kind) for name, kind in condition.attributes.items()):
            return [], columns
        who = {**attributes, "groups": groups}
        shown = [row for row in numbered if condition.holds(row, who) is True]
        return [{name: _masked(row[name], masks.get(name)) for name in columns} for row in shown], columns
    return [], COLUMNS


def _fits(value: Any, kind: str) -> bool:
    types = {"string": str, "boolean": bool}
    return isinstance(value, types[kind]) if kind in types else isinstance(value, list)


def _masked(value: Any, mask: str | None) -> Any:
    if mask is None or value is None:
        return value
    if mask == "last4":
        return f"****{value[-4:]}" if len(value) > 4 else "****"
    return hashlib.sha256(f"{MASK_KEY}{value}".encode()).hexdigest()[:32] if mask == "hash" else None


def _table(rows: Sequence[Row]) -> pa.Table:
    now = pa.array(
        [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=n) for n in range(len(rows))], pa.timestamp("us", "UTC")
    )
    numbers = pa.array(range(len(rows)), pa.int64())
    return pa.table(
        {
            "n": numbers,
            "carrier": pa.array([row["carrier"] for row in rows], pa.string()),
            "size": pa.array([row["size"] for row in rows], pa.int64()),
            "weight": pa.array([row["weight"] for row in rows], pa.float64()),
            "tail": pa.array([row["tail"] for row in rows], pa.string()),
            "_hw_seq": numbers,
            "_hw_received_at": now,
            "_hw_receipt": pa.array(["rcp_1"] * len(rows)),
            "_hw_contract": pa.array(["1.0"] * len(rows)),
        }
    )  # fmt: skip


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
