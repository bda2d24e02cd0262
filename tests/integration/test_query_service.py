"""The query service as a process runs it: the real composition root, journal and lake, a snapshot from the disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.builders.snapshots import KEY, make_key, make_snapshot
from tests.fakes.process import alive
from tests.fakes.query_process import AUTHORIZED, BY_CARRIER, FLIGHTS, dataset, endpoint, flights

from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot, public_key_text
from headwater.core.setting_sections import ControlSettings
from headwater.core.settings import Settings
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.services.app import create_app
from headwater.services.kit.snapshot_store import SnapshotStore


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a home with a snapshot on its disk and control away."""
    settings = Settings(home=tmp_path, control=ControlSettings(url="http://127.0.0.1:1"))
    home = Home(tmp_path)
    home.prepare()
    key = Ed25519PrivateKey.generate()
    home.write_secret(home.snapshot_public_key, public_key_text(key).encode())
    home.write_secret(home.node_token, b"token")
    snapshot = make_snapshot(
        keys={KEY: make_key("endpoint.invoke:*", "dataset.read:*", "sql.run:*")},
        datasets={"flights": dataset(FLIGHTS)},
        endpoints={"by_carrier": endpoint("by_carrier", BY_CARRIER)},
    )
    SnapshotStore(home.snapshots).save(SignedSnapshot.sign(snapshot, key), snapshot)
    return settings


async def test_queries_are_answered_from_disk_while_control_is_away(settings: Settings) -> None:
    writer = open_lake(settings)
    door = create_app(settings, only=["query"])
    async with (
        alive(door),
        httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://services", headers=AUTHORIZED) as http,
    ):
        assert (await http.get("/v1/endpoints/by_carrier")).json()["data"] == []
        writer.append("env_1/flights", flights(0, 3_000), AppTransaction("sealer", 1))
        await asyncio.sleep(0.01)
        body = (await http.get("/v1/endpoints/by_carrier")).json()
        assert [row["flights"] for row in body["data"]] == [1_000, 1_000, 1_000]
        reply = await http.post("/v1/sql", json={"sql": "select count(*) as n from flights"})
        assert reply.json()["data"] == [{"n": 3_000}]
        assert (
            'headwater_query_answers_total{endpoint="by_carrier",outcome="run"} 2.0'
            in (await http.get("/metrics")).text
        )
