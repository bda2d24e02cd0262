"""Reading dashboards: what they may hold, and errors that name the tile and the place."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from headwater.core.dashboards import parse_board, to_plain
from headwater.core.dashboards.fit import Shape, misfits
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec

CHART = {"name": "c", "kind": "chart", "endpoint": "daily", "plot": {"mark": "line", "x": "day", "y": "n"}}
WHOLE: dict[str, Any] = {
    "title": "Sales",
    "refresh_seconds": 30,
    "filters": [
        {"name": "region", "label": "Region", "values": ["north", "south"]},
        {"name": "period", "type": "time_range", "default": "last 7 days"},
    ],
    "tiles": [
        {"name": "text", "kind": "text", "text": "hello", "width": 12},
        CHART
        | {"parameters": {"region": {"filter": "region"}, "from": {"filter": "period.from"}, "top": 3, "in": [1]}},
        {"name": "n", "kind": "number", "endpoint": "daily@2", "value": "n", "compare": 7, "live": True},
        {"name": "t", "kind": "table", "endpoint": "daily", "columns": ["day", "n"], "rows": 5},
    ],
}


def faults(data: Any) -> dict[str, str]:
    with pytest.raises(HeadwaterError) as caught:
        parse_board(data)
    assert caught.value.code == "dashboard_invalid"
    return {item["path"]: item["message"] for item in caught.value.extra["errors"]}


def with_tile(**members: Any) -> dict[str, Any]:
    return {"title": "Sales", "filters": WHOLE["filters"], "tiles": [CHART | members]}


def test_a_dashboard_survives_being_written_and_read() -> None:
    board = parse_board(WHOLE)
    plain = to_plain(board)
    assert parse_board(plain) == board
    assert plain["tiles"][1]["parameters"] == {
        "region": {"filter": "region"}, "from": {"filter": "period.from"}, "top": 3, "in": [1],
    }  # fmt: skip
    assert "width" not in plain["tiles"][1]
    assert board.tile("n") is board.tiles[2]
    assert board.tile("gone") is None


@pytest.mark.parametrize(
    ("members", "path", "words"),
    [
        ({"width": 13}, "tiles[0] (c).width", "less than or equal to 12"),
        ({"endpoint": "Daily; drop"}, "tiles[0] (c).endpoint", "not of the form"),
        ({"kind": "pie"}, "tiles[0] (c)", "no such kind of tile"),
        ({"colour": "red"}, "tiles[0] (c).colour", "no such member"),
        ({"plot": None}, "tiles[0] (c)", "either a `plot` or a `vega`"),
        ({"vega": {"mark": "bar"}}, "tiles[0] (c)", "either a `plot` or a `vega`"),
        ({"plot": {"mark": "pie", "x": "a", "y": "b"}}, "tiles[0] (c).plot.mark", "'line', 'area'"),
        ({"plot": {"mark": "heatmap", "x": "a", "y": "b"}}, "tiles[0] (c).plot.colour", "needs a column"),
        ({"parameters": {"a": {"filter": "gone"}}}, "tiles[0] (c).parameters.a", "no filter 'gone'; there are: region"),
        ({"parameters": {"a": {"filter": "period"}}}, "tiles[0] (c).parameters.a", "say period.from or period.to"),
        ({"parameters": {"a": {"filter": "region.to"}}}, "tiles[0] (c).parameters.a", "is no time range"),
        ({"parameters": {"a": {"sql": "x"}}}, "tiles[0] (c).parameters.a", "write a value, a list of values"),
        ({"parameters": {"a": [[1]]}}, "tiles[0] (c).parameters.a", "write a value, a list of values"),
        ({"formats": {"n": "%Y<script>"}}, "tiles[0] (c).formats.n", "at most 6"),
        ({"formats": {"n": "~x"}}, "tiles[0] (c).formats.n", "not of the form"),
    ],
)
def test_what_is_wrong_with_a_tile_names_it_and_the_place(members: dict[str, Any], path: str, words: str) -> None:
    found = faults(with_tile(**members))
    assert list(found) == [path]
    assert words in found[path]


def test_everything_wrong_is_found_at_once() -> None:
    data = deepcopy(WHOLE)
    data["tiles"][0]["width"] = 0
    data["tiles"][3]["rows"] = 1_000_000
    data["filters"][1]["default"] = "last seven days"
    data["colour"] = 1
    found = faults(data)
    assert set(found) == {"tiles[0] (text).width", "tiles[3] (t).rows", "filters[1].default", "colour"}
    assert "say 'last 7 days'" in found["filters[1].default"]


def test_names_are_unique() -> None:
    twice = {"title": "x", "filters": [{"name": "a"}, {"name": "a"}], "tiles": [CHART, CHART]}
    assert set(faults(twice)) == {"filters", "tiles"}


@pytest.mark.parametrize("data", [None, [], "title: x", {"title": "x", "tiles": [float]}, 7])
def test_what_is_no_dashboard_is_refused(data: Any) -> None:
    assert faults(data)


def test_what_is_too_long_is_refused_before_it_is_looked_at() -> None:
    text = {"kind": "text", "text": "x" * 9_000}
    found = faults({"title": "x", "tiles": [text | {"name": f"t{at}"} for at in range(40)]})
    assert "256,000 are the most" in found[""]
    deep: Any = []
    for _ in range(50_000):
        deep = [deep]
    assert "no plain data" in faults({"title": "x", "tiles": deep})[""]


SHAPES = {
    "daily": Shape(
        (
            ParameterSpec(name="region", type="string", values=("north", "south")),
            ParameterSpec(name="from", type="date", required=True),
            ParameterSpec(name="top", type="integer"),
        ),
        (("day", "date"), ("n", "integer")),
    )
}


@pytest.mark.parametrize(
    ("members", "path", "words"),
    [
        ({"endpoint": "gone"}, "tiles[0] (c).endpoint", "there are: daily"),
        ({"parameters": {"from": "2026-01-01", "q": 1}}, "tiles[0] (c).parameters.q", "it has: region, from, top"),
        ({"parameters": {}}, "tiles[0] (c).parameters.from", "always needs from"),
        ({"parameters": {"from": {"filter": "region"}}}, "tiles[0] (c).parameters.from", "it is a date"),
        ({"parameters": {"from": "2026-01-01", "region": "west"}}, "tiles[0] (c).parameters.region", "none of north"),
        ({"parameters": {"from": "2026-01-01", "top": [1, 2]}}, "tiles[0] (c).parameters.top", "no list"),
        ({"plot": {"mark": "bar", "x": "day", "y": "m"}}, "tiles[0] (c).plot.y", "it answers: day, n"),
        ({"titles": {"m": "M"}}, "tiles[0] (c).titles.m", "answers no column 'm'"),
    ],
)
def test_a_dashboard_is_held_against_its_endpoints(members: dict[str, Any], path: str, words: str) -> None:
    data = with_tile(**({"parameters": {"from": {"filter": "period.from"}}} | members))
    found = dict(misfits(parse_board(data), SHAPES))
    assert words in found[path]


def test_a_dashboard_that_fits_has_no_misfits() -> None:
    data = with_tile(parameters={"from": {"filter": "period.from"}, "region": {"filter": "region"}, "top": 5})
    assert list(misfits(parse_board(data), SHAPES)) == []
