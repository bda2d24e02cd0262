"""The query behind an alert finds the rows that made it, in a table like the prediction log."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from tests.builders.reports import EVEN, SHIFTED, category, number, report

from headwater.control.monitoring.report import KnownQuality, Report
from headwater.control.monitoring.rows import Signature, evidence_of, misses_of
from headwater.engines.models.log_schema import INPUT_PREFIX, OUTPUT_PREFIX

SIGNATURE = Signature(
    inputs=[
        {"name": "hour", "type": "number"},
        {"name": "late", "type": "boolean"},
        {"name": "carrier", "type": "string"},
    ],
    outputs=[{"name": "score", "type": "number"}, {"name": "shares", "type": "number", "shape": [2]}],
)


def evidence(body: dict[str, Any], metric: str, side: str | None = None, field: str | None = None) -> dict[str, Any]:
    return evidence_of(Report.model_validate(body), metric, side, field, SIGNATURE)


def found(query: dict[str, Any], body: dict[str, Any]) -> list[Any]:
    """Run the query over a log and return the last column of what it finds."""
    now = datetime.fromisoformat(body["window"]["to"]) - timedelta(seconds=30)
    old = now - timedelta(days=3)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        'CREATE TABLE "predictions_delay" (prediction_id VARCHAR, predicted_at TIMESTAMPTZ, version BIGINT, '
        "route VARCHAR, latency_us BIGINT, input_hour DOUBLE, input_late BOOLEAN, input_carrier VARCHAR, "
        "output_score DOUBLE, output_shares DOUBLE[])"
    )
    rows: list[tuple[Any, ...]] = [
        ("a", now, 1, "champion", 10, 22.0, True, "UA", 0.5, [0.5, 25.0]),
        ("b", now, 1, "champion", 30, 3.0, False, "O'Hare", 0.5, [0.5, 3.0]),
        ("c", now, 1, "champion", 20, None, None, "B6", 0.5, None),
        ("d", now, 1, "champion", 25, 99.0, True, "ZZ", 0.5, None),
        ("e", now, 2, "champion", 99, 22.0, True, "UA", 0.5, None),
        ("f", old, 1, "champion", 99, 22.0, True, "UA", 0.5, None),
    ]
    connection.executemany("INSERT INTO predictions_delay VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    return [row[0] for row in connection.execute(query["sql"]).fetchall()]


CALM = {"bins": [0.0, math.nextafter(0.0, 1), 20.0, 40.0], "share": [0, 0.9, 0.06, 0.04, 0]}
LATE_HOUR = {"bins": [0.0, 22.0, math.nextafter(22.0, 23), 40.0], "share": [0, 0.4, 0.5, 0.1, 0]}
LATE = {"reference": {"bins": [0.0, 1.0, 1.1], "share": [0, 0.9, 0.1, 0]}, "current": {"share": [0, 0.1, 0.9, 0]}}
NO_NEW = [*SHIFTED[:-2], SHIFTED[-2] + SHIFTED[-1], 0.0]


@pytest.mark.parametrize(
    ("field", "metric", "ids"),
    [
        (number("hour", psi=0.6, shares=NO_NEW), "psi", ["a"]),
        (number("hour", reference=CALM, current={"share": [0, 0.5, 0.5, 0, 0]}), "psi", ["b"]),
        (number("hour", reference=LATE_HOUR, current={"share": [0, 0.1, 0.9, 0, 0]}), "psi", ["a"]),
        (number("hour", psi=0.6), "psi", ["d"]),
        (number("hour", psi=0.6, shares=[0.5, *[0.05] * 10, 0.0]), "js", []),
        (number("hour"), "null_rate", ["c"]),
        (number("hour"), "out_of_range_rate", ["d"]),
        (number("late") | LATE, "psi", ["a", "d"]),
        (category("carrier"), "psi", ["b"]),
        (category("carrier", current={"share": [0.1, 0.1, 0.1, 0.7]}), "psi", ["d"]),
        (category("carrier"), "out_of_range_rate", ["d"]),
        (number("shares[1]", side="output", psi=0.6), "psi", ["a"]),
    ],
)  # fmt: skip
def test_a_query_finds_the_rows_that_made_the_alert(field: dict[str, Any], metric: str, ids: list[str]) -> None:
    body = report(field)
    query = evidence(body, metric, field["side"], field["name"])
    assert found(query, body) == ids
    assert query["dataset"] == "predictions_delay"
    assert field["name"] in query["rows"]


def test_a_value_with_a_bin_to_itself_is_named_and_so_is_what_lies_beyond_it() -> None:
    dry, wet = [0, 0.99, 0.01, 0, 0], [0, 0.5, 0.5, 0, 0]
    words = [
        evidence(report(number("rain", reference=CALM, current={"share": share})), "psi", "input", "rain")["rows"]
        for share in (dry, wet)
    ]
    assert words[0] == "rows whose rain is 0: 99% of them, 90% in the reference"
    assert words[1] == "rows whose rain is above 0 and below 20: 50% of them, 6% in the reference"


def test_slow_predictions_come_slowest_first_and_failures_have_none() -> None:
    body = report()
    assert found(evidence(body, "p99_ms"), body) == ["b", "d", "c", "a"]
    assert "answered meanwhile" in evidence(body, "error_rate")["rows"]
    assert len(found(evidence(body, "error_rate"), body)) == 4


def test_names_and_values_cannot_leave_their_quotes() -> None:
    evil = '"; DROP TABLE x; --'
    fields = [number(evil, psi=0.6), category("c", reference={"categories": ["'); --\x00"], "share": [0.1, 0.9]},
                                              current={"share": [0.9, 0.1]})]  # fmt: skip
    for field in fields:
        sql = evidence(report(field), "psi", "input", field["name"])["sql"]
        assert "\x00" not in sql
        statements = duckdb.extract_statements(sql)
        assert len(statements) == 1
        assert statements[0].type == duckdb.StatementType.SELECT


def test_a_field_that_is_not_comparable_still_names_its_column() -> None:
    body = report(number("hour", psi=0.6, current={"share": [1.0]}))
    assert '"input_hour"' in evidence(body, "psi", "input", "hour")["sql"]
    empty = report(number("hour", reference={"bins": [], "share": [1.0]}, current={"share": [1.0]}))
    assert "IS NOT NULL" in evidence(empty, "out_of_range_rate", "input", "hour")["sql"]


def test_columns_are_named_as_the_log_names_them() -> None:
    assert SIGNATURE.column("input", "hour") == f'"{INPUT_PREFIX}hour"'
    assert SIGNATURE.column("output", "score") == f'"{OUTPUT_PREFIX}score"'
    assert datetime.now(UTC) > datetime(2026, 1, 1, tzinfo=UTC)
    assert sum(EVEN) == pytest.approx(1)


@pytest.mark.parametrize(("output", "ids"), [("score", ["b", "a"]), ("label", ["a"])])
def test_the_worst_misses_are_found_by_the_newest_outcome(output: str, ids: list[str]) -> None:
    body = report()
    window = KnownQuality.model_validate({"window": body["window"]})
    signature = Signature([], [{"name": "score", "type": "number"}, {"name": "label", "type": "string"}])
    query = misses_of(Report.model_validate(body), window, output, signature)
    now = datetime.fromisoformat(body["window"]["to"]) - timedelta(seconds=30)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        'CREATE TABLE "predictions_delay" (prediction_id VARCHAR, predicted_at TIMESTAMPTZ, version BIGINT, '
        "route VARCHAR, shadow_of VARCHAR, output_score DOUBLE, output_label VARCHAR)"
    )
    rows = [
        ("a", now, 1, "champion", None, 0.5, "no"), ("b", now, 1, "shadow", "s", 0.1, "yes"),
        ("c", now, 2, "champion", None, 0.0, "no"),
        ("d", now - timedelta(days=9), 1, "champion", None, 0.0, "no"),
    ]  # fmt: skip
    connection.executemany("INSERT INTO predictions_delay VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute(
        "CREATE TABLE prediction_outcomes "
        "(prediction_id VARCHAR, output VARCHAR, outcome_number DOUBLE, outcome_text VARCHAR, _hw_seq BIGINT)"
    )
    outcomes: list[tuple[Any, ...]] = [
        ("a", "score", 0.0, None, 1), ("a", "score", 1.0, None, 2), ("s", None, 1.0, None, 3),
        ("c", "score", 1.0, None, 4), ("d", "score", 1.0, None, 5),
        ("a", "label", None, "yes", 6), ("s", "label", None, "yes", 7),
    ]  # fmt: skip
    connection.executemany("INSERT INTO prediction_outcomes VALUES (?, ?, ?, ?, ?)", outcomes)
    assert [row[0] for row in connection.execute(query["sql"]).fetchall()] == ids


def test_edges_are_written_for_people_and_no_row_of_the_reference_is_out_of_range() -> None:
    greatest = 2 / 3
    edges = [0.0714500000000001234, 0.4688577841499707, math.nextafter(greatest, 1)]
    reference = {"bins": edges, "share": [0, 0.5, 0.5, 0]}
    body = report(number("score", reference=reference, current={"share": [0, 0, 1, 0]}))
    inside = evidence(body, "psi", "input", "score")["sql"]
    outside = evidence(body, "out_of_range_rate", "input", "score")["sql"]
    assert '"input_score" >= 0.468857784 AND "input_score" < 0.666666667' in inside
    assert '("input_score" < 0.07145 OR "input_score" >= 0.666666667)' in outside
    assert greatest < 0.666666667
    plain = number("hour", reference={"bins": [0.0, 23.0 + 4e-15], "share": [0, 1, 0]}, current={"share": [0, 0, 1]})
    assert '"input_hour" > 23.0' in evidence(report(plain), "psi", "input", "hour")["sql"]
