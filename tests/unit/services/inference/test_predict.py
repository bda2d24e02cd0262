from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from tests.builders.fleet import HEADERS, ROWS, URL, Fleet
from tests.builders.models import make_model, make_version, numbers
from tests.builders.onnx_models import by_field, linear, logarithm
from tests.builders.snapshots import KEY, make_key
from tests.fakes.control import FakeControl
from tests.fakes.process import running, until

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.core.snapshot import OutputSpec, RouteSpec, ServingSpec
from headwater.engines.blobs import open_blobs
from headwater.services import inference
from headwater.services.inference import service as service_module
from headwater.services.inference.signature import Signature

HUGE = b'{"rows":[{"a":9007199254740993,"b":2}]}'


async def test_a_prediction_names_its_model_version_route_and_id(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings, 3)))
    reply = await fleet.predict()
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["hw-config-version"] == "1"
    body = reply.json()
    identities = [prediction.pop("id") for prediction in body["predictions"]]
    assert body == {
        "model": "delay",
        "version": 3,
        "route": "champion",
        "predictions": [{"outputs": {"score": 63}}, {"outputs": {"score": 144}}],
        "warnings": [],
    }
    assert len(set(identities)) == 2
    assert all(identity.startswith("prd_") and len(identity) == 30 for identity in identities)


