"""From rows that were ingested to predictions that SQL can read: services, what works jobs off, and the sealer."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.builders.datasets import make_dataset
from tests.builders.models import make_model, make_version
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.process import alive, until

from headwater.contracts.model import Contract, Dedup, Field, LogicalType
from headwater.core.clock import SystemClock
from headwater.core.home import Home
from headwater.core.setting_sections import InferenceSettings, JournalSettings
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.lake import open_lake
from headwater.engines.queue import open_queue
from headwater.jobs.runner import work_off
from headwater.jobs.seal import seal_segment
from headwater.services import inference, ingest, query
from headwater.services.kit.application import compose
from headwater.services.kit.runtime import ProcessRuntime

FIELDS = (
    Field("trip", LogicalType.STRING),
    Field("km", LogicalType.NUMBER),
    Field("stops", LogicalType.INTEGER, required=False, nullable=True),
    Field("at", LogicalType.TIMESTAMP),
)
TRIPS = Contract("trips", "1.0", FIELDS, dedup=Dedup(("trip",)), event_time="at")
ROWS = [{"trip": f"t{n}", "km": n / 2, "stops": n % 5, "at": f"2026-05-{1 + n % 28:02}T10:00:00Z"} for n in range(200)]
KEYS = {KEY: make_key(*(f"{name}:*" for name in ("model.invoke", "dataset.read", "dataset.ingest", "sql.run")))}


@dataclass
class Site:
    """A home with everything that runs on it, in this process."""

    settings: Settings
    runtime: ProcessRuntime
    http: httpx.AsyncClient

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body)
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        reply = await self.http.request(method, path, content=content, headers=headers)
        assert reply.is_success, reply.text
        return reply.json()

    async def sql(self, statement: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.ask("POST", "/v1/sql", {"sql": statement}))["data"]
        return rows

    def seal(self) -> None:
        while backlogs := self.runtime.journal.backlogs():
            seal_segment(
                self.runtime.journal, self.runtime.lake, backlogs[0], limits=self.settings.lake, clock=SystemClock()
            )

    def work(self) -> None:
        store = open_queue(self.settings)
        work_off(store, self.runtime.journal, self.settings, threading.Event())
        store.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    settings = Settings(
        home=tmp_path, inference=InferenceSettings(sidecar=False), journal=JournalSettings(min_free_bytes=0)
    )
    control = FakeControl()
    control.establish_trust(Home(tmp_path))
    runtime = ProcessRuntime(settings, journal=open_journal(settings), lake=open_lake(settings))
    runtime.home.prepare()
    services = [make(runtime) for make in (ingest.create, query.create, inference.create)]
    door = compose(runtime, services, transport=control.transport())
    fields = (Field("km", LogicalType.NUMBER), Field("halts", LogicalType.NUMBER))
    version = make_version(settings, fields=fields)
    async with alive(door):
        control.publish(
            make_snapshot(1, keys=KEYS, models=[make_model(version)], datasets={"trips": make_dataset(TRIPS)})
        )
        await until(lambda: "env_1" in runtime.environments)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://services") as http:
            yield Site(settings, runtime, http)


async def test_predictions_of_a_dataset_can_be_joined_with_its_rows(site: Site) -> None:
    await site.ask("POST", "/v1/datasets/trips/rows", ROWS)
    await asyncio.to_thread(site.seal)
    body = {"dataset": "trips", "columns": {"halts": "stops"}, "where": "stops > 0"}
    started = await site.ask("POST", "/v1/models/delay/batch", body)
    await asyncio.to_thread(site.work)
    await asyncio.to_thread(site.seal)

    job = await site.ask("GET", started["status_url"])
    assert (job["state"], job["progress"]) == ("succeeded", {"done": 200, "total": 200})
    assert job["counts"] == {"scored": 160, "failed": 0, "skipped": 40}
    assert job["output_version"] is not None
    joined = await site.sql(
        """SELECT count(*) AS rows, count(DISTINCT p.prediction_id) AS ids,
        max(abs(p.output_score - (t.km + 10 * t.stops))) AS off,
        bool_and(p.source_key = '{"trip":"' || t.trip || '"}') AS same_key
        FROM batch_predictions_delay p JOIN trips t ON t._hw_seq = p.source_seq"""
    )
    (found,) = joined
    assert found["off"] < 1e-4
    assert found | {"off": 0} == {"rows": 160, "ids": 160, "off": 0, "same_key": True}


async def test_rows_that_come_later_are_not_a_matter_of_the_job(site: Site) -> None:
    await site.ask("POST", "/v1/datasets/trips/rows", ROWS[:100])
    await asyncio.to_thread(site.seal)
    started = await site.ask("POST", "/v1/models/delay/batch", {"dataset": "trips", "columns": {"halts": "stops"}})
    await site.ask("POST", "/v1/datasets/trips/rows", ROWS[100:])
    await asyncio.to_thread(site.seal)
    await asyncio.to_thread(site.work)
    job = await site.ask("GET", started["status_url"])
    assert (job["state"], job["counts"]["scored"]) == ("succeeded", 100)


async def test_rows_without_a_value_say_so_in_the_predictions(site: Site) -> None:
    await site.ask("POST", "/v1/datasets/trips/rows", [ROWS[0], ROWS[1] | {"stops": None}])
    await asyncio.to_thread(site.seal)
    body = {"dataset": "trips", "columns": {"halts": "stops"}, "on_error": "null"}
    started = await site.ask("POST", "/v1/models/delay/batch", body)
    stopping = await site.ask("POST", "/v1/models/delay/batch", body | {"on_error": "stop"})
    await asyncio.to_thread(site.work)
    await asyncio.to_thread(site.seal)
    assert (await site.ask("GET", started["status_url"]))["counts"] == {"scored": 1, "failed": 1, "skipped": 0}
    failed = await site.ask("GET", stopping["status_url"])
    assert failed["state"] == "failed"
    assert "input 'halts' from column 'stops'" in failed["error"]["detail"]
    rows = await site.sql(
        f"SELECT output_score, error FROM batch_predictions_delay WHERE job = '{started['job']}' ORDER BY source_seq"
    )
    assert [row["output_score"] is None for row in rows] == [False, True]
    assert json.loads(rows[1]["error"])[0]["path"] == "/halts"
