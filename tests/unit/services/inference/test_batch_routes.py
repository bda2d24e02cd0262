from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.builders.datasets import make_dataset
from tests.builders.features import view_of
from tests.builders.fleet import HEADERS, Fleet
from tests.builders.models import make_model, make_version
from tests.builders.snapshots import KEY, make_key
from tests.fakes.control import TOKEN, FakeControl
from tests.fakes.process import running

from headwater.contracts.model import Contract, Dedup, Field, LogicalType
from headwater.core.home import Home
from headwater.core.jobs import BatchScore
from headwater.core.overrides import OverrideSpec
from headwater.core.setting_sections import InferenceSettings
from headwater.core.settings import Settings
from headwater.core.snapshot import FeatureInputSpec, FeatureRefSpec, FeatureSpec, ModelVersionSpec
from headwater.engines.queue import open_queue
from headwater.engines.queue.protocol import Progress, State
from headwater.services import inference

URL = "/v1/models/delay/batch"
FIELDS = (
    Field("trip", LogicalType.STRING),
    Field("a", LogicalType.NUMBER),
    Field("b", LogicalType.INTEGER),
    Field("passenger", LogicalType.STRING, classification="personal"),
    Field("age", LogicalType.INTEGER, classification="personal"),
    Field("at", LogicalType.TIMESTAMP),
    Field("seen", LogicalType.TIMESTAMP, required=False, nullable=True),
)
TRIPS = Contract("trips", "1.0", FIELDS, dedup=Dedup(("trip", "passenger")), event_time="at")
PLAIN = Contract("plain", "1.0", (Field("a", LogicalType.NUMBER), Field("b", LogicalType.STRING)))
SECRET = Contract("secret", "1.0", FIELDS, protected=True)
OTHERS = {
    "hw_model": make_key("model.invoke:*", key_id="key_2"),
    "hw_data": make_key("dataset.read:*", key_id="key_3"),
    "hw_same": make_key("model.invoke:delay", "dataset.read:trips", key_id="key_4"),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, inference=InferenceSettings(sidecar=False))


@pytest.fixture
async def fleet(settings: Settings) -> AsyncIterator[Fleet]:
    control = FakeControl()
    control.establish_trust(Home(settings.home))
    async with running(settings.home, control, inference.create) as process:
        fleet = Fleet(process, control)
        await deploy(fleet, make_version(settings), make_version(settings, 2))
        yield fleet


async def deploy(fleet: Fleet, *versions: ModelVersionSpec, more: Sequence[Contract] = (), **members: Any) -> None:
    datasets = {contract.name: make_dataset(contract) for contract in (TRIPS, PLAIN, SECRET, *more)}
    keys = {KEY: make_key("model.invoke:*", "dataset.read:*"), **OTHERS}
    await fleet.deploy(make_model(*versions), datasets=datasets, keys=keys, **members)


