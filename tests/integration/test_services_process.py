"""A services process from its start to its end."""

from __future__ import annotations

import concurrent.futures
import socket
from pathlib import Path

import pytest
from tests.builders.models import make_model, make_version
from tests.builders.processes import ServicesProcess, wait_until
from tests.builders.snapshots import KEY, make_snapshot
from tests.fakes.control import FakeControl

from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.services.kit.snapshot_store import SnapshotStore

HEADERS = {"authorization": f"Bearer {KEY}"}
BODY = {"rows": [{"a": 1, "b": 2}]}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a home that was served before: trust and one snapshot with a model are on disk."""
    control = FakeControl()
    home = Home(tmp_path)
    control.establish_trust(home)
    snapshot = make_snapshot(1, models=[make_model(make_version(Settings(home=tmp_path)))])
    SnapshotStore(home.snapshots).save(SignedSnapshot.sign(snapshot, control.key), snapshot)
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_until_it_is_asked_to_stop_and_exits_with_zero(home: Path, workers: int) -> None:
    with ServicesProcess(home, only=["inference"], services__workers=workers) as services:
        services.wait_ready()
        assert services.http.post("/v1/models/delay/predict", json=BODY, headers=HEADERS).status_code == 200
        status, log = services.stop()
    assert status == 0
    assert "Traceback" not in log


def test_everything_that_was_answered_is_durable_when_it_stops(home: Path) -> None:
    with ServicesProcess(home, only=["inference"]) as services:
        services.wait_ready()

        def ask() -> int:
            answered = 0
            while services.process.poll() is None:
                try:
                    reply = services.http.post("/v1/models/delay/predict", json=BODY, headers=HEADERS)
                except Exception:  # noqa: BLE001 - it is stopping
                    return answered
                answered += reply.status_code == 200
            return answered

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            wait_until(lambda: services.http.get("/metrics").text.count('status="200"') > 0)
            assert services.stop()[0] == 0
            answered = sum(future.result() for future in asking)
    journal = open_journal(Settings(home=home))
    logged = journal.totals("env_1/predictions_delay").accepted
    journal.close()
    assert logged >= answered > 0


def test_a_port_in_use_is_named_with_the_cure(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with ServicesProcess(home, only=["inference"], port=port) as services:
            _out, log = services.process.communicate(timeout=30)
            assert services.process.returncode == 1
    assert f"port_taken: services cannot listen on 127.0.0.1:{port}" in log
    assert "--services-port" in log or "--port" in log


def test_a_service_that_does_not_exist_is_named(home: Path) -> None:
    with ServicesProcess(home, only=["inference", "telepathy"]) as services:
        _out, log = services.process.communicate(timeout=30)
    assert "there is no service 'telepathy'" in log
    assert "ingest, query, inference" in log
