from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import EndpointSpec
from headwater.engines.query.endpoint_file import parse_endpoint

GOOD = """/*
description: Mean delay of each carrier
parameters:
  since: {type: date, required: true}
  carrier: {type: string, max_length: 2, description: IATA code}
  factor: {type: decimal, default: 1.5}
  day: {type: date, default: 2013-01-31, values: [2013-01-31, 2013-02-28]}
roles: [analyst]
timeout_seconds: 5
max_rows: 1000
examples:
  - {since: 2013-01-01, carrier: UA}
*/

SELECT carrier, avg(delay) * $factor AS delay FROM flights
WHERE day >= $since AND day <> $day AND ($carrier IS NULL OR carrier = $carrier)
GROUP BY carrier;
"""


def problems(text: str, source: str = "endpoints/delays.sql") -> list[dict[str, object]]:
    with pytest.raises(HeadwaterError) as caught:
        parse_endpoint(text, source=source)
    assert caught.value.code == "project_invalid"
    assert source in caught.value.detail
    errors: list[dict[str, object]] = caught.value.extra["errors"]
    return errors


def test_a_file_is_read_with_everything_it_declares() -> None:
    endpoint = parse_endpoint(GOOD, source="endpoints/delays.sql")
    assert endpoint.name == "delays"
    assert endpoint.sql.startswith("SELECT carrier")
    assert endpoint.sql.endswith("GROUP BY carrier")
    assert endpoint.tables == ("flights",)
    assert endpoint.roles == ("analyst",)
    assert (endpoint.timeout_seconds, endpoint.max_rows) == (5.0, 1000)
    assert endpoint.examples == ({"since": "2013-01-01", "carrier": "UA"},)
    by_name = {one.name: one for one in endpoint.parameters}
    assert by_name["since"].required
    assert by_name["factor"].default == "1.5"
    assert by_name["day"].default == "2013-01-31"
    assert by_name["day"].values == ("2013-01-31", "2013-02-28")


def test_what_a_file_declares_fits_into_a_snapshot() -> None:
    spec = parse_endpoint(GOOD, source="endpoints/delays.sql").to_spec()
    endpoint = EndpointSpec(id="end_1", revision=3, **spec)
    assert EndpointSpec.model_validate_json(endpoint.model_dump_json()) == endpoint


def test_the_header_names_the_endpoint_where_the_file_does_not() -> None:
    assert parse_endpoint("/* name: x_1 */ select 1 as a", source="endpoints/Y Z.sql").name == "x_1"
    assert problems("/* */ select 1 as a", "endpoints/Y Z.sql")[0]["path"] == "name"


@pytest.mark.parametrize(
    ("old", "new", "path", "line", "words"),
    [
        ("GROUP BY", "GRUP BY", "sql", 17, "syntax error"),
        ("avg(delay)", "getenv('x')", "sql", 15, "'getenv' is not allowed"),
        ("FROM flights", "FROM base.flights", "sql", 15, "schema"),
        ("FROM flights", "FROM read_csv('/etc/passwd')", "sql", 15, "'read_csv' is not allowed"),
        ("FROM flights", "FROM '/etc/passwd'", "sql", 15, "not a table"),
        ("GROUP BY carrier;", "GROUP BY carrier; SELECT 1", "sql", None, "exactly one statement"),
        ("$since", "$until", "sql", None, "$until is not declared"),
        ("AND day <> $day", "", "parameters.day", None, "does not use $day"),
        ("type: date, required", "type: dat, required", "parameters.since.type", None, "got 'dat'"),
        ("required: true", "requird: true", "parameters.since.requird", None, "no such member"),
        ("required: true", "required: true, default: 2013-01-01", "parameters.since", None, "no default"),
        ("max_length: 2", "ge: 2", "parameters.carrier", None, "for numbers"),
        ("max_length: 2", "pattern: '['", "parameters.carrier", None, "not a regular expression"),
        ("max_length: 2", "pattern: '(?=a)'", "parameters.carrier", None, "RE2"),
        ("default: 1.5", "default: much", "parameters.factor", None, "default"),
        ("roles: [analyst]", "role: [analyst]", "role", None, "no such member"),
        ("timeout_seconds: 5", "timeout_seconds: 5000", "timeout_seconds", None, "300"),
        ("max_rows: 1000", "max_rows: [1", "", 11, "not YAML"),
        ("carrier: UA}", "carrier: UAX}", "examples.0.carrier", None, "characters"),
        ("carrier: UA}", "hub: UA}", "examples.0.hub", None, "no such parameter"),
    ],
)
def test_a_fault_is_told_with_its_place(old: str, new: str, path: str, line: int | None, words: str) -> None:
    assert old in GOOD
    found = problems(GOOD.replace(old, new, 1))
    assert found[0]["path"] == path
    assert found[0].get("line") == line
    assert words in str(found[0]["message"])


