"""New versions come and old ones go while requests are under way."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest
from tests.builders.fleet import HEADERS, ROWS, URL, Fleet, Remote
from tests.builders.models import make_model, make_version
from tests.fakes.process import until

from headwater.core.settings import Settings
from headwater.core.snapshot import ModelVersionSpec, ServingSpec
from headwater.engines.models import open_executor as open_real
from headwater.services.inference import service as service_module


@pytest.fixture(autouse=True)
def _drain_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "DRAIN_SECONDS", 0.01)


@pytest.mark.parametrize("is_remote", [False, True])
async def test_versions_are_swapped_under_load_without_a_failed_request(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote], *, is_remote: bool
) -> None:
    if is_remote:
        remotes.update({number: Remote(number) for number in range(1, 6)})
    await fleet.deploy(make_model(make_version(settings, 1)))
    seen: list[int] = []
    is_over = False

    async def ask() -> None:
        while not is_over:
            reply = await fleet.predict()
            assert reply.status_code == 200, reply.text
            body = reply.json()
            assert body["route"] == "champion"
            expected = body["version"] * (1 if is_remote else 21)
            assert body["predictions"][0]["outputs"]["score"] == expected
            seen.append(body["version"])

    asking = [asyncio.create_task(ask()) for _ in range(8)]
    for number in range(2, 6):
        await fleet.deploy(make_model(make_version(settings, number)))
        began = len(seen)
        await until(lambda began=began: len(seen) > began + 20)  # type: ignore[misc]
    is_over = True
    await asyncio.gather(*asking)
    assert set(seen) == {1, 2, 3, 4, 5}
    if is_remote:
        await until(lambda: all(remotes[number].is_closed for number in range(1, 5)))
        assert not remotes[5].is_closed


async def test_a_version_that_is_gone_answers_what_is_under_way_and_is_closed_after_it(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remotes[1] = remote = Remote()
    await fleet.deploy(make_model(make_version(settings, 1)))
    remote.gate.clear()
    waiting = [asyncio.create_task(fleet.predict()) for _ in range(3)]
    await until(lambda: bool(remote.runs))
    await fleet.deploy(make_model(make_version(settings, 2)))
    assert (await fleet.predict()).json()["version"] == 2
    await asyncio.sleep(0.05)
    assert not remote.is_closed
    remote.gate.set()
    assert [(await task).json()["version"] for task in waiting] == [1, 1, 1]
    await until(lambda: remote.is_closed)


async def test_a_request_whose_body_is_still_coming_keeps_its_version(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remotes[1] = remote = Remote()
    await fleet.deploy(make_model(make_version(settings, 1)))
    coming = asyncio.Event()

    async def slowly() -> Any:
        text = json.dumps(ROWS).encode()
        yield text[:10]
        await coming.wait()
        yield text[10:]

    slow = asyncio.create_task(fleet.process.http.post(URL, content=slowly(), headers=HEADERS))
    await until(lambda: fleet.compiled.users == 1)
    await fleet.deploy(make_model(make_version(settings, 2)))
    await asyncio.sleep(0.05)
    assert not remote.is_closed
    coming.set()
    assert (await slow).json()["version"] == 1
    await until(lambda: remote.is_closed)


async def test_runs_that_nobody_waits_for_end_before_their_process_does(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remotes[1] = remote = Remote()
    await fleet.deploy(make_model(make_version(settings, 1)))
    remote.gate.clear()
    late = await fleet.predict(**{"hw-timeout-ms": "30"})
    assert late.status_code == 504
    await fleet.deploy(make_model(make_version(settings, 2)))
    await asyncio.sleep(0.05)
    assert not remote.is_closed
    remote.gate.set()
    await until(lambda: remote.is_closed)


async def test_a_version_that_stays_is_not_loaded_again_but_follows_new_rules(
    fleet: Fleet, settings: Settings, remotes: dict[int, Remote]
) -> None:
    remotes[1] = remote = Remote()
    model = make_model(make_version(settings, 1))
    await fleet.deploy(model)
    before = fleet.model().versions[1]
    await fleet.deploy(model.model_copy(update={"serving": ServingSpec(max_waiting_rows=0, cache_entries=5)}))
    after = fleet.model().versions[1]
    assert after is before
    assert after.cache is not None
    assert (await fleet.predict()).status_code == 503
    await fleet.deploy(model)
    assert (await fleet.predict()).status_code == 200
    assert not remote.is_closed


async def test_stopping_closes_what_runs_models(settings: Settings, control: Any, remotes: dict[int, Remote]) -> None:
    from tests.fakes.process import running

    from headwater.services import inference

    remotes[1], remotes[2] = Remote(1), Remote(2)
    async with running(settings.home, control, inference.create) as process:
        fleet = Fleet(process, control)
        await fleet.deploy(make_model(make_version(settings, 1), make_version(settings, 2)))
        assert (await fleet.predict()).status_code == 200
    assert remotes[1].is_closed
    assert remotes[2].is_closed


async def test_a_new_version_is_in_force_within_milliseconds_once_it_is_loaded(
    fleet: Fleet, settings: Settings
) -> None:
    """Loading happens in a thread: the longest that anybody waits is a turn of the loop."""
    await fleet.deploy(make_model(make_version(settings, 1)))
    longest = 0.0
    is_over = False

    async def ask() -> None:
        nonlocal longest
        while not is_over:
            began = time.perf_counter()
            assert (await fleet.predict()).status_code == 200
            longest = max(longest, time.perf_counter() - began)

    asking = asyncio.create_task(ask())
    for number in range(2, 5):
        await fleet.deploy(make_model(make_version(settings, number)))
    is_over = True
    await asking
    assert longest < 1


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, remotes: dict[int, Remote]) -> threading.Event:
    """Return what lets versions of other frameworks than ONNX be loaded: answered by a ``Remote`` each."""
    is_open = threading.Event()

    def open_executor(spec: ModelVersionSpec, *arguments: Any, **options: Any) -> Any:
        if spec.framework == "onnx":
            return open_real(spec, *arguments, **options)
        assert is_open.wait(20)
        return remotes[spec.number]

    monkeypatch.setattr("headwater.services.inference.version.open_executor", open_executor)
    return is_open


def slow(settings: Settings, number: int) -> ModelVersionSpec:
    return make_version(settings, number).model_copy(update={"framework": "python"})


async def test_what_takes_long_to_load_holds_up_nothing_else_of_a_snapshot(
    fleet: Fleet, settings: Settings, gate: threading.Event, remotes: dict[int, Remote]
) -> None:
    remotes[7] = Remote(7)
    await fleet.deploy(make_model(make_version(settings, 1)))
    models = make_model(make_version(settings, 2)), make_model(slow(settings, 7), name="forest")
    await fleet.deploy(*models, loaded=False)
    assert (await fleet.predict()).json()["version"] == 2
    for url in ("/v1/models/forest/predict", "/v1/models/forest/versions/7/predict"):
        reply = await fleet.predict(url=url)
        assert (reply.status_code, reply.json()["code"], reply.headers["retry-after"]) == (
            503,
            "model_unavailable",
            "1",
        )
        assert "version 7: it is being loaded" in reply.json()["detail"]
    gate.set()
    await until(lambda: not fleet.model("forest").is_loading)
    assert (await fleet.predict(url="/v1/models/forest/predict")).json()["version"] == 7


async def test_the_version_before_goes_on_until_one_that_takes_long_is_there(
    fleet: Fleet, settings: Settings, gate: threading.Event, remotes: dict[int, Remote]
) -> None:
    remotes[7] = Remote(7)
    await fleet.deploy(make_model(make_version(settings, 1)))
    served: list[tuple[int, str]] = []
    is_over = False

    async def ask() -> None:
        while not is_over:
            reply = await fleet.predict()
            assert reply.status_code == 200, reply.text
            served.append((reply.json()["version"], reply.json()["route"]))

    asking = [asyncio.create_task(ask()) for _ in range(4)]
    await fleet.deploy(make_model(slow(settings, 7)), loaded=False)
    await until(lambda: (1, "fallback") in served)
    gate.set()
    await until(lambda: (7, "champion") in served)
    is_over = True
    await asyncio.gather(*asking)
    assert set(served) == {(1, "champion"), (1, "fallback"), (7, "champion")}


async def test_a_version_that_a_newer_snapshot_dropped_while_it_was_loaded_is_let_go(
    fleet: Fleet, settings: Settings, gate: threading.Event, remotes: dict[int, Remote]
) -> None:
    remotes[7] = Remote(7)
    await fleet.deploy(make_model(make_version(settings, 1)))
    await fleet.deploy(make_model(slow(settings, 7)), loaded=False)
    await fleet.deploy(make_model(make_version(settings, 2)))
    assert not remotes[7].is_closed
    gate.set()
    await until(lambda: remotes[7].is_closed)
    assert (await fleet.predict()).json()["version"] == 2
