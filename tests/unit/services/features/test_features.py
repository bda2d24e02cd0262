"""The feature service over HTTP, with a real lake and a real online store."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from tests.builders.features import table_of
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.memory_journal import MemoryJournal
from tests.fakes.process import alive, until
from tests.fakes.query_process import AUTHORIZED, FLIGHTS, dataset, flights

from headwater.core.settings import Settings
from headwater.core.snapshot import FeatureInputSpec, FeatureSpec, FeatureViewSpec, KeySpec
from headwater.engines.features import materialise
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.engines.online import open_online
from headwater.services.features import create
from headwater.services.kit.application import compose
from headwater.services.kit.runtime import ProcessRuntime

ENVIRONMENT = "env_1"
VIEW = FeatureViewSpec(
    id="fv_1",
    name="recent",
    revision=3,
    description="What a carrier did lately",
    dataset="flights",
    entities=("carrier",),
    entity_types=("string",),
    event_time="at",
    features=(
        FeatureSpec(name="delay", type="number", kind="column", column="delay", default=-1.0),
        FeatureSpec(name="flights", type="integer", kind="aggregate", aggregate="count", window_seconds=3_600),
        FeatureSpec(name="sum", type="number", kind="expression", expression="delay + coalesce(given, 0)"),
    ),
    inputs=(FeatureInputSpec(name="given", type="number"),),
)
SECRET = VIEW.model_copy(update={"name": "secret", "dataset": "secrets", "features": VIEW.features[:1]})


@dataclass
class Asked:
    http: httpx.AsyncClient
    home: Path

    async def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return await self.http.post(path, json=body, **more)


@contextlib.asynccontextmanager
async def asking(
    home: Path, views: Iterable[FeatureViewSpec] = (VIEW,), *, keys: Mapping[str, KeySpec] | None = None
) -> AsyncIterator[Asked]:
    control = FakeControl()
    settings = Settings(home=home)
    runtime = ProcessRuntime(settings, journal=MemoryJournal(), lake=open_lake(settings))
    runtime.home.prepare()
    control.establish_trust(runtime.home)
    secrets = dataset(FLIGHTS).model_copy(update={"name": "secrets", "protected": True})
    control.publish(
        make_snapshot(
            1,
            keys=keys if keys is not None else {KEY: make_key("feature.read:*")},
            datasets={"flights": dataset(FLIGHTS), "secrets": secrets},
            features={view.name: view for view in views},
        )
    )
    runtime.lake.append(f"{ENVIRONMENT}/flights", flights(0, 300), AppTransaction("test", 1))
    door = compose(runtime, [create(runtime)], transport=control.transport())
    async with alive(door):
        await until(lambda: bool(runtime.environments))
        transport = httpx.ASGITransport(door, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://services", headers=AUTHORIZED) as http:
            yield Asked(http, home)


def materialise_rows(home: Path, rows: list[dict[str, Any]], view: FeatureViewSpec = VIEW) -> int:
    """Put rows into the online state as of now; return now in microseconds."""
    now = time.time_ns() // 1_000
    store = open_online(Settings(home=home))
    materialiser = materialise.Materialiser(store)
    state = materialiser.begin(ENVIRONMENT, view, journal="j")
    materialiser.append(state, table_of([{**row, "at": now - row["ago"]} for row in rows]), now_us=now)
    materialiser.close()
    store.close()
    return now


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    return body


async def test_an_online_read_has_values_event_times_and_statuses(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"carrier": "AA", "delay": 5.0, "ago": 60_000_000},
        {"carrier": "BB", "delay": None, "ago": 1},
    ]
    materialise_rows(tmp_path, rows)
    async with asking(tmp_path) as asked:
        body = {"entities": [{"carrier": "AA", "given": 2}, {"carrier": "BB"}, {"carrier": "ZZ"}]}
        reply = (await asked.post("/v1/features/recent/read", body)).json()
        assert (reply["view"], reply["revision"]) == ("recent", 3)
        assert [result["values"] for result in reply["results"]] == [
            {"delay": 5.0, "flights": 1, "sum": 7.0},
            {"delay": -1.0, "flights": 1, "sum": -1.0},
            {"delay": -1.0, "flights": 0, "sum": -1.0},
        ]
        statuses = [result["status"]["delay"] for result in reply["results"]]
        assert statuses == ["present", "default", "missing"]
        times = [result["event_time"] for result in reply["results"]]
        assert times[0].endswith("Z")
        assert times[2] is None
        assert reply["results"][0]["entity"] == {"carrier": "AA", "given": 2}


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        (b"", 400, "empty_body", ""),
        (b"{", 400, "malformed_body", ""),
        (b"[]", 422, "input_invalid", "object"),
        (b'{"entities": []}', 422, "input_invalid", "empty"),
        (b'{"entities": [5]}', 422, "input_invalid", "entities"),
        (b'{"entities": [{"carrier": "A"}], "more": 1}', 422, "input_invalid", "more"),
        (b'{"entities": [{}]}', 422, "input_invalid", "/carrier"),
        (b'{"entities": [{"carrier": "A"}, {"carrier": 7}]}', 422, "input_invalid", "entity 1"),
        (b'{"entities": [{"carrier": "A", "given": "x"}]}', 422, "input_invalid", "/given"),
        (json.dumps({"entities": [{"carrier": "A"}] * 10_001}).encode(), 413, "too_many_rows", "10001"),
    ],
)
async def test_a_read_that_is_wrong_is_refused_with_its_place(
    tmp_path: Path, body: bytes, status: int, code: str, words: str
) -> None:
    materialise_rows(tmp_path, [{"carrier": "AA", "delay": 5.0, "ago": 1}])
    async with asking(tmp_path) as asked:
        found = problem(await asked.http.post("/v1/features/recent/read", content=body), status, code)
        assert words in found["detail"]


async def test_views_that_are_missing_unready_or_protected_say_so(tmp_path: Path) -> None:
    async with asking(tmp_path, [VIEW, SECRET]) as asked:
        body = {"entities": [{"carrier": "AA"}]}
        problem(await asked.post("/v1/features/nothing/read", body), 404, "feature_view_not_found")
        unready = await asked.post("/v1/features/recent/read", body)
        problem(unready, 503, "features_unavailable")
        assert unready.headers["retry-after"] == "2"
        for path in ("read", "history"):
            refused = problem(await asked.post(f"/v1/features/secret/{path}", body), 403, "forbidden")
            assert "protected" in refused["detail"]


async def test_a_view_says_how_far_its_state_goes(tmp_path: Path) -> None:
    materialise_rows(tmp_path, [{"carrier": "AA", "delay": 5.0, "ago": 1}] * 3)
    async with asking(tmp_path) as asked:
        state = (await asked.http.get("/v1/features/recent")).json()["state"]
        assert (state["generation"], state["rows_through"]) == (1, 3)
        assert state["updated_at"].endswith("Z")


async def test_who_may_not_read_features_sees_none(tmp_path: Path) -> None:
    async with asking(tmp_path, keys={KEY: make_key("dataset.read:*")}) as asked:
        assert (await asked.http.get("/v1/features")).json() == []
        for path in ("recent/read", "recent/history", "nothing/read"):
            problem(await asked.post(f"/v1/features/{path}", {}), 403, "forbidden")
        problem(await asked.http.get("/v1/features/recent"), 403, "forbidden")
        problem(
            await asked.http.post("/v1/features/recent/read", headers={"Authorization": "x"}), 401, "unauthenticated"
        )


async def test_views_are_listed_with_what_they_compute(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        (view,) = (await asked.http.get("/v1/features")).json()
        assert (await asked.http.get("/v1/features/recent")).json() == view | {"state": None}
        assert (view["name"], view["dataset"], view["entities"]) == ("recent", "flights", ["carrier"])
        assert [feature["computed"] for feature in view["features"]] == [
            "newest delay",
            "count of rows over 1h",
            "delay + coalesce(given, 0)",
        ]
        paths = (await asked.http.get("/openapi.json")).json()["paths"]
        assert {path for path in paths if path.startswith("/v1/features")} == {
            "/v1/features",
            "/v1/features/{view}",
            "/v1/features/{view}/read",
            "/v1/features/{view}/history",
        }


LABELS = [
    {"id": 1, "carrier": "AA", "when": "2023-11-14T22:13:20.000004Z", "given": 1.0},
    {"id": 2, "carrier": "ZZ", "when": "2023-11-14T23:13:20+01:00", "given": None},
    {"id": 3, "carrier": "BB", "when": "2023-11-14T22:13:20.000004Z", "given": None},
    {"id": 4, "carrier": "BB", "when": "2023-11-14T22:13:20.000003Z", "given": None},
]
FRAME = [(1, 1.5, 2, 2.5), (2, -1.0, 0, -1.0), (3, 2.0, 2, 2.0), (4, 0.5, 1, 0.5)]


def rows_of(plain: Iterable[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [(row["id"], row["delay"], row["flights"], row["sum"]) for row in plain]


async def test_a_training_frame_comes_in_every_format_from_every_format(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(LABELS)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    text = io.BytesIO()
    pacsv.write_csv(table, text)
    bodies = {
        "application/json": json.dumps({"labels": LABELS, "time": "when"}).encode(),
        "text/csv": text.getvalue(),
        "application/vnd.apache.arrow.stream": sink.getvalue(),
    }
    async with asking(tmp_path) as asked:
        for media, body in bodies.items():
            url = "/v1/features/recent/history?time=when"
            headers = {"Content-Type": media}
            reply = await asked.http.post(url, content=body, headers=headers)
            assert reply.status_code == 200, reply.text
            assert reply.json()["meta"] == {"rows": 4}
            assert rows_of(reply.json()["data"]) == FRAME
            csv = await asked.http.post(f"{url}&format=csv", content=body, headers=headers)
            assert rows_of(pacsv.read_csv(io.BytesIO(csv.content)).to_pylist()) == FRAME
            arrow = await asked.http.post(f"{url}&format=arrow", content=body, headers=headers)
            assert rows_of(pa.ipc.open_stream(arrow.content).read_all().to_pylist()) == FRAME


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({}, 422, "input_invalid", "labels"),
        ({"labels": []}, 422, "input_invalid", "labels"),
        ({"labels": [{"carrier": "AA"}]}, 400, "invalid_parameter", "which column"),
        ({"labels": [{"carrier": "AA"}], "time": "when"}, 400, "invalid_parameter", "'when'"),
        ({"labels": [{"when": "2020-01-01T00:00:00Z"}], "time": "when"}, 400, "invalid_parameter", "'carrier'"),
        ({"labels": [{"carrier": "AA", "when": 5}], "time": "when"}, 400, "invalid_parameter", "instants"),
        ({"labels": [{"carrier": "AA", "when": "soon"}], "time": "when"}, 422, "input_invalid", "label 0: /when"),
        ({"labels": [{"carrier": "AA", "when": "2020-01-01T00:00:00Z", "delay": 1}], "time": "when"}, 400,
         "invalid_parameter", "'delay' themselves"),
        ({"labels": [{"carrier": "AA", "when": 1}, {"carrier": "AA", "when": "x"}], "time": "when"}, 422,
         "input_invalid", "several types"),
    ],
)  # fmt: skip
async def test_labels_that_are_wrong_are_refused_with_their_place(
    tmp_path: Path, body: dict[str, Any], status: int, code: str, words: str
) -> None:
    async with asking(tmp_path) as asked:
        found = problem(await asked.post("/v1/features/recent/history", body), status, code)
        assert words in found["detail"]


async def test_formats_that_do_not_exist_are_named(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        url = "/v1/features/recent/history"
        problem(await asked.post(f"{url}?format=xls", {}), 406, "not_acceptable")
        reply = await asked.http.post(url, content=b"x", headers={"Content-Type": "application/x-yaml"})
        problem(reply, 415, "unsupported_media_type")
        for media in ("text/csv", "application/vnd.apache.arrow.stream"):
            reply = await asked.http.post(url, content=b"\x00\xff{", headers={"Content-Type": media})
            assert reply.json()["code"] in ("malformed_body", "invalid_parameter")


async def test_a_frame_without_rows_of_the_dataset_has_defaults(tmp_path: Path) -> None:
    view = VIEW.model_copy(update={"name": "empty", "dataset": "nowhere"})
    async with asking(tmp_path, [view]) as asked:
        body = {"labels": LABELS, "time": "when"}
        problem(await asked.post("/v1/features/empty/history", body), 404, "dataset_not_found")


async def test_nothing_is_left_on_the_disk(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        await asked.post("/v1/features/recent/history", {"labels": LABELS, "time": "when"})
        assert list((tmp_path / "run" / "spill").iterdir()) == []
