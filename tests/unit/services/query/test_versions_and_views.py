"""Versions of endpoints as callers meet them, endpoints as views under their policies, and values from queries."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.process import until
from tests.fakes.query_process import FLIGHTS, Asked, asking, dataset, endpoint, flights

from headwater.core.policies import PolicySpec
from headwater.core.snapshot import EndpointSpec
from headwater.services.query.versions import FRESH_SECONDS

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def version(number: int, **more: Any) -> EndpointSpec:
    return endpoint("daily", f"/* version: {number} */ SELECT {number} AS v", **more)


async def serve(asked: Asked, endpoints: dict[str, EndpointSpec], policies: tuple[PolicySpec, ...] = ()) -> None:
    """Publish a configuration with endpoints by their labels."""
    snapshot = make_snapshot(
        2,
        keys={KEY: make_key("endpoint.invoke:*", "dataset.read:*")},
        datasets={FLIGHTS.name: dataset(FLIGHTS)},
        endpoints=endpoints,
        policies={policy.name: policy for policy in policies},
    )
    asked.control.publish(snapshot)
    await until(lambda: next(iter(asked.runtime.environments.values())).snapshot.number == 2)


async def test_several_versions_are_served_and_the_bare_name_is_the_newest_that_lasts(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        await serve(
            asked,
            {
                "daily": version(3),
                "daily@1": version(1, deprecated_at=NOW - 2 * DAY, sunset_at=NOW - DAY),
                "daily@2": version(2, deprecated_at=NOW - DAY, sunset_at=NOW + DAY),
                "daily@4": version(4, deprecated_at=NOW - DAY),
            },
        )
        newest = await asked.get("/v1/endpoints/daily")
        assert newest.json()["data"] == [{"v": 3}]
        assert "deprecation" not in newest.headers
        assert (await asked.get("/v1/endpoints/daily@3.csv")).text == '"v"\n3\n'
        old = await asked.get("/v1/endpoints/daily@2")
        assert old.json()["data"] == [{"v": 2}]
        assert old.headers["deprecation"] == f"@{int((NOW - DAY).timestamp())}"
        assert old.headers["sunset"] == f"{NOW + DAY:%a, %d %b %Y %H:%M:%S GMT}"
        assert old.links["successor-version"]["url"] == "/v1/endpoints/daily@4"
        gone = await asked.get("/v1/endpoints/daily@1")
        assert (gone.status_code, gone.json()["code"]) == (410, "endpoint_gone")
        assert gone.json()["successor"] == "/v1/endpoints/daily@4"
        for unknown in ("daily@5", "daily@", "daily@x", "daily@01", "daily@2@2"):
            assert (await asked.get(f"/v1/endpoints/{unknown}")).status_code == 404
        listed = (await asked.get("/v1/endpoints")).json()["endpoints"]
        assert sorted(one["version"] for one in listed) == [1, 2, 3, 4]
        document = (await asked.get("/openapi.json")).json()
        shown = {path: item["get"] for path, item in document["paths"].items() if "daily" in path}
        assert {path.partition("daily")[2]: item.get("deprecated", False) for path, item in shown.items()} == {
            "": False,
            "@1": True,
            "@2": True,
            "@4": True,
        }


BASE = (
    "/* parameters: {least: {type: number, default: 5}} */ SELECT carrier, id, delay FROM flights WHERE delay >= $least"
)
READER = "SELECT carrier, count(*) AS n, max(delay) AS worst FROM base GROUP BY carrier ORDER BY carrier"


async def test_an_endpoint_reads_another_with_its_defaults_and_follows_its_table(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("base", BASE), endpoint("reader", READER, uses=["base@1"])) as asked:
        asked.seal("flights", flights(0, 30))
        first = await asked.get("/v1/endpoints/reader")
        assert sum(row["n"] for row in first.json()["data"]) == sum(n / 2 >= 5 for n in range(30) if n % 5)
        assert list(first.json()["meta"]["table_versions"]) == ["flights"]
        asked.seal("flights", flights(30, 30))
        await asyncio.sleep(2 * FRESH_SECONDS)
        second = await asked.get("/v1/endpoints/reader")
        assert second.headers["etag"] != first.headers["etag"]
        assert sum(row["n"] for row in second.json()["data"]) == sum(n / 2 >= 5 for n in range(60) if n % 5)


async def test_the_policy_on_a_view_holds_for_its_readers(tmp_path: Path) -> None:
    policy = PolicySpec(
        id="pol_1", name="only_aa", resource="endpoint:base", priority=1, principals=("everyone",),
        row_filter="carrier == 'AA'", columns={"delay": "null"},
    )  # fmt: skip
    endpoints = {"base": endpoint("base", BASE), "reader": endpoint("reader", READER, uses=["base@1"])}
    async with asking(tmp_path) as asked:
        asked.seal("flights", flights(0, 30))
        await serve(asked, endpoints, (policy,))
        body = (await asked.get("/v1/endpoints/reader")).json()
        count = sum(n % 3 == 0 and n / 2 >= 5 for n in range(30) if n % 5)
        assert body["data"] == [{"carrier": "AA", "n": count, "worst": None}]
        assert body["meta"]["policy"] == {"endpoint:base": "only_aa"}


VALUES = """/*
parameters:
  carrier: {type: string, values_from: "SELECT DISTINCT carrier FROM flights"}
*/
SELECT count(*) AS n FROM flights WHERE carrier = $carrier
"""


async def test_a_parameter_may_have_the_values_that_a_query_answers(tmp_path: Path) -> None:
    async with asking(tmp_path, endpoint("by", VALUES)) as asked:
        asked.seal("flights", flights(0, 2))
        assert (await asked.get("/v1/endpoints/by?carrier=AA")).json()["data"] == [{"n": 1}]
        refused = await asked.get("/v1/endpoints/by?carrier=CC")
        assert (refused.status_code, refused.json()["code"]) == (422, "parameter_invalid")
        assert "must be one of AA, BB" in refused.json()["detail"]
        asked.seal("flights", flights(2, 1))
        await asyncio.sleep(2 * FRESH_SECONDS)
        assert (await asked.get("/v1/endpoints/by?carrier=CC")).json()["data"] == [{"n": 1}]
        assert (await asked.get("/v1/endpoints/by")).json()["data"] == [{"n": 0}]


@pytest.mark.parametrize(
    ("query", "status"), [("from=2026-01-01&to=2026-01-31", 200), ("to=2026-02-01&from=2026-01-01", 422)]
)
async def test_two_dates_may_not_be_further_apart_than_their_span(tmp_path: Path, query: str, status: int) -> None:
    text = (
        "/* parameters: {from: {type: date}, to: {type: date, default: today, max_span: {from: 30d}}} */"
        " SELECT $from AS a, $to AS b"
    )
    async with asking(tmp_path, endpoint("span", text)) as asked:
        reply = await asked.get(f"/v1/endpoints/span?{query}")
        assert reply.status_code == status
        if status != 200:
            assert "at most 30 days after from" in reply.json()["detail"]


async def test_the_document_shows_the_type_of_rows_and_how_to_ask_for_pages(tmp_path: Path) -> None:
    columns = [{"name": "day", "type": "date"}, {"name": "n", "type": "integer"}, {"name": "tags", "type": "VARCHAR[]"}]
    text = (
        "/* {key: [day], parameters: {ids: {type: 'integer[]'}, since: {type: date, default: today-7d}}} */"
        " SELECT $since AS day, 1 AS n, ['a'] AS tags, $ids AS ids"
    )
    async with asking(tmp_path, endpoint("typed", text, columns=columns)) as asked:
        operation = (await asked.get("/openapi.json")).json()["paths"]["/v1/endpoints/typed"]["get"]
        parameters = {one["name"]: one for one in operation["parameters"]}
        assert list(parameters) == ["ids", "since", "limit", "cursor"]
        assert parameters["ids"]["schema"]["type"] == "array"
        assert "today-7d" in parameters["since"]["description"]
        content = operation["responses"]["200"]["content"]
        row = content["application/json"]["schema"]["properties"]["data"]["items"]["properties"]
        assert row["day"] == {"type": ["string", "null"], "format": "date"}
        assert row["tags"]["items"] == {"type": ["string", "null"]}
        assert "application/vnd.apache.parquet" in content