async def test_every_prediction_is_logged_once_with_what_went_in_and_out(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    replies = await asyncio.gather(*(fleet.predict({"rows": [{"a": n, "b": 0.1}] * n}) for n in range(1, 8)))
    await until(lambda: len(fleet.process.journal.backlogs()) > 0)
    await asyncio.sleep(0.3)
    rows = {row["prediction_id"]: row for row in await fleet.logged()}
    assert len(rows) == sum(range(1, 8)) == len(await fleet.logged())
    for n, reply in enumerate(replies, 1):
        for prediction in reply.json()["predictions"]:
            row = rows[prediction["id"]]
            assert (row["input_a"], row["input_b"]) == (n, 0.1)
            assert row["output_score"] == pytest.approx(prediction["outputs"]["score"])
            assert row["request_id"] == reply.headers["hw-request-id"]
            assert (row["model"], row["version"], row["route"], row["principal_id"]) == (
                "delay",
                1,
                "champion",
                "sva_1",
            )
            assert row["latency_us"] > 0
    assert fleet.process.journal.totals("env_1/predictions_delay").accepted == len(rows)


async def test_stopping_makes_durable_what_was_predicted(settings: Settings, control: FakeControl) -> None:
    async with running(settings.home, control, inference.create) as process:
        fleet = Fleet(process, control)
        await fleet.deploy(make_model(make_version(settings)))
        await fleet.predict()
    assert len(await fleet.logged()) == 2


async def test_the_log_waits_for_a_journal_that_cannot_write_and_loses_nothing(
    fleet: Fleet, settings: Settings
) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    fleet.process.journal.fail_with = HeadwaterError("storage_exhausted")
    assert (await fleet.predict()).status_code == 200
    await asyncio.sleep(0.4)
    fleet.process.journal.fail_with = None
    await until(lambda: len(fleet.process.journal.backlogs()) > 0)
    assert len(await fleet.logged()) == 2
    metrics = (await fleet.process.http.get("/metrics")).text
    assert 'headwater_inference_logged_rows_total{model="delay"} 2.0' in metrics


async def test_both_doors_give_the_same_answer(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    app = fleet.process.door.app
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://documented") as documented:
        for body in (ROWS, {"rows": [{"a": "x"}]}, {"inputs": [[1, 2]]}, {}):
            hot = await fleet.predict(body)
            cold = await documented.post(URL, json=body, headers=HEADERS)
            assert cold.status_code == hot.status_code
            assert strip(cold.json()) == strip(hot.json())
        pinned = await documented.post("/v1/models/delay/versions/1/predict", json=ROWS, headers=HEADERS)
        assert pinned.json()["route"] == "override"


def strip(body: dict[str, Any]) -> dict[str, Any]:
    for prediction in body.get("predictions", ()):
        del prediction["id"]
    return {name: value for name, value in body.items() if name != "request_id"}


async def test_mistakes_are_answered_by_row_and_field_and_the_next_request_works(
    fleet: Fleet, settings: Settings
) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    reply = await fleet.predict({"rows": [{"a": 1, "b": 2}, {"a": "x", "b": 2, "c": 3}]})
    assert (reply.status_code, reply.json()["code"]) == (422, "input_invalid")
    assert {(e["path"], e["code"]) for e in reply.json()["errors"][0]["errors"]} == {
        ("/a", "type_mismatch"),
        ("/c", "unknown_field"),
    }
    assert reply.json()["errors"][0]["row"] == 1
    for body, status, code in (
        (b'{"rows": [{"a": NaN, "b": 1}]}', 422, "input_invalid"),
        (b'{"rows": [{"a": 1', 400, "malformed_body"),
        (b"", 400, "empty_body"),
        (b"{}", 422, "input_invalid"),
        (b"x" * (9 << 20), 413, "payload_too_large"),
    ):
        reply = await fleet.predict(body)
        assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert (await fleet.predict()).status_code == 200


@pytest.mark.parametrize(
    ("value", "status", "code"),
    [
        ("9007199254740993", 422, "precision_loss"),
        ("9007199254740994", 200, ""),
        ("1e300", 422, "out_of_range"),
        ("1e400", 422, ""),
        ("-3.5e38", 422, "out_of_range"),
        ("3e38", 200, ""),
    ],
)
async def test_numbers_the_model_cannot_hold_are_refused(
    fleet: Fleet, settings: Settings, value: str, status: int, code: str
) -> None:
    await fleet.deploy(make_model(make_version(settings, artifact=linear([1, 0]))))
    reply = await fleet.predict(b'{"rows": [{"a": 1, "b": 1}, {"a": %b, "b": 1}]}' % value.encode())
    assert reply.status_code == status
    if code:
        assert reply.json()["errors"][0]["errors"][0]["code"] == code
        assert reply.json()["errors"][0]["row"] == 1


@pytest.mark.parametrize("body", [b'{"rows":[' + b'{"a":1,"b":NaN},' * 9_000, HUGE])
async def test_a_long_body_is_read_off_the_event_loop(
    fleet: Fleet, settings: Settings, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    threads: set[int] = set()
    exactly = Signature.read_exactly

    def watched(signature: Signature, body: bytes) -> Any:
        threads.add(threading.get_ident())
        return exactly(signature, body)

    monkeypatch.setattr(Signature, "read_exactly", watched)
    assert (await fleet.predict(body + b" " * (64 << 10))).status_code in {400, 422}
    assert threads
    assert threading.get_ident() not in threads


async def test_who_may_not_ask_is_refused_before_it_is_told_what_exists(fleet: Fleet, settings: Settings) -> None:
    keys = {KEY: make_key("model.invoke:delay"), "hw_none": make_key("dataset.read:*")}
    await fleet.deploy(make_model(make_version(settings)), keys=keys)
    assert (await fleet.predict()).status_code == 200
    for url in (URL, "/v1/models/ghost/predict"):
        reply = await fleet.predict(url=url, authorization="Bearer hw_none")
        assert (reply.status_code, reply.json()["code"]) == (403, "forbidden")
    assert (await fleet.predict(url="/v1/models/ghost/predict")).status_code == 403
    assert (await fleet.predict(authorization="Bearer hw_wrong")).status_code == 401


async def test_what_does_not_exist_is_not_found(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    for url in (
        "/v1/models/ghost/predict",
        "/v1/models/delay/versions/9/predict",
        "/v1/models/delay/versions/x/predict",
    ):
        reply = await fleet.predict(url=url)
        assert (reply.status_code, reply.json()["code"]) == (404, "model_not_found")


async def test_traffic_is_split_by_weight_and_sticks_to_its_key(fleet: Fleet, settings: Settings) -> None:
    model = make_model(make_version(settings, 1), make_version(settings, 2), routes={1: 7_500, 2: 2_500})
    await fleet.deploy(model)
    seen: Counter[str] = Counter()
    for index in range(200):
        answers = {(await fleet.predict(**{"hw-sticky-key": f"customer {index}"})).json()["route"] for _ in range(2)}
        assert len(answers) == 1
        seen.update(answers)
    assert set(seen) == {"champion", "canary"}
    assert 110 < seen["champion"] < 190


async def test_a_pinned_version_answers_as_an_override(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings, 1), make_version(settings, 2)))
    body = (await fleet.predict(url="/v1/models/delay/versions/1/predict")).json()
    assert (body["version"], body["route"], body["predictions"][0]["outputs"]) == (1, "override", {"score": 21})


async def test_a_shadow_answers_nobody_but_the_log(fleet: Fleet, settings: Settings) -> None:
    model = make_model(make_version(settings, 1), make_version(settings, 2), routes={1: 10_000})
    shadow = RouteSpec(version=2, role="shadow")
    await fleet.deploy(model.model_copy(update={"routes": (*model.routes, shadow)}))
    assert (await fleet.predict()).json()["version"] == 1
    await asyncio.sleep(0.4)
    assert sorted((row["version"], row["route"], row["output_score"]) for row in await fleet.logged()) == [
        (1, "champion", 21),
        (1, "champion", 48),
        (2, "shadow", 42),
        (2, "shadow", 96),
    ]


async def test_a_model_that_cannot_be_loaded_leaves_the_others_serving(fleet: Fleet, settings: Settings) -> None:
    broken = make_model(make_version(settings, artifact=b"no onnx"), name="broken")
    missing = make_model(make_version(settings, 7, keep=False), name="missing")
    await fleet.deploy(make_model(make_version(settings)), broken, missing)
    assert (await fleet.predict()).status_code == 200
    for name in ("broken", "missing"):
        reply = await fleet.predict(url=f"/v1/models/{name}/predict")
        assert (reply.status_code, reply.json()["code"]) == (503, "model_unavailable")
        assert "retry-after" in reply.headers
    ready = await fleet.process.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "model 'broken' version 1" in " ".join(ready.json()["degraded"])
    assert "model 'missing' version 7" in " ".join(ready.json()["degraded"])


async def test_the_version_before_serves_on_when_the_new_one_does_not_load(fleet: Fleet, settings: Settings) -> None:
    first = make_version(settings, 1)
    await fleet.deploy(make_model(first))
    await fleet.deploy(make_model(make_version(settings, 2, artifact=b"no onnx")))
    body = (await fleet.predict()).json()
    assert (body["version"], body["route"]) == (1, "fallback")
    pinned = await fleet.predict(url="/v1/models/delay/versions/2/predict")
    assert (pinned.status_code, pinned.json()["code"]) == (503, "model_unavailable")
    await fleet.deploy(make_model(make_version(settings, 3)))
    assert (await fleet.predict()).json()["route"] == "champion"


async def test_an_artifact_that_arrives_late_is_loaded_without_a_new_snapshot(
    settings: Settings, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "RETRY_SECONDS", 0.05)
    async with running(settings.home, control, inference.create) as process:
        fleet = Fleet(process, control)
        version = make_version(settings, keep=False)
        await fleet.deploy(make_model(version))
        assert (await fleet.predict()).status_code == 503
        open_blobs(settings).put(linear([1, 10]))
        await until(lambda: not process.services[0].degradations())  # type: ignore[attr-defined]
        assert (await fleet.predict()).status_code == 200


async def test_a_model_of_one_input_a_field_takes_text(fleet: Fleet, settings: Settings) -> None:
    fields = (
        Field("name", LogicalType.STRING, required=False),
        Field("amount", LogicalType.NUMBER, nullable=True),
        Field("count", LogicalType.INTEGER),
    )
    outputs = (OutputSpec(name="total", type="number"), OutputSpec(name="echo", type="string"))
    version = make_version(settings, artifact=by_field(), fields=fields, outputs=outputs)
    await fleet.deploy(make_model(version))
    body = {"rows": [{"name": 'a "b"', "amount": 0.5, "count": 2}, {"amount": None, "count": 1}]}
    reply = (await fleet.predict(body)).json()
    assert [prediction["outputs"] for prediction in reply["predictions"]] == [
        {"total": 2.5, "echo": 'a "b"'},
        {"total": None, "echo": ""},
    ]
    await asyncio.sleep(0.4)
    assert [(row["input_name"], row["input_amount"], row["output_echo"]) for row in await fleet.logged()] == [
        ('a "b"', 0.5, 'a "b"'),
        (None, None, ""),
    ]


async def test_an_output_that_is_not_finite_is_null_with_a_warning(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings, artifact=logarithm(), fields=numbers("a"))))
    body = (await fleet.predict({"rows": [{"a": 0}, {"a": 1}]})).json()
    assert [prediction["outputs"]["score"] for prediction in body["predictions"]] == [None, 0]
    assert body["warnings"] == ["an output is not a finite number and is shown as null"]


