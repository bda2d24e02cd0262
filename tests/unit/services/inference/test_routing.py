"""Which version answers, which one only looks on, and which one loses its traffic."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from tests.builders.fleet import HEADERS, ROWS, URL, Fleet, Remote
from tests.builders.models import make_model, make_version, numbers
from tests.builders.onnx_models import linear
from tests.fakes.process import until

from headwater.contracts.model import Constraints, Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.settings import Settings
from headwater.core.snapshot import ModelSpec, RollbackSpec, RouteSpec, ServingSpec
from headwater.services.inference.health import health_of
from headwater.services.inference.observations import Entry
from headwater.services.inference.routing import is_sampled

HALVES = {1: 5_000, 2: 5_000}
RULES = RollbackSpec(max_error_bps=1_000, min_requests=10, window_seconds=60)


def split(settings: Settings, **serving: Any) -> ModelSpec:
    versions = (make_version(settings, 1), make_version(settings, 2))
    return make_model(*versions, routes=HALVES).model_copy(update={"serving": ServingSpec(**serving)})


def row(a: float, b: float = 1) -> dict[str, Any]:
    return {"rows": [{"a": a, "b": b}]}


async def versions(fleet: Fleet, *bodies: Any, **headers: str) -> list[int]:
    return [(await fleet.predict(body, **headers)).json()["version"] for body in bodies]


async def test_requests_of_one_input_stick_to_a_version_whatever_else_they_say(
    fleet: Fleet, settings: Settings
) -> None:
    await fleet.deploy(split(settings, sticky_input="a"))
    seen: Counter[int] = Counter()
    for customer in range(60):
        answers = await versions(fleet, row(customer), row(customer, 2), row(customer, 3))
        assert len(set(answers)) == 1
        seen.update(answers[:1])
    assert 15 <= seen[1] <= 45
    explained = await fleet.predict(row(1), URL + "?explain=routing")
    assert explained.json()["routing"]["drawn_by"] == "input 'a'"


async def test_a_sticky_input_is_the_same_in_every_form(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(split(settings, sticky_input="a"))
    for customer in range(12):
        (by_row,) = await versions(fleet, row(customer))
        (by_position,) = await versions(fleet, {"inputs": [[float(customer), 9]]})
        tensor = {"name": "inputs", "shape": [1, 2], "datatype": "FP32", "data": [customer, 4]}
        reply = await fleet.process.http.post(
            "/v2/models/delay/infer", content=json.dumps({"inputs": [tensor]}), headers=HEADERS
        )
        assert by_row == by_position == int(reply.json()["model_version"])


async def test_a_sticky_key_wins_over_the_sticky_input(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(split(settings, sticky_input="a"))
    for key in ("x", "y", "z"):
        found = await versions(fleet, *(row(customer) for customer in range(8)), **{"hw-sticky-key": key})
        assert len(set(found)) == 1


async def test_a_body_that_the_first_version_cannot_read_may_suit_the_other(fleet: Fleet, settings: Settings) -> None:
    narrow = make_version(settings, 1, artifact=linear([1]), fields=numbers("a"))
    wide = make_version(settings, 2)
    model = make_model(narrow, wide, routes=HALVES).model_copy(update={"serving": ServingSpec(sticky_input="a")})
    await fleet.deploy(model)
    statuses = Counter([(await fleet.predict(row(1, number))).status_code for number in range(40)])
    assert statuses[200] > 5
    assert statuses[422] > 5
    assert set(statuses) == {200, 422}


async def test_a_shadow_sees_its_share_and_the_log_says_what_it_shadowed(fleet: Fleet, settings: Settings) -> None:
    model = make_model(make_version(settings, 1), make_version(settings, 2), routes={1: 10_000})
    shadow = RouteSpec(version=2, role="shadow", weight_bps=3_000)
    await fleet.deploy(model.model_copy(update={"routes": (*model.routes, shadow)}))
    served: dict[str, float] = {}
    for number in range(120):
        (prediction,) = (await fleet.predict(row(number))).json()["predictions"]
        served[prediction["id"]] = prediction["outputs"]["score"]
    await asyncio.sleep(0.5)
    logged = await fleet.logged()
    shadows = [each for each in logged if each["route"] == "shadow"]
    assert len([each for each in logged if each["route"] == "champion"]) == 120
    assert 15 <= len(shadows) <= 60
    for each in shadows:
        assert each["version"] == 2
        assert each["output_score"] == 2 * served[each["shadow_of"]]
        assert each["prediction_id"] not in served


async def test_shadows_that_cannot_keep_up_are_dropped_and_cost_nobody_anything(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remotes[2] = remote = Remote(2)
    remote.gate.clear()
    model = make_model(make_version(settings, 1), make_version(settings, 2), routes={1: 10_000})
    await fleet.deploy(model.model_copy(update={"routes": (*model.routes, RouteSpec(version=2, role="shadow"))}))
    for number in range(100):
        assert (await fleet.predict(row(number))).status_code == 200
    metrics = await fleet.metrics()
    assert 'headwater_inference_shadow_dropped_total{environment="env_1",model="delay",version="2"} 36.0' in metrics
    remote.gate.set()
    await until(lambda: fleet.compiled.users == 0)


async def test_a_shadow_of_another_signature_reads_the_request_for_itself_and_may_fail_alone(
    fleet: Fleet, settings: Settings
) -> None:
    strict = (
        Field("a", LogicalType.NUMBER, constraints=Constraints(le=5)),
        Field("b", LogicalType.NUMBER),
    )
    model = make_model(make_version(settings, 1), make_version(settings, 2, fields=strict), routes={1: 10_000})
    await fleet.deploy(model.model_copy(update={"routes": (*model.routes, RouteSpec(version=2, role="shadow"))}))
    for a in (1, 9):
        assert (await fleet.predict(row(a))).status_code == 200
    await asyncio.sleep(0.4)
    assert [each["input_a"] for each in await fleet.logged() if each["route"] == "shadow"] == [1]
    assert 'code="input_invalid",environment="env_1",model="delay",version="2"} 1.0' in await fleet.metrics()


def test_samples_have_the_size_that_they_should() -> None:
    keys = [f"prd_{number}".encode() for number in range(20_000)]
    assert sum(is_sampled(key, 1_000) for key in keys) == pytest.approx(2_000, rel=0.1)
    assert all(is_sampled(key, 10_000) for key in keys)
    assert not any(is_sampled(key, 0) for key in keys)


async def test_a_canary_that_fails_loses_its_share_to_the_champion_at_once(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remotes[2] = canary = Remote(2)
    await fleet.deploy(split(settings, rollback=RULES))
    mine = [key for key in map(str, range(60)) if (await versions(fleet, ROWS, **{"hw-sticky-key": key})) == [2]]
    assert len(mine) > 10
    canary.fails_at, canary.error = 1.0, HeadwaterError("model_failed", "it broke")
    replies = [await fleet.predict(**{"hw-sticky-key": mine[0]}) for _ in range(30)]
    failed = [reply for reply in replies if reply.status_code == 500]
    assert 1 <= len(failed) <= 10
    last = replies[-1].json()
    assert (last["version"], last["route"]) == (1, "fallback")
    stays = await fleet.predict(**{"hw-sticky-key": next(key for key in map(str, range(60)) if key not in mine)})
    assert stays.json()["route"] == "champion"
    pinned = await fleet.predict(url="/v1/models/delay/versions/2/predict")
    assert pinned.status_code == 500
    (found,) = health_of(fleet.compiled)["models"]
    by_version = {version["version"]: version for version in found["versions"]}
    assert "requests failed within 60 s" in by_version[2]["tripped"]
    assert by_version[2]["errors"] == by_version[2]["by_code"]["model_failed"] == len(failed) + 1
    assert by_version[1]["tripped"] is None
    assert (by_version[1]["route"], by_version[2]["route"]) == ("champion", "canary")
    assert by_version[1]["p50_ms"] > 0
    assert found["model"] == "delay"


async def test_callers_mistakes_trip_nothing(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(split(settings, rollback=RULES))
    for number in range(60):
        assert (await fleet.predict(row("x" * number))).status_code == 422  # type: ignore[arg-type]
    for number in range(40):
        assert (await fleet.predict(row(number))).json()["route"] in ("champion", "canary")
    (found,) = health_of(fleet.compiled)["models"]
    assert [version["tripped"] for version in found["versions"]] == [None, None]
    assert sum(version["by_code"]["input_invalid"] for version in found["versions"]) == 60
    assert sum(version["errors"] for version in found["versions"]) == 0


async def test_a_promoted_version_that_is_slow_falls_back_to_the_one_before(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = RollbackSpec(max_error_bps=None, max_p99_ms=20, min_requests=10, window_seconds=1)
    first, second = make_version(settings, 1), make_version(settings, 2)
    model = make_model(first, second, routes={2: 10_000})
    remotes[2] = slow = Remote(2)
    await fleet.deploy(model.model_copy(update={"serving": ServingSpec(rollback=rules), "fallback": 1}))

    async def slowly(matrix: Any) -> Any:
        await asyncio.sleep(0.04)
        return [np.zeros(len(matrix))]

    monkeypatch.setattr(slow, "run_matrix", slowly)
    bodies = [(await fleet.predict()).json() for _ in range(40)]
    assert (bodies[0]["version"], bodies[0]["route"]) == (2, "champion")
    assert (bodies[-1]["version"], bodies[-1]["route"]) == (1, "fallback")
    (found,) = health_of(fleet.compiled)["models"]
    assert "p99 was" in found["versions"][1]["tripped"]
    assert found["versions"][0]["route"] == "fallback"
    # Control makes it durable; a version that gets a route again later begins anew.
    await fleet.deploy(make_model(first, second, routes={1: 10_000}))
    assert (await fleet.predict()).json()["route"] == "champion"
    monkeypatch.undo()
    await fleet.deploy(model.model_copy(update={"serving": ServingSpec(rollback=rules), "fallback": 1}))
    assert (await fleet.predict()).json()["version"] == 2


async def test_a_champion_without_a_fallback_keeps_its_traffic(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remotes[1] = remote = Remote()
    remote.fails_at = 1.0
    await fleet.deploy(make_model(make_version(settings)).model_copy(update={"serving": ServingSpec(rollback=RULES)}))
    statuses = {(await fleet.predict()).status_code for _ in range(30)}
    assert statuses == {500}
    remote.fails_at = None
    assert (await fleet.predict()).json()["route"] == "champion"


async def test_while_what_runs_a_version_is_away_another_answers(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remotes[2] = remote = Remote(2)
    model = make_model(make_version(settings, 1), make_version(settings, 2), routes={2: 10_000})
    await fleet.deploy(model.model_copy(update={"fallback": 1}))
    assert (await fleet.predict()).json()["version"] == 2
    remote.fault = "its process is being started again"
    body = (await fleet.predict()).json()
    assert (body["version"], body["route"]) == (1, "fallback")
    ready = await fleet.process.http.get("/v2/models/delay/versions/2/ready", headers=HEADERS)
    assert (ready.status_code, ready.json()["error"]) == (503, remote.fault)
    remote.fault = None
    assert (await fleet.predict()).json()["route"] == "champion"


async def test_the_observer_is_told_of_failures_with_their_code(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    from headwater.services.inference.log import PredictionLog

    told: list[Any] = []
    monkeypatch.setattr(PredictionLog, "failed", lambda _self, failure: told.append(failure))
    monkeypatch.setattr(PredictionLog, "add", lambda _self, entry: told.append(entry))
    remotes[1] = remote = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    await fleet.predict()
    await fleet.predict({"rows": [{"a": "x", "b": 1}]})
    remote.fails_at = 1.0
    await fleet.predict()
    answered, mistaken, failed = told
    assert isinstance(answered, Entry)
    assert (answered.route, len(answered.ids)) == ("champion", 2)
    assert (mistaken.code, mistaken.rows, mistaken.route) == ("input_invalid", 0, "champion")
    assert (failed.code, failed.rows, failed.version.number) == ("model_failed", 2, 1)
    assert failed.latency_us > 0