async def ask(fleet: Fleet, url: str = URL, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    content = json.dumps({"dataset": "trips", **body})
    return await fleet.process.http.post(url, content=content, headers=HEADERS | (headers or {}))


async def look(fleet: Fleet, url: str, key: str = KEY) -> httpx.Response:
    return await fleet.process.http.get(url, headers={"authorization": f"Bearer {key}"})


def task_of(settings: Settings, job_id: str) -> BatchScore:
    queue = open_queue(settings)
    job = queue.find("env_1", job_id)
    queue.close()
    assert job is not None
    return BatchScore.model_validate_json(job.new.payload)


async def test_a_job_is_written_down_and_can_be_looked_at(fleet: Fleet, settings: Settings) -> None:
    reply = await ask(fleet, where="a > 3 and trip != 'x'", since="2026-01-01T00:00:00Z")
    assert reply.status_code == 202
    started = reply.json()
    assert started["status_url"] == f"/v1/jobs/{started['job']}" == reply.headers["location"]
    job = (await look(fleet, started["status_url"])).json()
    expected = {
        "job": started["job"],
        "kind": "batch_score",
        "state": "queued",
        "model": "delay",
        "version": 2,
        "dataset": "trips",
        "dataset_version": None,
        "output": "batch_predictions_delay",
        "output_version": None,
        "progress": {"done": 0, "total": 0},
        "counts": {"scored": 0, "failed": 0, "skipped": 0},
        "error": None,
        "cancelling": False,
    }
    assert {name: job[name] for name in expected} == expected
    task = task_of(settings, started["job"])
    assert task.columns == {"a": "a", "b": "b"}
    assert task.keys == ("trip",)  # the passenger is nobody's business
    assert task.rows.names == {"a": "number", "trip": "string"}
    assert (task.rows.event_time, task.rows.since_us) == ("at", 1_767_225_600_000_000)
    assert [item["job"] for item in (await look(fleet, "/v1/jobs")).json()["jobs"]] == [started["job"]]


async def test_a_path_may_name_the_version(fleet: Fleet, settings: Settings) -> None:
    reply = await ask(fleet, "/v1/models/delay/versions/1/batch")
    assert task_of(settings, reply.json()["job"]).version.number == 1


async def test_a_job_takes_the_overrides_along_that_are_not_over(fleet: Fleet, settings: Settings) -> None:
    now = datetime.now(UTC)
    overrides = {
        name: OverrideSpec(
            id=name,
            model=model,
            output="score",
            key={"a": 1},
            value=1.0,
            reason="strike",
            requested_by="a",
            approved_by="b",
            valid_from=now - timedelta(days=9),
            valid_until=now + timedelta(days=days),
        )
        for name, model, days in (("ovr_1", "delay", 1), ("ovr_2", "delay", -1), ("ovr_3", "other", 1))
    }
    await deploy(fleet, make_version(settings), overrides=overrides)
    assert [spec.id for spec in task_of(settings, (await ask(fleet)).json()["job"]).overrides] == ["ovr_1"]


async def test_inputs_from_private_columns_are_redacted(fleet: Fleet, settings: Settings) -> None:
    reply = await ask(fleet, columns={"b": "age"})
    assert task_of(settings, reply.json()["job"]).redact == ("b",)


async def test_the_same_key_is_the_same_job_and_never_another(fleet: Fleet) -> None:
    key = {"idempotency-key": "may"}
    first = await ask(fleet, headers=key)
    again = await ask(fleet, headers=key)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    other = await ask(fleet, headers=key, where="a > 1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len((await look(fleet, "/v1/jobs")).json()["jobs"]) == 1
    await fleet.deploy(keys={KEY: make_key("model.invoke:*", "dataset.read:*")})  # neither model nor dataset any more
    assert (await ask(fleet, headers=key)).json() == first.json()
    assert (await ask(fleet, headers={"idempotency-key": "june"})).status_code == 404


async def test_while_the_champion_is_tripped_its_fallback_scores(fleet: Fleet, settings: Settings) -> None:
    model = make_model(make_version(settings), make_version(settings, 2))
    datasets = {"trips": make_dataset(TRIPS)}
    keys = {KEY: make_key("model.invoke:*", "dataset.read:*")}
    await fleet.deploy(model.model_copy(update={"fallback": 1}), datasets=datasets, keys=keys)
    first = await ask(fleet)
    fleet.model().live.tripped[2] = "errors 12 %"
    second = await ask(fleet)
    assert [task_of(settings, reply.json()["job"]).version.number for reply in (first, second)] == [2, 1]


@pytest.mark.parametrize(
    ("body", "status", "code", "said"),
    [
        ({"dataset": "nothing"}, 404, "dataset_not_found", "'nothing'"),
        ({"dataset": "secret"}, 403, "forbidden", "no policy allows rows"),
        ({"dataset": "plain"}, 422, "schema_mismatch", "column 'b' is of type string, and it takes decimal or integer"),
        ({"columns": {"a": "weight"}}, 422, "schema_mismatch", "trips has no column 'weight'"),
        ({"columns": {"c": "a"}}, 422, "schema_mismatch", "the model has no input 'c'; it takes a, b"),
        ({"columns": {"a": "at"}}, 422, "schema_mismatch", "column 'at' is of type timestamp"),
        ({"output": "mine"}, 400, "invalid_parameter", "rows of 'batch_predictions_delay'"),
        ({"where": "weight > 3"}, 400, "invalid_parameter", "weight"),
        ({"where": "a +"}, 400, "invalid_parameter", "where"),
        ({"where": "a + 1"}, 400, "invalid_parameter", "not a condition"),
        ({"where": "a > 'x'"}, 400, "invalid_parameter", "where"),
        ({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, 400, "invalid_parameter", "before until"),
        ({"since": "2026-01-02T00:00:00"}, 400, "malformed_body", "timezone"),
        ({"on_error": "skip"}, 400, "malformed_body", "stop"),
        (
            {"dataset": "plain", "columns": {"b": "a"}, "until": "2026-01-01T00:00:00Z"},
            400,
            "invalid_parameter",
            "time",
        ),
        ({"rows": []}, 400, "malformed_body", "rows"),
    ],
)
async def test_what_cannot_be_done_is_refused_at_once(
    fleet: Fleet, body: dict[str, Any], status: int, code: str, said: str
) -> None:
    reply = await ask(fleet, **body)
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    assert said in reply.text
    assert (await look(fleet, "/v1/jobs")).json()["jobs"] == []


async def test_every_input_without_a_column_is_named(fleet: Fleet) -> None:
    reply = await ask(fleet, columns={"a": "x", "b": "y", "c": "z"})
    assert [(error["input"], error["column"]) for error in reply.json()["errors"]] == [
        ("c", "z"),
        ("a", "x"),
        ("b", "y"),
    ]


WEATHER = Contract(
    "rows",
    "1.0",
    (Field("place", LogicalType.STRING), Field("temp", LogicalType.NUMBER), Field("at", LogicalType.TIMESTAMP)),
)


async def fetching(fleet: Fleet, settings: Settings, **members: Any) -> None:
    """Serve a model whose input ``c`` comes from a view that is keyed by ``place``."""
    need = FeatureRefSpec(field="c", view="weather", feature="temp")
    version = make_version(settings, 3, fields=(Field("c", LogicalType.NUMBER), Field("b", LogicalType.NUMBER)))
    feature = FeatureSpec(name="temp", kind="column", type="number", column="temp")
    view = view_of("weather", feature, entities=("place",), **members)
    await deploy(fleet, version.model_copy(update={"features": (need,)}), features={"weather": view}, more=[WEATHER])


async def test_an_input_from_a_view_is_fetched_by_the_columns_of_its_key(fleet: Fleet, settings: Settings) -> None:
    planned = FeatureInputSpec(name="planned", type="timestamp")
    await fetching(fleet, settings, inputs=(planned,))
    reply = await ask(fleet, columns={"place": "trip", "planned": "at"}, as_of="at")
    assert reply.status_code == 202, reply.text
    task = task_of(settings, reply.json()["job"])
    assert (task.columns, task.as_of) == ({"b": "b"}, "at")
    assert [need.field for need in task.features] == ["c"]
    assert task.views["weather"].columns == {"place": "trip", "planned": "at"}
    assert task.as_of_us == pytest.approx(time.time() * 1e6, abs=60e6)


async def test_a_column_wins_over_the_view(fleet: Fleet, settings: Settings) -> None:
    await fetching(fleet, settings)
    task = task_of(settings, (await ask(fleet, columns={"c": "a"})).json()["job"])
    assert (task.columns, task.features, task.views) == ({"c": "a", "b": "b"}, (), {})


@pytest.mark.parametrize(
    ("columns", "as_of", "code", "said"),
    [
        ({}, None, "schema_mismatch", "view 'weather' is keyed by it, and there is no column 'place'"),
        ({"place": "a"}, None, "schema_mismatch", "keyed by it as string, and column 'a' is number"),
        ({"place": "trip", "planned": "x"}, None, "schema_mismatch", "there is no column 'x'"),
        (
            {"place": "trip", "planned": "b"},
            None,
            "schema_mismatch",
            "takes it as timestamp, and column 'b' is integer",
        ),
        ({"place": "trip", "elsewhere": "b"}, None, "schema_mismatch", "no input 'elsewhere'"),
        ({"place": "trip"}, "b", "invalid_parameter", "no column of instants 'b'"),
        ({"place": "trip"}, "seen", "invalid_parameter", "need not have 'seen'"),
    ],
)
async def test_a_key_that_no_column_fits_is_named(  # noqa: PLR0917 - a table
    fleet: Fleet, settings: Settings, columns: dict[str, str], as_of: str | None, code: str, said: str
) -> None:
    await fetching(fleet, settings, inputs=(FeatureInputSpec(name="planned", type="timestamp"),))
    reply = await ask(fleet, columns=columns, as_of=as_of)
    assert (reply.json()["code"], reply.status_code < 500) == (code, True)
    assert said in reply.json()["detail"]


@pytest.mark.parametrize("url", ["/v1/models/other/batch", "/v1/models/delay/versions/9/batch"])
async def test_a_model_or_version_that_is_not_there_is_not_found(fleet: Fleet, url: str) -> None:
    reply = await ask(fleet, url)
    assert (reply.status_code, reply.json()["code"]) == (404, "model_not_found")


async def test_both_permissions_are_needed_to_start_to_see_and_to_cancel(fleet: Fleet) -> None:
    job = (await ask(fleet)).json()["status_url"]
    for key in ("hw_model", "hw_data"):
        headers = {"authorization": f"Bearer {key}"}
        assert (await ask(fleet, headers=headers)).status_code == 403
        assert (await look(fleet, job, key)).json()["code"] == "job_not_found"
        assert (await look(fleet, "/v1/jobs", key)).json() == {"jobs": []}
        assert (await fleet.process.http.delete(job, headers=headers)).json()["code"] == "job_not_found"
    assert (await look(fleet, job, "hw_same")).status_code == 200
    assert (await look(fleet, "/v1/jobs/job_x")).json()["code"] == "job_not_found"


async def test_a_cancelled_job_is_cancelled_once_and_a_finished_one_not_at_all(
    fleet: Fleet, settings: Settings
) -> None:
    job = (await ask(fleet)).json()["status_url"]
    for _ in range(2):
        reply = await fleet.process.http.delete(job, headers=HEADERS)
        assert (reply.status_code, reply.json()["state"]) == (200, "cancelled")
    other = (await ask(fleet)).json()["status_url"]
    queue = open_queue(settings)
    now_us = time.time_ns() // 1_000
    claim = queue.claim(now_us=now_us, lease_us=1)
    assert claim is not None
    queue.keep(claim, Progress(3, {"scored": 2, "failed": 1}), now_us=now_us, lease_us=1)
    queue.finish(
        claim, State.FAILED, now_us=now_us, error={"code": "internal", "detail": "OSError: /home/x", "hint": None}
    )
    queue.close()
    reply = await fleet.process.http.delete(other, headers=HEADERS)
    assert (reply.status_code, reply.json()["code"]) == (409, "conflict")
    shown = (await look(fleet, other)).json()
    assert shown["counts"] == {"scored": 2, "failed": 1, "skipped": 0}
    assert "/home/x" not in json.dumps(shown["error"])


async def test_an_environment_has_no_more_jobs_than_it_may(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.services.inference.batch_routes.MOST_WAITING", 1)
    assert (await ask(fleet)).status_code == 202
    reply = await ask(fleet)
    assert (reply.status_code, reply.json()["code"]) == (429, "rate_limited")
    assert reply.headers["retry-after"]


async def test_a_reader_of_the_console_sees_and_cancels_what_they_could_have_started(fleet: Fleet) -> None:
    started = (await ask(fleet)).json()["job"]

    async def view(path: str, *allowed: str, token: str = TOKEN, **parameters: str) -> httpx.Response:
        viewer = make_key(*allowed).model_dump(mode="json")
        content = {"viewer": viewer, "parameters": parameters}
        url, headers = f"/internal/v1/viewing/env_1/{path}", {"authorization": f"Bearer {token}"}
        return await fleet.process.http.post(url, json=content, headers=headers)

    both = ("model.invoke:delay", "dataset.read:trips")
    assert [job["job"] for job in (await view("jobs", *both)).json()["jobs"]] == [started]
    assert (await view("jobs", "model.invoke:*")).json()["jobs"] == []
    assert (await view(f"jobs/{started}", *both)).json()["state"] == "queued"
    for path in (f"jobs/{started}", f"jobs/{started}/cancel", "jobs/job_none"):
        refused = await view(path, "dataset.read:*")
        assert (refused.status_code, refused.json()["code"]) == (404, "job_not_found")
    assert (await view(f"jobs/{started}", *both, token=KEY)).status_code == 401
    assert (await view("jobs", *both, limit="many")).json()["code"] == "invalid_parameter"
    assert (await view(f"jobs/{started}/cancel", *both)).json()["state"] == "cancelled"
    assert (await view(f"jobs/{started}/cancel", *both)).status_code == 200, "twice is once"
