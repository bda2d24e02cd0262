from __future__ import annotations

from datetime import UTC, datetime

import pytest
from tests.builders.snapshots import make_snapshot
from tests.fakes.query_process import FLIGHTS, SECRETS, dataset, endpoint

from headwater.core.snapshot import EndpointSpec
from headwater.services.query.catalog import CompiledQueries, compile_queries

NOW = datetime(2026, 11, 24, 23, 30, tzinfo=UTC)
BASE = endpoint(
    "recent",
    "/* parameters: {since: {type: date, default: today-7d}, least: {type: number, default: 5}} */"
    ' SELECT carrier, delay FROM flights WHERE "at" >= $since AND delay >= $least',
)
MIDDLE = endpoint("worst", "/* */ SELECT carrier, max(delay) AS worst FROM recent GROUP BY 1", uses=["recent@1"])
TOP = endpoint(
    "top",
    "/* parameters: {least: {type: number}} */ SELECT * FROM worst JOIN secrets ON carrier = name WHERE worst > $least",
    uses=["worst@1"],
)


def compiled(*endpoints: EndpointSpec, previous: CompiledQueries | None = None) -> CompiledQueries:
    snapshot = make_snapshot(
        1,
        datasets={contract.name: dataset(contract) for contract in (FLIGHTS, SECRETS)},
        endpoints={one.name: one for one in endpoints},
    )
    return compile_queries(snapshot, previous, engine="duckdb-test")


def test_an_endpoint_reads_what_the_views_below_it_read_under_their_defaults() -> None:
    top = compiled(TOP, MIDDLE, BASE).endpoints["top"]
    assert top.fault is None
    assert [table.name for table in top.tables] == ["flights", "secrets"]
    assert top.query is not None
    values = top.read_values({"least": "9"}, is_text=True, now=NOW)
    assert set(top.query.parameters) == set(values)
    assert values["least"] == 9.0
    assert sorted(map(str, set(values.values()))) == ["2026-11-17", "5.0", "9.0"]


def test_a_default_that_follows_the_day_is_of_the_day_in_utc() -> None:
    recent = compiled(BASE).endpoints["recent"]
    assert str(recent.read_values({}, is_text=True, now=NOW)["since"]) == "2026-11-17"
    assert str(recent.read_values({"since": "2026-01-01"}, is_text=True, now=NOW)["since"]) == "2026-01-01"


def test_a_change_of_a_view_changes_the_identity_of_its_readers_and_nothing_else() -> None:
    first = compiled(TOP, MIDDLE, BASE)
    other = endpoint("other", "/* */ SELECT 1 AS one")
    changed = BASE.model_copy(update={"sql": BASE.sql + " AND delay < 100", "revision": 2})
    second = compiled(TOP, MIDDLE, changed, other, previous=first)
    assert first.endpoints["top"].seed != second.endpoints["top"].seed
    third = compiled(TOP, MIDDLE, changed, other, previous=second)
    assert all(third.endpoints[name] is second.endpoints[name] for name in ("top", "worst", "recent", "other"))


@pytest.mark.parametrize(
    ("endpoints", "fault"),
    [
        ((MIDDLE,), "it reads recent@1, which is not served"),
        ((MIDDLE, BASE.model_copy(update={"sql": "SELECT nothing("})), "the endpoint cannot be served"),
        (
            (
                endpoint("a", "/* */ SELECT 1 AS one FROM b", uses=["b@1"]),
                endpoint("b", "/* */ SELECT 1 AS one FROM a", uses=["a@1"]),
            ),
            "in a circle",
        ),
    ],
)
def test_a_view_that_cannot_be_keeps_its_readers_from_being_served(
    endpoints: tuple[EndpointSpec, ...], fault: str
) -> None:
    made = compiled(*endpoints).endpoints[endpoints[0].name]
    assert made.fault is not None
    assert fault in made.fault.detail


def test_a_dataset_of_the_same_name_does_not_take_a_views_place() -> None:
    view = endpoint("secrets", "/* */ SELECT carrier AS name FROM flights")
    reader = endpoint("reader", "/* */ SELECT name FROM secrets", uses=["secrets@1"])
    assert [table.name for table in compiled(view, reader).endpoints["reader"].tables] == ["flights"]