def test_a_statement_that_changes_something_is_no_endpoint() -> None:
    assert problems("/* */ DELETE FROM flights")[0]["message"] == "only a SELECT may be run here"


def test_all_faults_of_a_file_are_told_at_once() -> None:
    text = GOOD.replace("type: date, required", "type: dat, required").replace("carrier: UA}", "carrier: UAX}")
    assert [fault["path"] for fault in problems(text)] == [
        "parameters.since.type",
        "examples.0.since",
        "examples.0.carrier",
    ]


@pytest.mark.parametrize("text", ["", "select 1", "-- description: x\nselect 1", "/* unclosed"])
def test_a_file_without_header_is_told_how_to_begin(text: str) -> None:
    assert "header" in str(problems(text)[0]["message"])


@pytest.mark.parametrize(
    "text", ["/* */", "/* description: x */  ;  ", "/* [] */ select 1", "/* just text */ select 1"]
)
def test_a_file_without_sense_is_refused(text: str) -> None:
    assert problems(text)


FULL = """/*
description: Sales of each day
columns: {day: date, n: integer, amount: "decimal(18, 2)", tags: "string[]", exact: INT8}
key: [day]
cache: {mode: off, stale_seconds: 30}
limits: {requests_per_second: 20, concurrency: 4, max_bytes: 50000000}
live: {min_interval_seconds: 2.5}
deprecated: 2026-12-01
sunset: 2027-03-01T12:00:00+01:00
*/
SELECT * FROM orders
"""


def test_a_header_says_version_contract_key_cache_limits_and_when_it_ends() -> None:
    spec = EndpointSpec(id="ep_1", revision=1, **parse_endpoint(FULL, source="endpoints/daily@2.sql").to_spec())
    assert (spec.name, spec.version, spec.key) == ("daily", 2, ("day",))
    assert [(column.name, column.type) for column in spec.columns] == [
        ("day", "date"),
        ("n", "integer"),
        ("amount", "decimal(18,2)"),
        ("tags", "string[]"),
        ("exact", "BIGINT"),
    ]
    assert (spec.cache.mode, spec.cache.stale_seconds) == ("off", 30)
    assert (spec.limits.requests_per_second, spec.limits.concurrency, spec.limits.max_bytes) == (20, 4, 50_000_000)
    assert spec.live.min_interval_seconds == 2.5
    assert spec.deprecated_at == datetime(2026, 12, 1, tzinfo=UTC)
    assert spec.sunset_at == datetime(2027, 3, 1, 11, tzinfo=UTC)


def test_what_a_file_does_not_say_is_left_out_so_that_what_was_applied_before_is_the_same() -> None:
    assert set(parse_endpoint(GOOD, source="delays.sql").to_spec()) == {
        *("name", "sql", "tables", "parameters", "description", "roles", "timeout_seconds", "max_rows"),
    }
    assert set(parse_endpoint(GOOD, source="delays.sql").to_spec()["parameters"][0]) == {
        *("name", "type", "required", "default", "description", "values", "ge", "le", "max_length", "pattern"),
    }


@pytest.mark.parametrize(
    ("header", "source", "path"),
    [
        ("version: 3", "daily@2.sql", "version"),
        ("version: 0", "daily.sql", "version"),
        ("description: x", "daily@two.sql", "version"),
        ("sunset: 2027-01-01", "daily.sql", ""),
        ("{deprecated: 2027-01-02, sunset: 2027-01-01}", "daily.sql", ""),
        ("deprecated: soon", "daily.sql", "deprecated"),
        ("columns: {day: dat}", "daily.sql", "columns.day"),
        ("cache: {mode: forever}", "daily.sql", "cache.mode"),
        ("limits: {max_bytes: 1}", "daily.sql", "limits.max_bytes"),
        ("live: {min_interval_seconds: 0}", "daily.sql", "live.min_interval_seconds"),
    ],
)
def test_what_a_header_cannot_mean_is_said_at_its_place(header: str, source: str, path: str) -> None:
    assert [fault["path"] for fault in problems(f"/*\n{header}\n*/ SELECT 1 AS day", source)] == [path]
