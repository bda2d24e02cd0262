"""Features that come late or not at all, and what is logged of whom they were fetched for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from tests.builders.features import view_of
from tests.builders.fleet import URL, Fleet
from tests.builders.models import make_model, make_version
from tests.fakes.control import FakeControl
from tests.fakes.features import FakeFetcher
from tests.fakes.process import running
from tests.unit.services.inference.test_overrides import make_override

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.core.settings import Settings
from headwater.core.snapshot import (
    DatasetSpec,
    FeatureInputSpec,
    FeatureRefSpec,
    FeatureSpec,
    FeatureViewSpec,
    LogSpec,
    ServingSpec,
)
from headwater.services.inference.service import InferenceService

NEEDS = (FeatureRefSpec(field="b", view="weather", feature="temp"),)
BODY = {"entities": [{"id": 1}], "rows": [{"a": 1}]}


class SlowFetcher(FakeFetcher):
    """Takes its time."""

    seconds = 0.0

    async def fetch(
        self,
        environment_id: str,
        views: Mapping[str, FeatureViewSpec],
        needs: Sequence[FeatureRefSpec],
        entities: Sequence[Mapping[str, Any]],
        *,
        now_us: int,
    ) -> Any:
        await asyncio.sleep(self.seconds)
        return await super().fetch(environment_id, views, needs, entities, now_us=now_us)


@pytest.fixture
def fetcher() -> SlowFetcher:
    return SlowFetcher({1: {"temp": 2}})


@pytest.fixture
async def fleet(settings: Settings, control: FakeControl, fetcher: SlowFetcher) -> AsyncIterator[Fleet]:
    async with running(settings.home, control, lambda runtime: InferenceService(runtime, fetcher=fetcher)) as process:
        yield Fleet(process, control)


def weather(default: float | None = None, **members: Any) -> FeatureViewSpec:
    feature = FeatureSpec(name="temp", kind="column", type="number", column="temp", default=default)
    return view_of("weather", feature, entities=("id",), **members)


def rows(**classifications: str) -> DatasetSpec:
    fields = [
        Field(name, kind, classification=classifications.get(name, "public"))
        for name, kind in (("id", LogicalType.INTEGER), ("temp", LogicalType.NUMBER), ("at", LogicalType.TIMESTAMP))
    ]
    spec = contract_to_spec(Contract("rows", "1.0.0", tuple(fields)))
    return DatasetSpec(id="dst_rows", name="rows", active_version="1.0", contracts={"1.0": spec})


async def deploy(
    fleet: Fleet, settings: Settings, view: FeatureViewSpec, dataset: DatasetSpec, redact: tuple[str, ...] = ()
) -> None:
    model = make_model(make_version(settings).model_copy(update={"features": NEEDS}))
    model = model.model_copy(update={"serving": ServingSpec(log=LogSpec(redact=redact))})
    await fleet.deploy(model, features={"weather": view}, datasets={"rows": dataset})


async def test_features_that_come_too_late_are_an_error_of_their_own(
    fleet: Fleet, settings: Settings, fetcher: SlowFetcher
) -> None:
    await deploy(fleet, settings, weather(7.0), rows())
    fetcher.seconds = 30
    began = time.monotonic()
    reply = await fleet.predict(BODY, **{"Hw-Timeout-Ms": "300"})
    assert time.monotonic() - began < 5
    assert (reply.status_code, reply.json()["code"]) == (504, "features_late")
    assert "within 2" in reply.json()["detail"]
    fetcher.seconds = 0
    assert (await fleet.predict(BODY, **{"Hw-Timeout-Ms": "5000"})).status_code == 200


@pytest.mark.parametrize("trouble", ["late", "down"])
async def test_a_view_may_declare_that_its_defaults_will_do(
    fleet: Fleet, settings: Settings, fetcher: SlowFetcher, trouble: str
) -> None:
    await deploy(fleet, settings, weather(7.0, on_unavailable="default"), rows())
    fetcher.seconds, fetcher.is_down = (30, False) if trouble == "late" else (0, True)
    reply = await fleet.predict(BODY, **{"Hw-Timeout-Ms": "300"})
    assert reply.json()["predictions"][0]["outputs"]["score"] == 71
    why = "it did not come in time" if trouble == "late" else "it cannot be read now"
    assert reply.json()["warnings"] == [f'row 0: weather.temp is a default for {{"id":1}}: {why}']
    await asyncio.sleep(0.4)
    (logged,) = await fleet.logged()
    assert json.loads(logged["features"])["weather.temp"] == [7.0, None]


async def test_a_name_that_no_feature_is_fetched_by_is_refused(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, weather(7.0), rows())
    reply = await fleet.predict({"entities": [{"id": 1}, {"id": 1, "Id": 2}], "rows": [{"a": 1}, {"a": 1}]})
    assert (reply.status_code, reply.json()["code"]) == (422, "input_invalid")
    (bad,) = reply.json()["errors"]
    assert bad["row"] == 1
    (error,) = bad["errors"]
    assert (error["code"], error["path"]) == ("unknown_field", "/Id")
    assert "there are id" in error["message"]
    body = {"entities": [{"id": 1}, {"id": 1, "it": 2}], "rows": [{"a": 1}, {"a": 1}]}
    good, bad = (await fleet.predict(body, f"{URL}?on_error=null")).json()["predictions"]
    assert (good["outputs"]["score"], bad) == (21, None)


async def test_a_feature_without_a_default_cannot_be_done_without(
    fleet: Fleet, settings: Settings, fetcher: SlowFetcher
) -> None:
    await deploy(fleet, settings, weather(on_unavailable="default"), rows())
    fetcher.is_down = True
    reply = await fleet.predict(BODY)
    assert (reply.status_code, reply.json()["code"]) == (503, "features_unavailable")
    fetcher.is_down, fetcher.seconds = False, 30
    reply = await fleet.predict(BODY, **{"Hw-Timeout-Ms": "200"})
    assert (reply.status_code, reply.json()["code"]) == (504, "features_late")


async def test_the_log_says_whom_features_were_fetched_for_and_as_of_when(fleet: Fleet, settings: Settings) -> None:
    planned = FeatureInputSpec(name="planned", type="string")
    await deploy(fleet, settings, weather(inputs=(planned,)), rows())
    before = time.time_ns() // 1_000
    body = {"entities": [{"id": 1}, {"id": 1, "planned": "now"}], "rows": [{"a": 1}, {"a": 1, "b": 7}]}
    assert (await fleet.predict(body)).status_code == 200
    await asyncio.sleep(0.4)
    fetched, given = (json.loads(row["features"]) for row in await fleet.logged())
    key, as_of, revision = fetched["weather"]
    assert (key, revision) == ({"id": 1, "planned": None}, 1)
    assert before <= as_of <= time.time_ns() // 1_000
    assert given == {}, "what a row says itself was fetched for nobody"


@pytest.mark.parametrize("private", ["classified", "redacted", "protected"])
async def test_a_key_that_is_not_public_is_not_logged(fleet: Fleet, settings: Settings, private: str) -> None:
    dataset = rows(id="restricted") if private == "classified" else rows()
    if private == "protected":
        dataset = dataset.model_copy(update={"protected": True})
    view = weather()
    if private == "redacted":
        view = weather(inputs=(FeatureInputSpec(name="a", type="number"),))
    await deploy(fleet, settings, view, dataset, redact=("a",) if private == "redacted" else ())
    assert (await fleet.predict(BODY)).status_code == 200
    await asyncio.sleep(0.4)
    (logged,) = await fleet.logged()
    assert set(json.loads(logged["features"])) == {"weather.temp"}


async def test_an_override_of_an_entity_holds_for_that_entity_alone(
    fleet: Fleet, settings: Settings, fetcher: SlowFetcher
) -> None:
    fetcher.values = {1: {"temp": 2}, 2: {"temp": 2}}
    override = make_override(by="entity", key={"id": 1})
    model = make_model(make_version(settings).model_copy(update={"features": NEEDS}))
    await fleet.deploy(model, features={"weather": weather()}, datasets={"rows": rows()}, overrides={"ovr_1": override})
    asked = {"entities": [{"id": 2}, {"id": 1}, {"id": 1.0}], "rows": [{"a": 1}, {"a": 1}, {"a": 9}]}
    body = (await fleet.predict(asked)).json()
    assert [prediction["outputs"]["score"] for prediction in body["predictions"]] == [21, 7.5, 7.5]
    assert {said["prediction_id"] for said in body["overrides"]} == {one["id"] for one in body["predictions"][1:]}
    plain = (await fleet.predict({"rows": [{"a": 1, "b": 2}]})).json()
    assert plain["predictions"][0]["outputs"]["score"] == 21, "rows that name no entity are nobody's"
    assert "overrides" not in plain