@pytest.mark.parametrize("text", ["0", "-1", "soon", "1e3", "9" * 30])
async def test_a_deadline_that_is_no_number_is_refused(fleet: Fleet, settings: Settings, text: str) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    reply = await fleet.predict(**{"hw-timeout-ms": text})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_header")
    assert (await fleet.predict(**{"hw-timeout-ms": "500"})).status_code == 200


@pytest.mark.parametrize("url", [URL, "/v1/models/delay/versions/1/predict"])
async def test_a_full_queue_sheds_before_the_body_is_read(fleet: Fleet, settings: Settings, url: str) -> None:
    serving = ServingSpec(max_waiting_rows=0)
    await fleet.deploy(make_model(make_version(settings)).model_copy(update={"serving": serving}))
    reply = await fleet.predict(b"not even JSON", url=url)
    assert (reply.status_code, reply.json()["code"]) == (503, "overloaded")
    assert reply.headers["retry-after"] == "1"


async def test_models_are_listed_with_their_signature_to_those_who_may_see_them(
    fleet: Fleet, settings: Settings
) -> None:
    keys = {KEY: make_key("model.read:delay"), "hw_none": make_key("dataset.read:*")}
    await fleet.deploy(make_model(make_version(settings)), make_model(make_version(settings), name="other"), keys=keys)
    get: Callable[..., Any] = fleet.process.http.get
    assert [model["name"] for model in (await get("/v1/models", headers=HEADERS)).json()] == ["delay"]
    assert (await get("/v1/models", headers={"authorization": "Bearer hw_none"})).json() == []
    detail = (await get("/v1/models/delay", headers=HEADERS)).json()
    assert (detail["versions"], detail["problems"], detail["tripped"]) == ([1], {}, {})
    assert detail["signature"]["order"] == ["a", "b"]
    assert detail["signature"]["outputs"][0]["name"] == "score"
    assert (await get("/v1/models/other", headers=HEADERS)).status_code == 403
    assert (await get("/v1/models/delay")).status_code == 401


async def test_the_document_has_a_typed_path_for_each_model(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    own = (await fleet.process.http.get("/openapi.json", headers=HEADERS)).json()
    operation = own["paths"]["/v1/models/delay/predict"]["post"]
    row = operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["rows"]["items"]
    assert set(row["properties"]) == {"a", "b"}
    assert "default" in operation["responses"]
    assert {parameter["name"] for parameter in operation["parameters"]} >= {"Hw-Timeout-Ms", "on_error", "explain"}
    assert "/v2/models/{model}/infer" in own["paths"]
    public = (await fleet.process.http.get("/openapi.json")).json()
    assert "/v1/models/delay/predict" not in public["paths"]
    assert "/v1/models/{model}/predict" in public["paths"]
