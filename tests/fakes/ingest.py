"""The ingest service as it runs: real journal, real lake, real door; only control's word is given directly."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.control import TOKEN, FakeControl
from tests.fakes.process import alive

from headwater.core.clock import SystemClock
from headwater.core.setting_sections import IngestSettings, JournalSettings
from headwater.core.settings import Settings
from headwater.core.snapshot import DatasetSpec, KeySpec
from headwater.core.streams import stream_name
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake import open_lake
from headwater.jobs.sealer import Sealer
from headwater.services.ingest import IngestService, create
from headwater.services.kit.application import compose
from headwater.services.kit.asgi import Door
from headwater.services.kit.runtime import ProcessRuntime
from headwater.services.kit.service import Environment

ENVIRONMENT = "env_1"
ALLOWANCES = ("dataset.ingest:*", "dataset.read:*", "quarantine.read:*", "quarantine.resolve:*")
NDJSON = "application/x-ndjson"


@dataclass
class Ingest:
    """A running service, and what tests ask of it."""

    runtime: ProcessRuntime
    service: IngestService
    door: Door
    http: httpx.AsyncClient
    number: int = 0
    datasets: dict[str, DatasetSpec] = field(default_factory=dict)

    def configure(self, *datasets: DatasetSpec, keys: Mapping[str, KeySpec] | None = None) -> None:
        """Put a new snapshot in force: these datasets besides those known."""
        self.number += 1
        self.datasets |= {dataset.name: dataset for dataset in datasets}
        snapshot = make_snapshot(
            self.number, keys=keys or {KEY: make_key(*ALLOWANCES)}, datasets=self.datasets, environment=ENVIRONMENT
        )
        known = self.runtime.environments.get(ENVIRONMENT)
        compiled = self.service.compile(snapshot, known.compiled["ingest"] if known is not None else None)
        self.runtime.swap(Environment(snapshot, {"ingest": compiled}))

    async def send(
        self,
        body: bytes | str | Sequence[Any],
        dataset: str = "orders",
        *,
        content_type: str | None = NDJSON,
        key: str = KEY,
        headers: Mapping[str, str | bytes] | None = None,
        to: str = "rows",
        **parameters: str,
    ) -> httpx.Response:
        """Post rows: bytes as they are, or objects as one JSON line each."""
        if not isinstance(body, bytes | str):
            body = "\n".join(json.dumps(row) for row in body)
        given = {"authorization": f"Bearer {key}", "content-type": content_type, **(headers or {})}
        sent = [
            (name.encode(), value.encode() if isinstance(value, str) else value)
            for name, value in given.items()
            if value is not None
        ]
        return await self.http.post(f"/v1/datasets/{dataset}/{to}", content=body, headers=sent, params=parameters)

    async def get(self, path: str, **parameters: str) -> httpx.Response:
        """Ask a public route."""
        return await self.http.get(path, headers={"authorization": f"Bearer {KEY}"}, params=parameters)

    async def resolve(self, verdict: str, dataset: str = "orders", **what: Any) -> dict[str, Any]:
        """Replay or discard refused rows."""
        path = f"/v1/datasets/{dataset}/quarantine/{verdict}"
        reply = await self.http.post(path, headers={"authorization": f"Bearer {KEY}"}, json=what)
        assert reply.status_code == 200, reply.text
        body: dict[str, Any] = reply.json()
        return body

    async def internal(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask as control does."""
        url, headers = f"/internal/v1/{path}", {"authorization": f"Bearer {TOKEN}"}
        return await self.http.request(method, url, headers=headers, **options)

    def stored(self, dataset: str = "orders") -> list[dict[str, Any]]:
        """Return the accepted rows that wait in the journal, in order."""
        from headwater.services.ingest.encoding import decode_block

        blocks = self.runtime.journal.read(stream_name(ENVIRONMENT, dataset), max_rows=10**6, max_bytes=1 << 30)
        return [row for stored in blocks for row in decode_block(stored.block.payload).to_pylist()]

    async def seal(self) -> None:
        """Move everything into the lake, as the sealer does."""
        sealer = Sealer(self.runtime.journal, self.runtime.lake, self.runtime.settings)
        await asyncio.to_thread(sealer.drain)

    async def groups(self, dataset: str = "orders") -> list[dict[str, Any]]:
        """Return the quarantine groups of a dataset."""
        reply = await self.get(f"/v1/datasets/{dataset}/quarantine/groups")
        assert reply.status_code == 200, reply.text
        groups: list[dict[str, Any]] = reply.json()["groups"]
        return groups


@contextlib.asynccontextmanager
async def ingesting(
    home: Path,
    *datasets: DatasetSpec,
    journal: Journal | None = None,
    hot: bool = True,
    limits: IngestSettings | None = None,
) -> AsyncIterator[Ingest]:
    """Run the service.

    Args:
        home: an empty directory.
        datasets: what takes rows.
        journal: another than the one in the home.
        hot: whether requests may go through the raw handlers, or all through FastAPI.
        limits: others than the defaults.
    """
    settings = Settings(home=home, ingest=limits or IngestSettings(), journal=JournalSettings(min_free_bytes=0))
    control = FakeControl()
    control.is_down = True
    journal = journal or open_journal(settings)
    runtime = ProcessRuntime(settings, journal=journal, lake=open_lake(settings), clock=SystemClock())
    control.establish_trust(runtime.home)
    service = create(runtime)
    door = compose(runtime, [service], transport=control.transport())
    if not hot:
        door = Door(door.app, {}, door._metrics)
    async with alive(door):
        transport = httpx.ASGITransport(door, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://services") as http:
            running = Ingest(runtime, service, door, http)
            running.configure(*datasets)
            yield running
