from __future__ import annotations

from typing import Any

import pytest

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.definition import parse_view

FLIGHTS = Contract(
    "flights",
    "1.0",
    (
        Field("origin", LogicalType.STRING),
        Field("number", LogicalType.INTEGER),
        Field("delay", LogicalType.NUMBER),
        Field("price", LogicalType.DECIMAL),
        Field("late", LogicalType.BOOLEAN),
        Field("at", LogicalType.TIMESTAMP),
        Field("tags", LogicalType.JSON),
    ),
    event_time="at",
)
WHOLE = """\
description: What happened lately
dataset: flights
entities: [origin, number]
features:
  - {name: delay, column: delay}
  - {name: mean_3h, aggregate: mean, column: delay, window: 3h, default: 0}
  - {name: flights_1d, aggregate: count, window: 24h}
  - {name: busy, type: boolean, expression: flights_1d > 30 and planned is not null}
inputs: [{name: planned, type: timestamp}]
freshness: 6h
delay: 5m
as_received: true
"""


def resolve(text: str) -> dict[str, Any]:
    return parse_view(text, source="features/recent.yaml").resolve(FLIGHTS)


def test_a_file_becomes_a_spec() -> None:
    view = FeatureViewSpec.model_validate({**resolve(WHOLE), "id": "fv_1", "revision": 1})
    assert view.name == "recent"
    assert (view.entities, view.entity_types) == (("origin", "number"), ("string", "integer"))
    assert (view.event_time, view.freshness_seconds, view.delay_seconds) == ("at", 21_600, 300)
    assert view.as_received
    assert view.online
    kinds = [(item.name, item.kind, item.type, item.window_seconds) for item in view.features]
    assert kinds == [
        ("delay", "column", "number", None),
        ("mean_3h", "aggregate", "number", 10_800),
        ("flights_1d", "aggregate", "integer", 86_400),
        ("busy", "expression", "boolean", None),
    ]
    assert view.features[1].default == 0.0


def test_what_stands_in_while_nothing_can_be_read_is_declared() -> None:
    assert "on_unavailable" not in resolve(WHOLE), "a view that says nothing of it is what it was before"
    declared = resolve(WHOLE + "on_unavailable: default\n")
    assert FeatureViewSpec.model_validate({**declared, "id": "fv_1", "revision": 1}).on_unavailable == "default"
    with pytest.raises(HeadwaterError):
        resolve(WHOLE + "on_unavailable: guess\n")


def feature(text: str) -> str:
    return f"dataset: flights\nentities: [origin]\nfeatures:\n  - {{name: x, {text}}}\n"


@pytest.mark.parametrize(
    ("text", "line", "path", "message", "hint"),
    [
        ("{", 1, "", "not valid YAML", None),
        ("- a", 1, "", "must be a mapping", "dataset"),
        ("dataset: flights\nentities: [origin]\n", 1, "features", "field required", None),
        (feature("column: delay") + "ttl: 1h\n", 5, "ttl", "no such member", "freshness"),
        (feature("col: delay"), 4, "features[0].col", "no such member", "aggregate"),
        (feature("column: delay").replace("[origin]", "[orgin]"), 2, "entities[0]", "no field 'orgin'", "origin"),
        (feature("column: delay").replace("[origin]", "[delay]"), 2, "entities[0]", "cannot name", "integer"),
        (feature("column: delay").replace("[origin]", "[origin, origin]"), 2, "entities[1]", "twice", None),
        (feature("column: dely"), 4, "features[0].column", "no field 'dely'", "delay"),
        (feature("column: at"), 4, "features[0].column", "timestamp cannot be a feature", "count"),
        (feature("column: delay, type: string"), 4, "features[0].type", "cannot be a string", "number"),
        (feature("column: delay, default: none"), 4, "features[0].default", "not a number", "number"),
        (feature("column: late, default: 1"), 4, "features[0].default", "not a boolean", None),
        (feature("column: delay, window: 3h"), 4, "features[0].window", "needs an aggregate", None),
        (feature("aggregate: mean, window: 3h"), 4, "features[0]", "needs a column", None),
        (feature("aggregate: mean, column: delay"), 4, "features[0]", "needs a window", "window: 24h"),
        (feature("aggregate: mean, column: origin, window: 3h"), 4, "features[0].column", "mean of a string", "last"),
        (feature("aggregate: mode, column: origin, window: 3h"), 4, "features[0].aggregate", "input should be", None),
        (feature("aggregate: count, window: soon"), 4, "features[0].window", "no duration", "5m"),
        (feature("aggregate: count, window: 30s"), 4, "features[0].window", "out of range", "60s to 365d"),
        (feature("description: nothing"), 4, "features[0]", "a column, an aggregate or an expression", None),
        (feature("expression: 1 + 1"), 4, "features[0]", "needs a type", "type"),
        (feature("expression: 1 + y, type: number"), 4, "features[0].expression", "character 5: there is no", None),
        (feature("expression: 1 > 2, type: number"), 4, "features[0].expression", "is a boolean", "type: boolean"),
        (feature("column: delay") + "event_time: origin\n", 5, "event_time", "not a timestamp", None),
        (feature("column: delay") + "delay: 5x\n", 5, "delay", "no duration", None),
        (feature("column: delay").replace("name: x", "name: origin"), 4, "features[0].name", "an entity already", None),
        (feature("column: delay").replace("name: x", "name: X"), 4, "features[0].name", "should match", None),
    ],
)  # fmt: skip
def test_every_fault_has_its_line_and_cure(text: str, line: int, path: str, message: str, hint: str | None) -> None:
    with pytest.raises(HeadwaterError) as caught:
        resolve(text)
    assert caught.value.code == "project_invalid"
    fault = caught.value.extra["errors"][0]
    assert (fault["source"], fault["line"], fault["path"]) == ("features/recent.yaml", line, path)
    assert message in fault["message"]
    if hint is not None:
        assert hint in fault["hint"]


def test_all_faults_are_listed_at_once() -> None:
    text = feature("column: nothing") + "  - {name: y, column: at}\ndelay: 5m\nevent_time: late\n"
    with pytest.raises(HeadwaterError) as caught:
        resolve(text)
    assert [fault["line"] for fault in caught.value.extra["errors"]] == [7, 4, 5]


def test_a_view_without_event_time_asks_for_one() -> None:
    plain = Contract("flights", "1.0", FLIGHTS.fields)
    with pytest.raises(HeadwaterError, match="declares no event time"):
        parse_view(feature("column: delay"), source="features/x.yaml").resolve(plain)
