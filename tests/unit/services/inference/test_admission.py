"""Who is let in, who is told to come back, and who is no longer there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.builders.fleet import HEADERS, ROWS, URL, Fleet, Remote
from tests.builders.models import make_model, make_version
from tests.fakes.process import until

from headwater.core.settings import Settings
from headwater.core.snapshot import LogSpec, ModelSpec, ServingSpec
from headwater.services.inference.log import PredictionLog

ROW = {"rows": [{"a": 1, "b": 2}]}


def served(model: ModelSpec, **rules: Any) -> ModelSpec:
    return model.model_copy(update={"serving": ServingSpec(**rules)})


async def test_no_more_requests_are_under_way_than_a_model_may_have(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remote = remotes[1] = Remote()
    other = make_model(make_version(settings, 2), name="other")
    await fleet.deploy(served(make_model(make_version(settings)), max_concurrency=3), other)
    remote.gate.clear()
    waiting = [asyncio.create_task(fleet.predict(ROW)) for _ in range(3)]
    await until(lambda: fleet.model().live.running == 3)
    reply = await fleet.predict(b"not even JSON")
    assert (reply.status_code, reply.json()["code"]) == (503, "overloaded")
    assert reply.headers["retry-after"] == "1"
    assert (await fleet.predict(ROW, "/v1/models/other/predict")).status_code == 200
    remote.gate.set()
    assert [(await task).status_code for task in waiting] == [200] * 3
    assert (await fleet.predict(ROW)).status_code == 200
    assert 'headwater_inference_refused_total{code="overloaded",environment="env_1",model="delay"} 1.0' in (
        await fleet.metrics()
    )


async def test_a_queue_longer_than_the_deadline_sheds_before_the_body_is_read(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remote = remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    batcher: Any = fleet.model().versions[1].batcher
    for _ in range(20):
        batcher.pace.observe(1, 2.5)
    remote.gate.clear()
    waiting = asyncio.create_task(fleet.predict(ROW))
    await until(lambda: bool(remote.runs))
    reply = await fleet.predict(b"not even JSON", **{"hw-timeout-ms": "400"})
    assert (reply.status_code, reply.json()["code"]) == (503, "overloaded")
    assert "longer than the deadline" in reply.json()["detail"]
    assert int(reply.headers["retry-after"]) == 3
    patient = asyncio.create_task(fleet.predict(ROW, **{"hw-timeout-ms": "60000"}))
    await asyncio.sleep(0.05)
    remote.gate.set()
    assert (await waiting).status_code == (await patient).status_code == 200
    assert len(remote.runs) == 2


async def test_a_request_is_never_run_after_its_deadline(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remote = remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    remote.gate.clear()
    first = asyncio.create_task(fleet.predict(ROW))
    await until(lambda: bool(remote.runs))
    late = await fleet.predict(ROW, **{"hw-timeout-ms": "40"})
    assert (late.status_code, late.json()["code"]) == (503, "overloaded")
    assert "it was not run" in late.json()["detail"]
    remote.gate.set()
    assert (await first).status_code == 200
    await asyncio.sleep(0.02)
    assert len(remote.runs) == 1


async def test_a_model_that_takes_longer_than_the_deadline_is_not_waited_for(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remote = remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    remote.gate.clear()
    late = await fleet.predict(ROW, **{"hw-timeout-ms": "40"})
    assert (late.status_code, late.json()["code"]) == (504, "model_timeout")
    remote.gate.set()
    assert (await fleet.predict(ROW)).status_code == 200


async def test_bodies_that_are_too_many_bytes_together_are_refused(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    budget: Any = fleet.process.services[0]._pipeline.budget  # type: ignore[attr-defined]
    assert budget.limit == settings.inference.max_in_flight_bytes
    budget.limit = 960
    ending = asyncio.Event()

    async def slowly() -> Any:
        yield json.dumps(ROWS).encode() + b" " * 900
        await ending.wait()

    slow = asyncio.create_task(fleet.process.http.post(URL, content=slowly(), headers=HEADERS))
    await until(lambda: budget.held > 900)
    reply = await fleet.predict()
    assert (reply.status_code, reply.json()["code"]) == (503, "overloaded")
    assert 1 <= int(reply.headers["retry-after"]) <= 3
    ending.set()
    assert (await slow).status_code == 200
    assert budget.held == 0
    assert (await fleet.predict()).status_code == 200
    large = await fleet.predict(json.dumps(ROWS).encode() + b" " * 5_000)  # alone it may pass
    assert large.status_code == 200
    assert budget.held == 0


async def test_a_log_that_must_not_lose_rows_holds_requests_back_while_it_is_full(
    fleet: Fleet, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = make_version(settings)
    await fleet.deploy(served(make_model(version), log=LogSpec(on_full="block")), make_model(version, name="careless"))
    monkeypatch.setattr(PredictionLog, "is_full", True)
    reply = await fleet.predict(b"not even JSON")
    assert (reply.status_code, reply.json()["code"]) == (503, "overloaded")
    assert "log" in reply.json()["detail"]
    assert (await fleet.predict(ROW, "/v1/models/careless/predict")).status_code == 200
    monkeypatch.setattr(PredictionLog, "is_full", False)
    assert (await fleet.predict(ROW)).status_code == 200


class Client:
    """A client of the raw application that may leave at any time."""

    def __init__(self, fleet: Fleet) -> None:
        self.door = fleet.process.door
        self.sent: list[Any] = []
        self.gone = asyncio.Event()
        self.asked = False

    async def receive(self) -> dict[str, Any]:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": json.dumps(ROW).encode(), "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    async def predict(self) -> None:
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "path": URL,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in HEADERS.items()],
        }
        await self.door(scope, self.receive, self.send)


async def test_what_a_client_that_left_was_waiting_for_is_not_run(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remote = remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    remote.gate.clear()
    first = asyncio.create_task(fleet.predict(ROW))
    await until(lambda: bool(remote.runs))
    client = Client(fleet)
    waiting = asyncio.create_task(client.predict())
    await asyncio.sleep(0.05)
    client.gone.set()
    await asyncio.wait_for(waiting, 2)
    assert client.sent == []
    remote.gate.set()
    assert (await first).status_code == 200
    assert (await fleet.predict(ROW)).status_code == 200
    assert len(remote.runs) == 2
    assert fleet.model().live.running == 0
    assert fleet.compiled.users == 0
    assert 'code="client_gone"' in await fleet.metrics()


async def test_a_client_that_left_a_long_queue_of_this_process_is_not_predicted_for(
    fleet: Fleet, settings: Settings
) -> None:
    await fleet.deploy(served(make_model(make_version(settings)), batch_wait_us=200_000))
    batcher: Any = fleet.model().versions[1].batcher
    for _ in range(20):
        batcher.pace.observe(1, 2.5)
    first = asyncio.create_task(fleet.predict(ROW))
    await until(lambda: batcher.wait_seconds() > 1)
    client = Client(fleet)
    waiting = asyncio.create_task(client.predict())
    await asyncio.sleep(0.05)
    client.gone.set()
    await asyncio.wait_for(waiting, 0.1)
    assert client.sent == []
    assert (await first).status_code == 200
    metrics = fleet.model().versions[1].metrics
    assert metrics.batch_rows == 1


async def test_a_table_is_not_run_to_its_end_once_its_deadline_has_passed(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes[1] = remote = Remote()
    run = remote.run_matrix

    async def slowly(matrix: Any) -> Any:
        await asyncio.sleep(0.03)
        return await run(matrix)

    monkeypatch.setattr(remote, "run_matrix", slowly)
    await fleet.deploy(served(make_model(make_version(settings)), max_batch_rows=1))
    reply = await fleet.predict({"rows": ROW["rows"] * 50}, **{"hw-timeout-ms": "100"})
    assert reply.status_code in (503, 504)
    await asyncio.sleep(0.05)
    assert 1 <= len(remote.runs) <= 5


async def test_a_client_that_stays_is_answered_however_long_it_takes(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remote = remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    remote.gate.clear()
    client = Client(fleet)
    waiting = asyncio.create_task(client.predict())
    await asyncio.sleep(0.08)
    remote.gate.set()
    await waiting
    assert client.sent[0]["status"] == 200


async def test_a_client_that_leaves_within_its_body_leaves_nothing_behind(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    client = Client(fleet)
    client.asked = True
    client.gone.set()
    await client.predict()
    assert client.sent == []
    assert fleet.compiled.users == 0
    assert fleet.process.services[0]._pipeline.budget.held == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("length", ["x", "-1"])
async def test_a_length_that_is_no_number_is_refused(fleet: Fleet, settings: Settings, length: str) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    client = Client(fleet)
    scope_headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": URL,
        "query_string": b"",
        "headers": [*scope_headers, (b"content-length", length.encode())],
    }
    await client.door(scope, client.receive, client.send)
    assert client.sent[0]["status"] == 400


async def test_metrics_tell_of_every_version_what_it_did(fleet: Fleet, settings: Settings) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    for _ in range(3):
        assert (await fleet.predict()).status_code == 200
    await fleet.predict({"rows": [{"a": "x"}]})
    found = await fleet.metrics()
    labels = 'environment="env_1",model="delay",version="1"'
    has: Callable[[str], bool] = found.__contains__
    assert has(f"headwater_inference_rows_total{{{labels}}} 6.0")
    assert has(f"headwater_inference_request_seconds_count{{{labels}}} 3.0")
    buckets = 'headwater_inference_request_seconds_bucket{environment="env_1",le="+Inf",model="delay",version="1"}'
    assert has(f"{buckets} 3.0")
    assert has(f"headwater_inference_batch_rows_sum{{{labels}}} 6.0")
    assert has(f'headwater_inference_errors_total{{code="input_invalid",{labels}}} 1.0')
    for name in ("run_seconds", "queue_seconds"):
        assert has(f"headwater_inference_{name}_total{{{labels}}}")
