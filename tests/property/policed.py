"""Policies that are drawn at random, and a plain evaluation of what each shows to whom."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from tests.builders.snapshots import make_key

from headwater.contracts.model import Field, LogicalType
from headwater.core.policies import PolicySpec
from headwater.core.snapshot import KeySpec

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


def make_caller(at: int, roles: set[str], groups: set[str], attributes: dict[str, Any]) -> KeySpec:
    key = make_key("endpoint.invoke:*", "dataset.read:*", "sql.run:*", prefix=f"key{at}", key_id=f"key_{at}")
    return key.model_copy(
        update={"roles": tuple(sorted(roles)), "groups": tuple(sorted(groups)), "attributes": attributes}
    )


def make_policy(at: int, order: int, drawn: tuple[set[str], Condition, dict[str, Any], datetime | None]) -> PolicySpec:
    principals, condition, masks, expires_at = drawn
    return PolicySpec(
        id=f"pol_{at}_{order}", name=f"p{at}_{order}", resource=f"dataset:t{at}", priority=order,
        principals=tuple(sorted(principals)), row_filter=condition.text, attributes=dict(condition.attributes),
        columns=masks, expires_at=expires_at,
    )  # fmt: skip


def shown_rows(rows: list[Row], policies: list[Any], closed: bool, caller: Any) -> tuple[list[Row], list[str]]:
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


def stored(rows: Sequence[Row]) -> pa.Table:
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
