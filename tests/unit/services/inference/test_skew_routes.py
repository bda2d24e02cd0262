"""Checks of features over HTTP: asked for, found under way, and told of once they are done."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from tests.builders.features import view_of
from tests.builders.fleet import HEADERS, Fleet
from tests.builders.models import make_model, make_version
from tests.builders.snapshots import KEY, make_key

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.core.snapshot import DatasetSpec, FeatureRefSpec, FeatureSpec
from headwater.engines.features.skew import SkewReport, report_path, save_report
from headwater.engines.journal import open_journal
from headwater.engines.queue import open_queue
from headwater.jobs.runner import work_off

NEEDS = (FeatureRefSpec(field="b", view="weather", feature="temp"),)
URL = "/v1/models/delay/skew"
FIELDS = (
    Field("entity", LogicalType.STRING),
    Field("temp", LogicalType.NUMBER),
    Field("at", LogicalType.TIMESTAMP),
)


@pytest.fixture
async def checked(fleet: Fleet, settings: Settings) -> Fleet:
    """Return services with a model whose feature has a view."""
    view = view_of("weather", FeatureSpec(name="temp", kind="column", type="number", column="temp"))
    contract = contract_to_spec(Contract("rows", "1.0.0", FIELDS))
    dataset = DatasetSpec(id="dst_1", name="rows", active_version="1.0", contracts={"1.0": contract})
    versions = [make_version(settings, n).model_copy(update={"features": NEEDS}) for n in (1, 2)]
    keys = {KEY: make_key("model.read:*"), "hw_other": make_key("model.invoke:*")}
    await fleet.deploy(
        make_model(*versions), make_model(make_version(settings), name="plain"),
        features={"weather": view}, datasets={"rows": dataset}, keys=keys,
    )  # fmt: skip
    return fleet


def work(settings: Settings) -> None:
    queue, journal = open_queue(settings), open_journal(settings)
    try:
        work_off(queue, journal, settings, threading.Event())
    finally:
        queue.close()
        journal.close()


async def test_a_check_is_queued_once_and_told_of(checked: Fleet, settings: Settings) -> None:
    http = checked.process.http
    before = (await http.get(URL, headers=HEADERS)).json()
    assert before == {"model": "delay", "version": 2, "job": None, "state": None, "error": None, "report": None}
    first = await http.post(URL, json={"hours": 6}, headers=HEADERS)
    assert (first.status_code, first.json()["state"]) == (202, "queued")
    again = await http.post(URL, json={}, headers=HEADERS)
    assert again.json()["job"] == first.json()["job"]
    other = await http.post("/v1/models/delay/versions/1/skew", json={}, headers=HEADERS)
    assert other.json()["job"] != first.json()["job"]
    work(settings)
    done = (await http.get(URL, headers=HEADERS)).json()
    assert (done["state"], done["report"]["sampled"], done["report"]["version"]) == ("succeeded", 0, 2)
    assert [one["feature"] for one in done["report"]["features"]] == ["temp"]
    assert (await http.post(URL, json={}, headers=HEADERS)).json()["job"] != first.json()["job"]


async def test_a_report_is_part_of_the_version_s_own(checked: Fleet, settings: Settings) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    kept = SkewReport(model="delay", version=2, checked_at=at, since=at, until=at, sampled=7)
    save_report(report_path(Home(settings.home), "env_1", "mdv_2"), kept)
    reply = await checked.process.http.get("/v1/models/delay/versions/2/report", headers=HEADERS)
    assert reply.json()["skew"]["sampled"] == 7
    reply = await checked.process.http.get("/v1/models/delay/versions/1/report", headers=HEADERS)
    assert reply.json()["skew"] is None


@pytest.mark.parametrize(
    ("path", "body", "key", "status", "code"),
    [
        (URL, {}, "hw_other", 403, "forbidden"),
        (URL, {"hours": 0}, KEY, 400, "malformed_body"),
        (URL, {"days": 1}, KEY, 400, "malformed_body"),
        ("/v1/models/plain/skew", {}, KEY, 400, "invalid_parameter"),
        ("/v1/models/delay/versions/9/skew", {}, KEY, 404, "model_not_found"),
    ],
)
async def test_what_cannot_be_checked_is_said(  # noqa: PLR0917 - a table
    checked: Fleet, path: str, body: dict[str, int], key: str, status: int, code: str
) -> None:
    reply = await checked.process.http.post(path, json=body, headers={"authorization": f"Bearer {key}"})
    assert (reply.status_code, reply.json()["code"]) == (status, code)
