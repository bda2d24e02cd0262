"""Rows leave the data plane by known ways only, each under the policies of their dataset, with control or without."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.process import until
from tests.fakes.query_process import AUTHORIZED, ENVIRONMENT, FLIGHTS, Asked, asking, dataset, endpoint, flights

from headwater.core.policies import PolicySpec
from headwater.core.settings import Settings
from headwater.core.snapshot import KeyPhase, KeySpec
from headwater.services.app import create_app

#: By which rows of datasets come out; each is tested here, in the tests of its service or in tests/property.
ROWS = {
    "/v1/endpoints/{endpoint}": "views; tests/property/test_policies.py",
    "/v1/endpoints/{endpoint}/live": "views; tests/unit/services/query/live/test_watching.py",
    "/v1/sql": "views in a confined worker; tests/property/test_policies.py",
    "/v1/datasets/{dataset}/rows": "views; tests/property/test_policies.py",
    "/v1/features/{view}/read": "whole rows or nothing",
    "/v1/features/{view}/history": "whole rows or nothing",
    "/v1/models/{model}/batch": "whole rows or nothing",
    "/v1/models/{model}/versions/{version}/batch": "whole rows or nothing",
    "/v1/datasets/{dataset}/quarantine": "values are redacted unless whole rows are shown",
    "/v1/datasets/{dataset}/quarantine/groups": "values are redacted unless whole rows are shown",
    "/v1/receipts/{receipt}": "values are redacted unless they are one's own, or whole rows are shown",
}
#: The rest says what there is, takes rows, or answers about what the request itself brought.
NONE = ("/", "/livez", "/readyz", "/metrics", "/docs", "/openapi.json", "/v1/endpoints", "/v1/datasets", "/v1/features")
NONE_BELOW = (
    "/v1/models", "/v1/jobs", "/v1/predictions", "/v1/outcomes", "/v1/flags", "/v2", "/ofrep", "/internal/", "/docs/",
)  # fmt: skip
ACCEPTED = (
    "/v1/datasets/{dataset}", "/v1/datasets/{dataset}/rows/validate", "/v1/datasets/{dataset}/quarantine/replay",
    "/v1/datasets/{dataset}/quarantine/discard", "/v1/features/{view}", "/v1/endpoints/{endpoint}/live/tickets",
)  # fmt: skip


def templates(router: Any, prefix: str = "") -> Iterator[str]:
    for route in router.routes:
        if getattr(route, "methods", None):
            yield prefix + route.path
        elif hasattr(route, "original_router"):
            yield from templates(route.original_router, prefix + getattr(router, "prefix", ""))


def test_every_route_is_known_either_to_show_rows_or_not_to(tmp_path: Path) -> None:
    app: Any = create_app(Settings(home=tmp_path)).app
    found = set(templates(app.router))
    assert found >= ROWS.keys()
    listed = set(ROWS) | set(ACCEPTED)
    unknown = [path for path in sorted(found - listed) if path not in NONE and not path.startswith(NONE_BELOW)]
    assert unknown == [], "say in ROWS how policies reach these routes, or why they show no rows"


def own_carrier(**more: Any) -> PolicySpec:
    return PolicySpec(
        id="pol_1", name="own", resource="dataset:flights", priority=10, principals=("everyone",),
        row_filter="carrier in (caller.carriers)", attributes={"carriers": "strings"}, **more,
    )  # fmt: skip


async def put(asked: Asked, number: int, key: KeySpec, *policies: PolicySpec, **more: Any) -> None:
    snapshot = make_snapshot(
        number, keys={KEY: key}, datasets={"flights": dataset(FLIGHTS)},
        policies={policy.name: policy for policy in policies}, **more,
    )  # fmt: skip
    asked.control.publish(snapshot)
    await until(lambda: asked.runtime.environments[ENVIRONMENT].snapshot.number == number)


def powerful(**more: Any) -> KeySpec:
    return make_key("endpoint.invoke:*", "dataset.read:*", "sql.run:*").model_copy(update=more)


async def test_a_result_that_was_cached_for_one_is_not_given_to_another(tmp_path: Path) -> None:
    all_of_them = endpoint("all", "select distinct carrier from flights order by 1")
    async with asking(tmp_path) as asked:
        asked.seal("flights", flights(0, 30))
        tags = set()
        for number, carrier in ((2, "AA"), (3, "BB")):
            key = powerful(attributes={"carriers": [carrier]})
            await put(asked, number, key, own_carrier(), endpoints={"all": all_of_them})
            for _ in range(2):
                reply = await asked.get("/v1/endpoints/all")
                assert reply.json()["data"] == [{"carrier": carrier}]
                assert reply.json()["meta"]["policy"] == {"flights": "own"}
                assert reply.headers["hw-policy"] == "flights=own"
                tags.add(reply.headers["etag"])
            stale = await asked.get("/v1/endpoints/all", headers=AUTHORIZED | {"If-None-Match": max(tags)})
            assert stale.status_code in (200, 304)
        assert len(tags) == 2


@pytest.mark.parametrize(
    "row_filter",
    ["carrier = 'AA'", "lower(carrier) = 'aa'", "carrier = 'AA' or id < 0", "id % 3 = 0 and carrier != 'x'"],
)
async def test_errors_tell_nothing_of_rows_that_are_hidden(tmp_path: Path, row_filter: str) -> None:
    policy = own_carrier().model_copy(update={"row_filter": row_filter, "attributes": {}})
    oracles = (
        "select count(*) as c from flights where cast(carrier as integer) = 1 and carrier <> 'AA'",
        "select count(*) as c from flights where carrier <> 'AA' and strptime(carrier, '%Y') is not null",
        "select sum(case when carrier <> 'AA' then cast(carrier as integer) else 0 end) as c from flights",
        "select count(*) as c from flights a join flights b on a.carrier = b.carrier where a.carrier = 'BB'",
    )
    async with asking(tmp_path) as asked:
        asked.seal("flights", flights(0, 3_000))
        await put(asked, 2, powerful(), policy)
        for sql in oracles:
            reply = await asked.http.post("/v1/sql", json={"sql": sql})
            if reply.status_code == 200:
                assert reply.json()["data"] in ([{"c": 0}], [{"c": "0"}], [{"c": None}]), sql
            else:
                assert reply.json()["code"] == "sql_rejected", reply.text


async def test_no_text_of_a_callers_becomes_sql(tmp_path: Path) -> None:
    hostile = ["' OR true --", "AA') OR ('1'='1", "\\'; DROP VIEW v; --", "$$", "AA\x00"]
    async with asking(tmp_path) as asked:
        asked.seal("flights", flights(0, 30))
        await put(asked, 2, powerful(attributes={"carriers": hostile}), own_carrier())
        reply = await asked.get("/v1/datasets/flights/rows")
        assert reply.status_code == 200
        assert reply.json()["data"] == []


async def test_a_hidden_column_cannot_be_named_and_is_listed(tmp_path: Path) -> None:
    policy = own_carrier().model_copy(
        update={"row_filter": "", "attributes": {}, "columns": {"fare": "hide", "carrier": "null"}}
    )
    named = endpoint("named", "select fare from flights")
    async with asking(tmp_path) as asked:
        asked.seal("flights", flights(0, 3))
        await put(asked, 2, powerful(), policy, endpoints={"named": named})
        reply = (await asked.get("/v1/datasets/flights/rows")).json()
        assert "fare" not in reply["data"][0]
        assert reply["data"][0]["carrier"] is None
        assert reply["meta"]["hidden_columns"] == {"flights": ["fare"]}
        assert reply["meta"]["masked_columns"] == {"flights": {"carrier": "null"}}
        for refused in (
            await asked.get("/v1/endpoints/named"),
            await asked.http.post("/v1/sql", json={"sql": "select fare from flights"}),
        ):
            assert refused.status_code == 403
            assert "flights.fare" in refused.json()["detail"]


async def test_a_policy_on_an_endpoint_is_applied_to_its_answer(tmp_path: Path) -> None:
    spec = endpoint("per_carrier", "select carrier, count(*) as n from flights group by 1 order by 1")
    policy = own_carrier().model_copy(update={"resource": "endpoint:per_carrier", "columns": {"n": "null"}})
    async with asking(tmp_path) as asked:
        asked.seal("flights", flights(0, 30))
        await put(asked, 2, powerful(attributes={"carriers": ["BB", "CC"]}), policy, endpoints={"per_carrier": spec})
        reply = (await asked.get("/v1/endpoints/per_carrier")).json()
        assert reply["data"] == [{"carrier": "BB", "n": None}, {"carrier": "CC", "n": None}]
        assert reply["meta"]["policy"] == {"endpoint:per_carrier": "own"}


async def test_grants_policies_and_attributes_end_on_time_while_control_is_down(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.seal("flights", flights(0, 30))
        await asked.http.post("/v1/sql", json={"sql": "select 1 as x"})  # so that a worker is there
        soon = datetime.now(UTC) + timedelta(seconds=4)
        key = powerful(
            attributes={"carriers": ["AA"]}, expires_at=soon + timedelta(days=1),
            later=(KeyPhase(starts_at=soon, allowances=("dataset.read:*",)),),
        )  # fmt: skip
        await put(asked, 2, key, own_carrier(expires_at=soon))
        asked.control.is_down = True
        assert (await asked.http.post("/v1/sql", json={"sql": "select 1 as x"})).status_code == 200
        assert len((await asked.get("/v1/datasets/flights/rows")).json()["data"]) == 10
        await asyncio.sleep(max(0.0, (soon - datetime.now(UTC)).total_seconds()) + 0.05)
        refused = await asked.http.post("/v1/sql", json={"sql": "select 1 as x"})
        assert refused.status_code == 403
        assert "sql.run" in refused.json()["hint"]
        after = (await asked.get("/v1/datasets/flights/rows")).json()
        assert after["data"] == []
        assert after["meta"]["policy"] == {"flights": "no policy allows rows"}


async def test_a_key_is_bound_to_its_networks_and_its_use_is_told(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.seal("flights", flights(0, 3))
        await put(asked, 2, powerful(cidrs=("10.0.0.0/8",), expires_at=datetime.now(UTC) + timedelta(days=1)))
        for headers in (AUTHORIZED, AUTHORIZED | {"X-Forwarded-For": "10.1.1.1"}):
            refused = await asked.get("/v1/datasets/flights/rows", headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            assert "127.0.0.1" in refused.json()["detail"]
        await put(asked, 3, powerful(cidrs=("127.0.0.0/8",), expires_at=datetime.now(UTC) + timedelta(days=1)))
        assert (await asked.get("/v1/datasets/flights/rows")).status_code == 200
        ((key_id, _, at),) = asked.runtime.key_uses.untold()
        assert key_id == "key_1"
        assert abs(at - datetime.now(UTC).timestamp()) < 60
        assert json.loads(json.dumps(at)) == at
