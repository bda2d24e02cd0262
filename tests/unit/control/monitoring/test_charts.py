"""The charts of a report: that they can be drawn, and that they show what the report says."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.builders.reports import FULL, category, nothing, number, report

from headwater.control.monitoring.bins import bars_of, printable, shown
from headwater.control.monitoring.buckets import bucketed, step_text, without_gaps
from headwater.control.monitoring.charts import FIELDS_DRAWN, Chart, charts_of
from headwater.control.monitoring.palette import PROPERTIES
from headwater.control.monitoring.report import Report
from headwater.core.monitoring_specs import MonitorSpec
from headwater.engines.charts.renderer import ChartRenderer
from headwater.engines.charts.svg import embed


@pytest.fixture(scope="module")
def renderer() -> Iterator[ChartRenderer]:
    made = ChartRenderer(timeout_seconds=60.0, batch_seconds=100.0)
    yield made
    made.close()


def charts(body: dict[str, Any], monitor: MonitorSpec | None = None) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts_of(Report.model_validate(body), monitor or MonitorSpec())}


def values(chart: Chart) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chart.spec["data"]["values"]
    return found


@pytest.mark.parametrize("minutes", [60, 1_440, 10_080])
def test_every_chart_is_drawn_and_follows_the_theme(renderer: ChartRenderer, minutes: int) -> None:
    long = {field["name"]: field for field in FULL["fields"]}
    whole = report(*long.values(), minutes=minutes, errors=1, performance=FULL["performance"])
    found = charts(whole)
    assert set(found) == {
        "traffic", "latency", "input-0", "input-1", "input-2", "output-0", "drift", "calibration",
    }  # fmt: skip
    for name, svg in zip(found, renderer.draw([chart.spec for chart in found.values()]), strict=True):
        assert isinstance(svg, str), f"{name}: {svg}"
        element = embed(svg, label=found[name].label, name=name, colours=PROPERTIES).markup
        assert "var(--hw-chart-" in element
        # Every colour of the drawing has its property, so that none stays as it was in the dark.
        assert not [colour for colour in PROPERTIES if f'"{colour}"' in element]
        assert 'fill="#' not in element


def test_names_that_would_break_a_drawing_do_not(renderer: ChartRenderer) -> None:
    evil = ["\x00\x08", "<b>&\"'", "\u202e", "datum.x", "x[0].y", "\ud800", ""]
    fields = [number(name, psi=0.3) for name in evil]
    reference = {"categories": evil, "share": [0.1] * 8}
    found = charts(report(*fields, category("c", reference=reference, current={"share": [0.125] * 8})))
    for svg in renderer.draw([chart.spec for chart in found.values()]):
        assert isinstance(svg, str), svg
        embed(svg, label="x", name="x")


def test_nothing_is_drawn_of_nothing() -> None:
    assert charts(nothing()) == {}
    assert charts(report(number("never", psi=None)) | {"traffic": []}) == {}


def test_requests_are_stacked_and_add_up() -> None:
    found = charts(report(errors=2))["traffic"]
    assert sum(value["high"] - value["low"] for value in values(found)) == 600
    assert sum(value["high"] - value["low"] for value in values(found) if value["kind"] == "failed") == 120
    assert found.label == "Requests over time: 600, of which 120 failed"


def test_stretches_are_few_whole_and_within_the_window() -> None:
    for minutes, words in ((60, "minute"), (1_440, "30 minutes"), (10_080, "3 hours")):
        body = Report.model_validate(report(minutes=minutes))
        found = bucketed(body)
        assert len(found) <= 62
        assert sum(bucket.requests for bucket in found) == body.requests
        assert found[-1].until <= body.window.until.timestamp() * 1_000
        assert step_text(body) == words


def test_a_line_breaks_off_where_nobody_asked() -> None:
    body = report()
    body["traffic"] = body["traffic"][:10] + body["traffic"][30:]
    found = without_gaps(bucketed(Report.model_validate(body)))
    assert [bucket.p50_ms is None for bucket in found].index(True) == 10
    assert values(charts(body)["latency"])[20]["ms"] is None


def test_bins_are_named_by_where_they_begin_and_told_apart() -> None:
    edges = [1.00001, 1.00002, 2.0]
    body = number("x", reference={"bins": edges, "share": [0.25] * 4, "max": 1.9}, current={"share": [0.25] * 4})
    names = [bar["bin"] for bar in bars_of(Report.model_validate(report(body)).fields[0])[::2]]
    assert names[0] == "<1"
    assert names[-1] == ">1.9"
    assert len(set(names)) == 4


def test_a_value_with_a_bin_to_itself_is_followed_by_what_is_greater() -> None:
    edges = [0.0, math.nextafter(0.0, 1), 2.0, 4.0]
    body = number("x", reference={"bins": edges, "share": [0.2] * 5, "max": 3.9}, current={"share": [0.2] * 5})
    names = [bar["bin"] for bar in bars_of(Report.model_validate(report(body)).fields[0])[::2]]
    assert names == ["<0", "0", ">0", "2", ">3.9"]


def test_rare_categories_are_drawn_as_one() -> None:
    names = [f"c{at}" for at in range(20)]
    body = category("x", reference={"categories": names, "share": [0.05] * 20 + [0.0]}, current={"share": [0.0] * 21})
    bars = bars_of(Report.model_validate(report(body)).fields[0])
    assert [bar["bin"] for bar in bars[::2]] == [*names[:7], "others"]
    assert bars[14]["share"] == pytest.approx(0.65)


def test_only_the_fields_that_drifted_most_have_a_chart_of_their_own() -> None:
    found = charts(report(*(number(f"f{at}", psi=at / 100) for at in range(40))))
    assert len([name for name in found if name.startswith("input-")]) == FIELDS_DRAWN
    assert "f39" in found["input-0"].label
    assert {value["field"] for value in values(found["drift"])} == {f"f{at}" for at in range(24, 40)}


def test_colours_change_where_the_rules_say() -> None:
    spec = charts(report(number("x")), MonitorSpec(psi=0.5))["drift"].spec
    assert spec["encoding"]["color"]["scale"]["domain"] == [0.1, 0.5]
    spec = charts(report(number("x")), MonitorSpec(psi=None))["drift"].spec
    assert spec["encoding"]["color"]["scale"]["domain"] == [0.1, 0.2]


def test_texts_are_shown_without_what_cannot_be_seen() -> None:
    assert printable("a\x00b\u202ec") == "a�b�c"
    assert shown("") == "(empty)"
    assert len(shown("x" * 500)) == 80


def test_a_process_that_ends_leaves_no_drawing_one_behind() -> None:
    code = (
        "from headwater.control.monitoring.drawing import RENDERER\n"
        "print(RENDERER.draw([{'mark': 'bar', 'data': {'values': []}}])[0][:4])\n"
    )
    done = subprocess.run([sys.executable, "-X", "dev", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("<svg\n", "")
