"""The forms that a prediction is asked and answered in."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.builders.fleet import HEADERS, ROWS, URL, Fleet
from tests.builders.models import make_model, make_version, numbers
from tests.builders.onnx_models import by_field, linear, two_columns
from tests.fakes.control import FakeControl
from tests.fakes.features import FakeFetcher
from tests.fakes.process import running

from headwater.contracts.model import Constraints, Field, LogicalType
from headwater.core.settings import Settings
from headwater.core.snapshot import FeatureRefSpec, ModelVersionSpec, OutputSpec
from headwater.services.inference.service import InferenceService

ARROW = "application/vnd.apache.arrow.stream"
FEATURES = (FeatureRefSpec(field="b", view="weather", feature="temp"),)
KNOWN: dict[int, dict[str, Any]] = {1: {"temp": 2}, 2: {"temp": 4.5}, 3: {"temp": math.nan}}


@pytest.fixture
def fetcher() -> FakeFetcher:
    return FakeFetcher(KNOWN)


@pytest.fixture
async def fetching(settings: Settings, control: FakeControl, fetcher: FakeFetcher) -> AsyncIterator[Fleet]:
    async with running(settings.home, control, lambda runtime: InferenceService(runtime, fetcher=fetcher)) as process:
        fleet = Fleet(process, control)
        await fleet.deploy(make_model(with_features(settings)))
        yield fleet


def with_features(settings: Settings, number: int = 1) -> ModelVersionSpec:
    return make_version(settings, number).model_copy(update={"features": FEATURES})


def outputs(body: dict[str, Any]) -> list[Any]:
    return [prediction and prediction["outputs"]["score"] for prediction in body["predictions"]]


async def test_features_are_fetched_by_entity_and_merged_with_rows(fetching: Fleet, fetcher: FakeFetcher) -> None:
    body = {"entities": [{"id": 1}, {"id": 2}], "rows": [{"a": 1}, {"a": 3}]}
    reply = await fetching.predict(body)
    assert outputs(reply.json()) == [21, 48]
    assert fetcher.asked == [(["b"], [{"id": 1, "a": 1}, {"id": 2, "a": 3}])]
    await asyncio.sleep(0.4)
    logged = await fetching.logged()
    assert [row["input_b"] for row in logged] == [2, 4.5]
    assert [json.loads(row["features"])["weather.temp"][0] for row in logged] == [2, 4.5]


async def test_the_document_says_that_rows_may_leave_features_out(fetching: Fleet) -> None:
    document = (await fetching.process.http.get("/openapi.json", headers=HEADERS)).json()
    operation = document["paths"][URL]["post"]
    by_rows, by_entities = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
    assert by_rows["properties"]["rows"]["items"]["required"] == ["a", "b"]
    assert by_entities["properties"]["rows"]["items"]["required"] == ["a"]
    assert ARROW in operation["requestBody"]["content"]


async def test_what_a_row_says_itself_wins_and_is_not_fetched(fetching: Fleet, fetcher: FakeFetcher) -> None:
    body = {"entities": [{"id": 1}, {"id": 99}], "rows": [{"a": 1}, {"a": 1, "b": 7}]}
    assert outputs((await fetching.predict(body)).json()) == [21, 71]
    assert [len(entities) for _needs, entities in fetcher.asked] == [1]


async def test_an_entity_that_is_not_known_is_named_by_row_and_field(fetching: Fleet) -> None:
    body = {"entities": [{"id": 1}, {"id": 99}, {"id": 3}], "rows": [{"a": 1}, {"a": 1}, {"a": 1}]}
    reply = await fetching.predict(body)
    assert (reply.status_code, reply.json()["code"]) == (422, "input_invalid")
    found = [(row["row"], error["path"], error["code"]) for row in reply.json()["errors"] for error in row["errors"]]
    assert found == [(1, "/b", "entity_missing"), (2, "/b", "type_mismatch")]
    reply = await fetching.predict(body, URL + "?on_error=null")
    assert outputs(reply.json()) == [21, None, None]
    assert [row["row"] for row in reply.json()["errors"]] == [1, 2]


async def test_rows_that_say_everything_need_no_entity(fetching: Fleet, fetcher: FakeFetcher) -> None:
    assert outputs((await fetching.predict()).json()) == [21, 48]
    assert fetcher.asked == []
    reply = await fetching.predict({"rows": [{"a": 1}]})
    assert reply.json()["errors"][0]["errors"][0]["path"] == "/b"


@pytest.mark.parametrize(
    ("body", "status", "code", "words"),
    [
        ({"entities": []}, 422, "input_invalid", "no rows"),
        ({"entities": {}}, 422, "input_invalid", "array"),
        ({"entities": [7]}, 422, "input_invalid", "object"),
        ({"entities": [{"id": 1}], "rows": [{"a": 1}, {"a": 2}]}, 422, "input_invalid", "1 entities and 2 rows"),
        ({"entities": [{"id": 1}], "more": 1}, 422, "input_invalid", "more"),
        ({"entities": [{"id": 1}] * 1_001}, 413, "too_many_rows", "1001"),
        ({"entities": [{"id": 1}], "rows": [{"a": "x"}]}, 422, "input_invalid", "row 0: /a"),
        ({"entities": [{"id": 1}]}, 422, "input_invalid", "row 0: /a"),
        (b'{"entities": [{"id": NaN}]}', 422, "input_invalid", "row 0: /id: NaN"),
        (b'{"entities": [{"id": 1}], "rows": [{"a": -Infinity}]}', 422, "input_invalid", "row 0: /a: -Infinity"),
        (b'{"entities": [{"id": 1}], "rows": [{', 400, "malformed_body", "JSON"),
    ],
)
async def test_entities_that_are_no_question_are_refused(
    fetching: Fleet, body: Any, status: int, code: str, words: str
) -> None:
    reply = await fetching.predict(body)
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert words in reply.json()["detail"]
    assert outputs((await fetching.predict({"entities": [{"id": 1}], "rows": [{"a": 1}]})).json()) == [21]


async def test_a_store_that_does_not_answer_is_said_so(fetching: Fleet, fetcher: FakeFetcher) -> None:
    fetcher.is_down = True
    reply = await fetching.predict({"entities": [{"id": 1}], "rows": [{"a": 1}]})
    assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (503, "features_unavailable", "2")
    fetcher.is_down = False
    assert outputs((await fetching.predict({"entities": [{"id": 1}], "rows": [{"a": 1}]})).json()) == [21]


async def test_a_model_without_features_takes_no_entities(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    reply = await fleet.predict({"entities": [{"id": 1}], "rows": [{"a": 1, "b": 2}]})
    assert (reply.status_code, reply.json()["code"]) == (422, "input_invalid")


async def test_large_numbers_beside_entities_are_held_against_their_text(fetching: Fleet) -> None:
    reply = await fetching.predict(b'{"entities": [{"id": 1}], "rows": [{"a": 9007199254740993}]}')
    assert reply.json()["errors"][0]["errors"][0]["code"] == "precision_loss"
    reply = await fetching.predict(b'{"entities": [{"id": 1}], "rows": [{"a": 9007199254740994}]}')
    assert reply.status_code == 200


async def test_bad_rows_may_be_answered_with_null(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    body = {"rows": [{"a": "x", "b": 1}, {"a": 1, "b": 2}, {"a": 1}, {"a": 3, "b": 4.5}, {"a": 1e300, "b": 1}]}
    assert (await fleet.predict(body)).status_code == 422
    reply = await fleet.predict(body, URL + "?on_error=null")
    assert reply.status_code == 200
    found = reply.json()
    assert outputs(found) == [None, 21, None, 48, None]
    assert [(row["row"], row["errors"][0]["path"]) for row in found["errors"]] == [(0, "/a"), (2, "/b"), (4, "/a")]
    assert found["errors_total"] == 3
    assert found["warnings"] == ["3 of 5 rows are bad and answered with null"]
    await asyncio.sleep(0.4)
    assert len(await fleet.logged()) == 2
    nothing = (await fleet.predict({"rows": [{"a": "x", "b": 1}]}, URL + "?on_error=null")).json()
    assert nothing["predictions"] == [None]
    fine = (await fleet.predict(ROWS, URL + "?on_error=null")).json()
    assert (outputs(fine), fine["warnings"]) == ([21, 48], [])
    assert "errors" not in fine
    assert (await fleet.predict(b"no JSON", URL + "?on_error=null")).status_code == 400


async def test_routing_is_explained_to_who_asks(fleet: Fleet, settings: Settings) -> None:
    model = make_model(make_version(settings, 1), make_version(settings, 2), routes={1: 7_500, 2: 2_500})
    await fleet.deploy(model)
    assert "routing" not in (await fleet.predict()).json()
    reply = (await fleet.predict(ROWS, URL + "?explain=routing", **{"hw-sticky-key": "me"})).json()
    routing = reply["routing"]
    assert routing["drawn_by"] == "Hw-Sticky-Key"
    assert routing["version"] == reply["version"] == (1 if routing["point"] < 7_500 else 2)
    assert [(route["version"], route["weight_bps"]) for route in routing["routes"]] == [(1, 7_500), (2, 2_500)]
    assert (await fleet.predict(ROWS, URL + "?explain=routing")).json()["routing"]["drawn_by"] == "body"
    pinned = await fleet.predict(ROWS, "/v1/models/delay/versions/1/predict?explain=routing")
    assert pinned.json()["routing"]["drawn_by"] == "path"


@pytest.mark.parametrize("query", ["on_error=skip", "explain=everything", "on_eror=null", "explain"])
async def test_options_that_do_not_exist_are_refused(fleet: Fleet, settings: Settings, query: str) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    reply = await fleet.predict(ROWS, f"{URL}?{query}")
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_parameter")


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


async def test_an_arrow_stream_is_answered_in_either_form(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    table = pa.table({"b": pa.array([2, 4.5], pa.float32()), "a": pa.array([1, 3], pa.int32())})
    reply = await fleet.predict(stream(table), **{"content-type": ARROW})
    assert outputs(reply.json()) == [21, 48]
    reply = await fleet.predict(stream(table), **{"content-type": ARROW, "accept": ARROW})
    assert reply.headers["content-type"] == ARROW
    found = pa.ipc.open_stream(reply.content).read_all()
    assert found.column("score").to_pylist() == [21, 48]
    assert all(identity.startswith("prd_") for identity in found.column("prediction_id").to_pylist())
    assert found.schema.metadata[b"version"] == b"1"
    assert found.schema.metadata[b"route"] == b"champion"
    from_json = await fleet.predict(ROWS, accept=ARROW)
    assert pa.ipc.open_stream(from_json.content).read_all().column("score").to_pylist() == [21, 48]


async def test_a_large_arrow_table_is_answered_in_order(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    table = pa.table({"a": np.arange(5_000.0), "b": np.zeros(5_000)})
    reply = await fleet.predict(stream(table), **{"content-type": ARROW, "accept": ARROW})
    found = pa.ipc.open_stream(reply.content).read_all()
    assert found.column("score").to_pylist() == list(range(5_000))
    await asyncio.sleep(0.6)
    assert len(await fleet.logged()) == 5_000


async def test_outputs_of_many_values_are_lists_of_fixed_size(fleet: Fleet, settings: Settings) -> None:
    shapes = (
        OutputSpec(name="label", type="integer"),
        OutputSpec(name="p", type="number", shape=(2,), source="probabilities"),
    )
    version = make_version(settings, artifact=two_columns(2), outputs=shapes)
    await fleet.deploy(make_model(version))
    reply = await fleet.predict({"rows": [{"a": 1, "b": 0.5}]}, accept=ARROW)
    found = pa.ipc.open_stream(reply.content).read_all()
    assert found.schema.field("p").type == pa.list_(pa.float64(), 2)
    assert (found.column("label").to_pylist(), found.column("p").to_pylist()) == ([1], [[0, 1.5]])


async def test_arrow_text_nulls_and_defaults_are_those_of_the_signature(fleet: Fleet, settings: Settings) -> None:
    fields = (
        Field("name", LogicalType.STRING, required=False),
        Field("amount", LogicalType.NUMBER, nullable=True, constraints=Constraints(le=10)),
        Field("count", LogicalType.INTEGER, required=False, has_default=True, default=5),
    )
    shapes = (OutputSpec(name="total", type="number"), OutputSpec(name="echo", type="string"))
    await fleet.deploy(make_model(make_version(settings, artifact=by_field(), fields=fields, outputs=shapes)))
    names = pa.array(["x", "ü"]).dictionary_encode()
    table = pa.table({"name": names, "amount": pa.array([0.5, None], pa.float64())})
    reply = await fleet.predict(stream(table), **{"content-type": ARROW})
    assert [prediction["outputs"] for prediction in reply.json()["predictions"]] == [
        {"total": 5.5, "echo": "x"},
        {"total": None, "echo": "ü"},
    ]
    for column, word in (
        ({"amount": [1, 11]}, "row 1: /amount"),
        ({"amount": [1.0, math.inf]}, "row 1: /amount"),
        ({"amount": [1], "count": [1.5]}, "row 0: /count"),
        ({"amount": [1], "count": pa.array([None], pa.int64())}, "row 0: /count"),
        ({"amount": ["1"]}, "'amount' is number and its column string"),
        ({"amount": [True]}, "'amount' is number and its column bool"),
        ({"amount": [1], "name": [7]}, "'name' is string and its column int64"),
        ({"amount": [1], "surprise": [7]}, "no input 'surprise'"),
        ({"count": [1]}, "'amount' is missing"),
        ({"amount": pa.array([], pa.float64())}, "no rows"),
    ):
        refused = await fleet.predict(stream(pa.table(column)), **{"content-type": ARROW})
        assert (refused.status_code, refused.json()["code"]) == (422, "input_invalid"), column
        assert word in refused.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"no arrow", b"\xff\xff\xff\xff\x00\x00\x00\x00"])
async def test_what_is_no_arrow_stream_is_refused(fleet: Fleet, settings: Settings, body: bytes) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    reply = await fleet.predict(body, **{"content-type": ARROW})
    assert reply.status_code in (400, 422)
    cut = stream(pa.table({"a": [1.0] * 100, "b": [1.0] * 100}))[:-300]
    reply = await fleet.predict(cut, **{"content-type": ARROW})
    assert (reply.status_code, reply.json()["code"]) == (400, "malformed_body")
    too_many = pa.table({"a": np.zeros(10_001), "b": np.zeros(10_001)})
    reply = await fleet.predict(stream(too_many), **{"content-type": ARROW})
    assert (reply.status_code, reply.json()["code"]) == (413, "too_many_rows")
    assert (await fleet.predict()).status_code == 200


async def test_bodies_may_be_compressed_and_bombs_do_not_burst(fleet: Fleet, settings: Settings) -> None:
    import gzip
    import zlib

    await fleet.deploy(make_model(make_version(settings)))
    plain = json.dumps(ROWS).encode()
    for coding, data in (("gzip", gzip.compress(plain)), ("deflate", zlib.compress(plain))):
        assert (await fleet.predict(data, **{"content-encoding": coding})).status_code == 200
    bomb = gzip.compress(b" " * (64 << 20))
    reply = await fleet.predict(bomb, **{"content-encoding": "gzip"})
    assert (reply.status_code, reply.json()["code"]) == (413, "decompressed_too_large")
    reply = await fleet.predict(plain, **{"content-encoding": "br"})
    assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_encoding")


async def test_whole_numbers_in_columns_are_as_exact_as_in_json(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings, artifact=linear([1, 0]), fields=numbers("a", "b"))))
    exact = pa.table({"a": pa.array([1, 2**53 + 2]), "b": pa.array([1.0, 1.0])})
    assert (await fleet.predict(stream(exact), **{"content-type": ARROW})).status_code == 200
    lost = pa.table({"a": pa.array([1, 2**53 + 1]), "b": pa.array([1.0, 1.0])})
    reply = await fleet.predict(stream(lost), **{"content-type": ARROW})
    assert reply.status_code == 422
    assert reply.json()["errors"][0]["row"] == 1
    assert reply.json()["errors"][0]["errors"][0]["code"] == "precision_loss"
    table = pa.table({"a": pa.array([1e300]), "b": pa.array([1.0])})
    reply = await fleet.predict(stream(table), **{"content-type": ARROW})
    assert reply.json()["errors"][0]["errors"][0]["code"] == "out_of_range"


async def test_cached_answers_say_so_and_are_predictions_of_their_own(fleet: Fleet, settings: Settings) -> None:
    version = make_version(settings)
    serving = make_model(version).serving.model_copy(update={"cache_entries": 10})
    await fleet.deploy(make_model(version).model_copy(update={"serving": serving}))
    first, second = await fleet.predict(), await fleet.predict()
    assert (first.headers["hw-cache"], second.headers["hw-cache"]) == ("miss", "hit")
    assert outputs(first.json()) == outputs(second.json()) == [21, 48]
    ids = [prediction["id"] for reply in (first, second) for prediction in reply.json()["predictions"]]
    assert len(set(ids)) == 4
    binary = await fleet.process.http.post(
        "/v2/models/delay/infer",
        json={"inputs": [{"name": "inputs", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4.5]}]},
        headers=HEADERS,
    )
    assert binary.status_code == 200
    await asyncio.sleep(0.4)
    assert {row["prediction_id"] for row in await fleet.logged()} >= set(ids)
    labels = 'environment="env_1",model="delay",outcome="%s",version="1"'
    metrics = await fleet.metrics()
    assert f"headwater_inference_cache_total{{{labels % 'hit'}}} 1.0" in metrics
    await fleet.deploy(make_model(version))
    assert "hw-cache" not in (await fleet.predict()).headers
