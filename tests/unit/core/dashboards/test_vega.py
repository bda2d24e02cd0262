"""The part of Vega-Lite that tiles may hold: ordinary charts pass; what loads, links, runs or never ends does not."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.core.dashboards.vega import Refused, check_view

XY = {"x": {"field": "a", "type": "quantitative"}, "y": {"field": "b", "type": "nominal"}}
ORDINARY: list[dict[str, Any]] = [
    {"mark": "bar", "encoding": XY},
    {"mark": {"type": "line", "point": True, "strokeDash": [4, 2], "color": {"gradient": "linear", "stops": [
        {"offset": 0, "color": "red"}]}}, "encoding": XY},
    {"layer": [{"mark": "line", "encoding": XY}, {"mark": "rule", "encoding": {
        "y": {"aggregate": "mean", "field": "a"}}}],
     "resolve": {"scale": {"y": "independent"}}},
    {"mark": "rect", "encoding": {
        "x": {"field": "a", "bin": {"maxbins": 20}, "axis": {"tickCount": 5, "labelAngle": -45, "format": ",.1f"}},
        "color": {"aggregate": "count", "scale": {"scheme": "blues", "domainMid": 0}, "legend": None}}},
    {"mark": "area", "transform": [
        {"filter": {"field": "a", "oneOf": ["x", "y"]}},
        {"window": [{"op": "sum", "field": "b", "as": "total"}], "frame": [None, 0]},
        {"timeUnit": "yearmonth", "field": "t", "as": "month"},
        {"fold": ["a", "b"], "as": ["key", "value"]}], "encoding": XY},
    {"mark": "text", "encoding": {**XY, "text": {"field": "a", "format": ".0%"}, "opacity": {
        "condition": {"test": {"field": "a", "gt": 3}, "value": 1}, "value": 0.3}}},
]  # fmt: skip
HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"mark": "bar", "data": {"url": "https://evil.example/x.csv"}}, "name that in `endpoint`"),
    ({"mark": "bar", "data": {"sequence": {"start": 0, "stop": 1e12}}}, "name that in `endpoint`"),
    ({"mark": "bar", "datasets": {"x": []}}, "name that in `endpoint`"),
    ({"mark": "image", "encoding": {"url": {"value": "https://evil.example/x.png"}}}, "no mark a tile may have"),
    ({"mark": {"type": "image", "url": "file:///etc/passwd"}}, "no mark a tile may have"),
    ({"mark": "geoshape"}, "no mark a tile may have"),
    ({"mark": {"type": ["image"]}}, "no mark a tile may have"),
    ({"mark": {"type": "point", "href": "javascript:alert(1)"}}, "charts link nowhere"),
    ({"mark": "point", "encoding": {"href": {"field": "a"}}}, "charts link nowhere"),
    ({"mark": "point", "encoding": {"url": {"field": "a"}}}, "charts load nothing"),
    ({"mark": "point", "params": [{"name": "p", "expr": "1"}]}, "signals are not allowed"),
    ({"mark": {"type": "bar", "color": {"expr": "now()"}}}, "left to the endpoint's SQL"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "axis": {"labelExpr": "datum.label"}}}}, "left to the endpoint"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "axis": {"values": {"signal": "x"}}}}}, "signals are not"),
    ({"mark": "bar", "transform": [{"calculate": "sequence(1e9)", "as": "x"}]}, "left to the endpoint's SQL"),
    ({"mark": "bar", "transform": [{"filter": "sequence(1e9)"}]}, "left to the endpoint's SQL"),
    ({"mark": "bar", "transform": [{"lookup": "a", "from": {"data": {"url": "x"}}}]}, "not allowed"),
    ({"mark": "bar", "transform": [{"density": "a", "steps": 1e9}]}, "not allowed"),
    ({"mark": "bar", "transform": [{"filter": {"or": [{"not": "sleep()"}, {"field": "a", "range": {"signal": "x"}}]}}]},
     "signals are not allowed"),
    ({"mark": "bar", "encoding": {"x": {"value": 1, "condition": {"test": "while(1)", "value": 2}}}}, "left to the"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "bin": {"step": 1e-12}}}}, "without end"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "bin": {"maxbins": 1e9}}}}, "200 are the most"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "axis": {"tickCount": 1e9}}}}, "200 are the most"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "axis": {"tickCount": {"interval": "day", "step": 0.0001}}}}},
     "without end"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "scale": {"nice": {"interval": "ms", "step": 1}}}}}, "end"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "scale": {"bins": {"step": 1e-9}}}}}, "not allowed"),
    ({"mark": "bar", "encoding": {"y": {"field": "a", "impute": {"value": 0, "keyvals": {"start": 0, "stop": 1e9}}}}},
     "list the values"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "scale": {"domain": [0, 1e300]}}}}, "out of all proportion"),
    ({"mark": "bar", "config": {"background": "url(x)"}}, "come from the theme"),
    ({"mark": "bar", "width": 1e9}, "the tile's"),
    ({"mark": "bar", "usermeta": {"embedOptions": {"loader": {}}}}, "not allowed"),
    ({"mark": "bar", "encoding": {"row": {"field": "a"}}}, "one view"),
    ({"repeat": ["a"], "spec": {"mark": "bar"}}, "one view"),
    ({"hconcat": [{"mark": "bar"}]}, "one view"),
    ({"layer": [{"mark": "bar"}] * 9}, "are the most"),
    ({"layer": [{"layer": [{"layer": [{"mark": "bar"}]}]}]}, "are the most"),
    ({"layer": [{"mark": "bar", "data": {"url": "x"}}]}, "name that in `endpoint`"),
    ({"layer": []}, "list of views"),
    ({"mark": "bar", "layer": [{"mark": "bar"}]}, "either a `mark` or a `layer`"),
    ({}, "either a `mark` or a `layer`"),
    ({"mark": "bar", "encoding": []}, "mapping of channels"),
    ({"mark": "bar", "title": {"text": "x", "href": "y"}}, "write text"),
    ({"mark": "bar", "resolve": {"scale": {"x": {"expr": "1"}}}}, "say `shared`"),
    ({"mark": "bar", "transform": "x"}, "list of at most"),
    ({"mark": "bar", "transform": [{"fold": ["a"]}] * 21}, "list of at most"),
    ({"mark": "bar", "encoding": {"x": {"field": "a", "title": "x" * 40_000}}}, "32,000 are the most"),
    ({"mark": "bar", "encoding": {"x": {"field": b"a"}}}, "no JSON"),
    ({"mark": "bar", "encoding": {"x": {"datum": float("nan")}}}, "no JSON"),
    ({"mark": "bar", "encoding": {"__proto__": {"field": "a"}}}, "not allowed"),
    ({"mark": "bar", "encoding": {"x": {"constructor": {"prototype": 1}}}}, "not allowed"),
]  # fmt: skip


@pytest.mark.parametrize("view", ORDINARY)
def test_ordinary_views_pass(view: dict[str, Any]) -> None:
    check_view(view)


@pytest.mark.parametrize(("view", "words"), HOSTILE)
def test_hostile_views_are_refused_with_the_place(view: dict[str, Any], words: str) -> None:
    with pytest.raises(Refused) as caught:
        check_view(view)
    assert words in str(caught.value)


def test_a_view_that_is_nested_without_end_is_refused() -> None:
    deep: Any = {"and": []}
    for _ in range(100_000):
        deep = {"and": [deep]}
    with pytest.raises(Refused, match="nested deeper"):
        check_view({"mark": "bar", "transform": [{"filter": deep}]})
