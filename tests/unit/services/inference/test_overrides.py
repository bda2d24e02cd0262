from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from tests.builders.fleet import URL, Fleet
from tests.builders.models import make_model, make_version
from tests.fakes.process import until

from headwater.core.overrides import OverrideSpec
from headwater.core.settings import Settings
from headwater.core.snapshot import ServingSpec

BODY = {"rows": [{"a": 1, "b": 2}, {"a": 3, "b": 4.5}]}


def make_override(number: int = 1, **changes: Any) -> OverrideSpec:
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "id": f"ovr_{number}",
        "model": "delay",
        "output": "score",
        "key": {"a": 1, "b": 2},
        "value": 7.5,
        "reason": "the sensor lies",
        "requested_by": "ann@example.com",
        "approved_by": "bob@example.com",
        "valid_from": now - timedelta(hours=1),
        "valid_until": now + timedelta(hours=1),
    }
    return OverrideSpec(**values | changes)


async def deploy(
    fleet: Fleet, settings: Settings, *overrides: OverrideSpec, serving: ServingSpec | None = None
) -> None:
    model = make_model(make_version(settings))
    model = model.model_copy(update={"serving": serving or ServingSpec()})
    await fleet.deploy(model, overrides={override.id: override for override in overrides})


async def test_an_answer_says_that_it_was_overridden_why_by_whom_and_until_when(
    fleet: Fleet, settings: Settings
) -> None:
    override = make_override()
    await deploy(fleet, settings, override)
    body = (await fleet.predict(BODY)).json()
    assert body["route"] == "override"
    assert [prediction["outputs"]["score"] for prediction in body["predictions"]] == [7.5, 48]
    assert body["overrides"] == [
        {
            "prediction_id": body["predictions"][0]["id"],
            "output": "score",
            "override": "ovr_1",
            "reason": "the sensor lies",
            "requested_by": "ann@example.com",
            "approved_by": "bob@example.com",
            "valid_until": override.valid_until.isoformat(),
        }
    ]


async def test_the_log_keeps_what_the_model_itself_said(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override())
    await fleet.predict(BODY)
    await until(lambda: len(fleet.process.journal.backlogs()) > 0)
    first, second = await fleet.logged()
    assert (first["output_score"], second["output_score"]) == (21, 48)
    assert json.loads(first["overrides"]) == {"score": {"override": "ovr_1", "served": 7.5}}
    assert second["overrides"] is None
    assert first["route"] == "champion"


async def test_a_request_that_no_override_is_about_is_answered_as_ever(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override(key={"a": 9, "b": 9}))
    body = (await fleet.predict(BODY)).json()
    assert body["route"] == "champion"
    assert "overrides" not in body


async def test_a_model_without_overrides_has_nothing_to_look_at(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override(model="another"))
    assert fleet.model().overriding is None


async def test_a_key_of_some_inputs_holds_for_every_row_that_has_them(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override(key={"b": 2.0}))
    rows = {"rows": [{"a": a, "b": 2} for a in range(5)] + [{"a": 1, "b": 3}]}
    body = (await fleet.predict(rows)).json()
    assert [prediction["outputs"]["score"] for prediction in body["predictions"]] == [7.5] * 5 + [31]


async def test_the_key_that_says_more_wins_then_the_newer_one(fleet: Fleet, settings: Settings) -> None:
    loose, exact = make_override(1, key={"b": 2}, value=1), make_override(2, value=2)
    other = make_override(3, key={"a": 1}, value=3)
    await deploy(fleet, settings, loose, exact, other)
    body = (await fleet.predict({"rows": [{"a": 1, "b": 2}, {"a": 2, "b": 2}, {"a": 1, "b": 9}]})).json()
    assert [prediction["outputs"]["score"] for prediction in body["predictions"]] == [2, 1, 3]


async def test_a_window_begins_and_ends_by_the_clock_of_the_data_plane(
    fleet: Fleet, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = datetime(2026, 3, 1, 12, tzinfo=UTC)
    await deploy(fleet, settings, make_override(valid_from=start, valid_until=start + timedelta(hours=1)))
    routes = {}
    for seconds in (-1, 0, 3_599, 3_600):
        at = start.timestamp() + seconds
        monkeypatch.setattr("headwater.services.inference.overriding.time.time", lambda at=at: at)
        routes[seconds] = (await fleet.predict(BODY)).json()["route"]
    assert routes == {-1: "champion", 0: "override", 3_599: "override", 3_600: "champion"}


async def test_the_open_inference_protocol_says_so_in_parameters(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override())
    inputs = [
        {"name": "a", "shape": [2], "datatype": "FP64", "data": [1, 3]},
        {"name": "b", "shape": [2], "datatype": "FP64", "data": [2, 4.5]},
    ]
    body = (await fleet.predict({"inputs": inputs}, url="/v2/models/delay/infer")).json()
    assert body["outputs"][0]["data"] == [7.5, 48]
    assert body["parameters"]["route"] == "override"
    (said,) = json.loads(body["parameters"]["overrides"])
    assert (said["override"], said["reason"]) == ("ovr_1", "the sensor lies")
    assert said["prediction_id"] == body["parameters"]["prediction_ids"].split(",")[0]


async def test_arrow_says_so_in_the_metadata(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override())
    reply = await fleet.predict(BODY, accept="application/vnd.apache.arrow.stream")
    table = pa.ipc.open_stream(reply.content).read_all()
    assert table.column("score").to_pylist() == [7.5, 48]
    assert table.schema.metadata[b"route"] == b"override"
    assert json.loads(table.schema.metadata[b"overrides"])[0]["override"] == "ovr_1"


async def test_what_is_cached_is_what_the_model_said(fleet: Fleet, settings: Settings) -> None:
    serving = ServingSpec(cache_entries=8)
    await deploy(fleet, settings, make_override(), serving=serving)
    for _ in range(2):
        assert (await fleet.predict(BODY)).json()["predictions"][0]["outputs"]["score"] == 7.5
    await deploy(fleet, settings, serving=serving)
    reply = await fleet.predict(BODY)
    assert reply.headers["hw-cache"] == "hit"
    assert reply.json()["predictions"][0]["outputs"]["score"] == 21


async def test_bad_rows_answered_with_null_do_not_shift_overrides(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override(key={"a": 3, "b": 4.5}))
    rows = {"rows": [{"a": "x", "b": 1}, *BODY["rows"]]}
    body = (await fleet.predict(rows, url=f"{URL}?on_error=null")).json()
    assert body["predictions"][0] is None
    assert [prediction["outputs"]["score"] for prediction in body["predictions"][1:]] == [21, 7.5]
    assert body["overrides"][0]["prediction_id"] == body["predictions"][2]["id"]


async def test_a_pinned_version_is_overridden_too(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override())
    body = (await fleet.predict(BODY, url="/v1/models/delay/versions/1/predict")).json()
    assert body["overrides"][0]["override"] == "ovr_1"


async def test_a_revoked_override_is_gone_within_a_second(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override())
    assert (await fleet.predict(BODY)).json()["route"] == "override"
    began = time.monotonic()
    await deploy(fleet, settings)
    assert (await fleet.predict(BODY)).json()["route"] == "champion"
    assert time.monotonic() - began < 1


async def test_an_override_that_fits_nothing_in_the_signature_changes_nothing(fleet: Fleet, settings: Settings) -> None:
    await deploy(fleet, settings, make_override(key={"gone": 1}), make_override(2, output="gone"))
    assert (await fleet.predict(BODY)).json()["route"] == "champion"
