"""Models in processes of their own behind a services process: killed under load, misbehaving, and asked by another."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from tests.builders.executors import spec_of
from tests.builders.frameworks import MIXED, A, B, mixed, numbers, sklearn_numbers
from tests.builders.misbehaving import CODE, ORDER, SAID, archive
from tests.builders.models import SCORE, make_model, make_version
from tests.builders.onnx_models import by_field
from tests.builders.processes import ServicesProcess, wait_until
from tests.builders.snapshots import KEY, make_snapshot
from tests.fakes.control import FakeControl

from headwater.contracts.model import Field
from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot
from headwater.core.setting_sections import InferenceSettings
from headwater.core.settings import Settings
from headwater.core.snapshot import OutputSpec
from headwater.engines.models import open_executor
from headwater.engines.models.remote.executor import RemoteExecutor
from headwater.services.kit.snapshot_store import SnapshotStore

pytestmark = pytest.mark.alone
HEADERS = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServicesProcess]:
    with _serve(tmp_path_factory.mktemp("home")) as process:
        yield process


@contextmanager
def _serve(tmp_path: Path) -> Iterator[ServicesProcess]:
    control, home, settings = FakeControl(), Home(tmp_path), Settings(home=tmp_path)
    control.establish_trust(home)
    gbc = sklearn_numbers(tmp_path)
    assert gbc.artifact is not None
    forest = make_version(settings, artifact=gbc.artifact.read_bytes(), outputs=gbc.outputs)
    obedient = make_version(
        settings, artifact=archive(tmp_path, CODE).read_bytes(), fields=[ORDER], outputs=[SAID]
    ).model_copy(update={"framework": "python", "timeout_seconds": 1.0, "memory_bytes": 128 << 20})
    text = make_version(settings, artifact=by_field(), fields=MIXED, outputs=[OutputSpec(name="total", type="number")])
    models = [
        make_model(forest.model_copy(update={"framework": "sklearn"}), name="forest"),
        make_model(obedient, name="obedient"),
        make_model(text, name="text"),
        make_model(make_version(settings, 2), name="delay"),
    ]
    snapshot = make_snapshot(1, models=models)
    SnapshotStore(home.snapshots).save(SignedSnapshot.sign(snapshot, control.key), snapshot)
    with ServicesProcess(tmp_path, only=["inference"]) as process:
        process.wait_ready()
        yield process


def _predict(services: ServicesProcess, model: str, row: object) -> tuple[int, dict[str, object]]:
    reply = services.http.post(f"/v1/models/{model}/predict", json={"rows": [row]}, headers=HEADERS)
    return reply.status_code, reply.json()


async def _close(executor: RemoteExecutor) -> None:
    executor.close()
    await asyncio.sleep(0.02)  # its connections are closed on the loop


def _workers(services: ServicesProcess) -> list[psutil.Process]:
    """Return the workers: what nurseries, which the services process started, forked."""
    family = psutil.Process(services.process.pid).children(recursive=True)
    nurseries = {item.pid for item in family if any("nursery_process" in part for part in item.cmdline())}
    return [item for item in family if item.ppid() in nurseries]


def test_no_request_fails_when_a_worker_is_killed_under_load(services: ServicesProcess) -> None:
    row = numbers(1)[0]
    stop = time.monotonic() + 3
    slowest = 0.0

    def ask() -> list[int]:
        nonlocal slowest
        statuses = []
        while time.monotonic() < stop:
            began = time.monotonic()
            statuses.append(_predict(services, "forest", row)[0])
            slowest = max(slowest, time.monotonic() - began)
        return statuses

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asking = [pool.submit(ask) for _ in range(8)]
        time.sleep(1)
        for worker in _workers(services):
            os.kill(worker.pid, signal.SIGKILL)
        statuses = [status for future in asking for status in future.result()]
    assert len(statuses) > 50
    assert set(statuses) == {200}
    assert slowest < 1.5


def test_each_misdeed_has_its_answer_and_the_others_go_on(services: ServicesProcess) -> None:
    answers = {}
    for order in ("raise x", "answer NUMBER", "sleep 30", "leak", "die"):
        status, body = _predict(services, "obedient", {"order": order})
        answers[order] = (status, body.get("code"))
        assert _predict(services, "delay", {"a": 1, "b": 2})[0] == 200
    assert answers == {
        "raise x": (500, "model_failed"),
        "sleep 30": (504, "model_timeout"),
        "leak": (500, "model_failed"),
        "die": (500, "model_failed"),
        "answer NUMBER": (500, "model_failed"),
    }
    # It was ended four times within seconds, so it may pause, but not for long.
    wait_until(lambda: _predict(services, "obedient", {"order": "fine"})[0] == 200)


def test_workers_end_with_the_services_process_however_that_ends(tmp_path: Path) -> None:
    with _serve(tmp_path) as services:
        family = psutil.Process(services.process.pid).children(recursive=True)
        assert len(_workers(services)) == 2
        services.process.kill()
        wait_until(lambda: not any(item.is_running() and item.status() != "zombie" for item in family))


@pytest.mark.parametrize("binary", [True, False, None])
async def test_one_headwater_asks_another(
    services: ServicesProcess, monkeypatch: pytest.MonkeyPatch, binary: bool | None
) -> None:
    monkeypatch.setenv("OTHER_KEY", HEADERS["authorization"])

    def remote(model: str, fields: Sequence[Field], outputs: Sequence[OutputSpec]) -> RemoteExecutor:
        options = {"url": f"http://127.0.0.1:{services.port}", "model": model}
        more = {"headers_from_env": {"Authorization": "OTHER_KEY"}, "binary": binary}
        spec = spec_of("remote", fields, outputs, options={**options, **more})
        settings = InferenceSettings(remote_networks=("127.0.0.0/8",), remote_variables=("OTHER_KEY",))
        opened = open_executor(spec, None, fields, settings=settings)
        assert isinstance(opened, RemoteExecutor)
        return opened

    executor = remote("delay", [A, B], [SCORE])
    rows = np.array([[1, 2], [3, 4]], dtype=np.float64)
    if executor.takes_matrix:
        [scores] = await executor.run_matrix(rows)
    else:
        [scores] = await executor.run_columns(rows.T.tolist())
    assert scores.tolist() == [42, 86]
    await _close(executor)
    executor = remote("text", MIXED, [OutputSpec(name="total", type="number")])
    asked = mixed(5)
    [totals] = await executor.run_columns([[row[field.name] for row in asked] for field in MIXED])
    np.testing.assert_allclose(totals, [row["amount"] + row["count"] for row in asked], rtol=1e-6)
    await _close(executor)
