"""Promise: what was rolled out is taken back by one command, or by itself, and no request fails meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.builders.onnx_models import linear
from tests.builders.system import Services, System, make_system, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MODEL = """\
name: score
artifact: model.onnx
license: MIT
inputs:
  - {name: a, logicalType: number, required: true}
  - {name: b, logicalType: number, required: true}
outputs:
  - {name: score, type: number}
"""
IMPATIENT = "serving: {rollback: {max_p99_ms: 0.000001, min_requests: 20, window_seconds: 5}}\n"
ROW = {"rows": [{"a": 1.0, "b": 0.0}]}


@dataclass
class Callers:
    """Requests that never stop: which versions answered, and what failed."""

    services: Services
    answers: Counter[int] = field(default_factory=Counter)
    routes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def ask(self, http: httpx.Client) -> int:
        """Ask once and return the version that answered."""
        reply = http.post("/v1/models/score/predict", json=ROW)
        if reply.status_code != httpx.codes.OK:
            self.failures.append(reply.text)
            return 0
        document = reply.json()
        self.answers[document["version"]] += 1
        self.routes[document["route"]] += 1
        return int(document["version"])

    def run(self) -> None:
        """Ask until told to stop."""
        with self.services.http() as http:
            while not self._stop.wait(0.005):
                self.ask(http)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Ask on and on until the block ends."""
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    system = make_system(tmp_path)
    settings = system.project / "headwater.toml"
    # Published events are told at this level.
    settings.write_text(settings.read_text() + '[log]\nlevel = "debug"\n')
    system.start()
    try:
        yield system
    finally:
        system.stop()


@pytest.fixture
def callers(system: System) -> Callers:
    return Callers(system.services)


def push(system: System, weight: float, text: str = MODEL) -> int:
    """Push a version that answers ``weight`` and return its number."""
    directory = system.project / "models" / "score"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "model.yaml").write_text(text)
    (directory / "model.onnx").write_bytes(linear([weight, 0.0]))
    return int(json.loads(system.run("models", "push", str(directory), "--json").stdout)["version"])


def shown(system: System) -> dict[str, Any]:
    """Return what the registry says of the model."""
    document: dict[str, Any] = json.loads(system.run("models", "show", "score", "--json").stdout)
    return document


def answers(callers: Callers, version: int) -> bool:
    with callers.services.http() as http:
        return callers.ask(http) == version


def test_one_command_takes_a_promotion_back_within_seconds_and_no_request_fails(
    system: System, callers: Callers
) -> None:
    assert push(system, 1.0) == 1
    wait_for(lambda: answers(callers, 1), 10, "the first version")
    callers.failures.clear()
    with callers.asking():
        assert push(system, 2.0) == 2
        wait_for(lambda: answers(callers, 2), 10, "the second version")

        document = json.loads(system.run("models", "rollback", "score", "--reason", "too slow", "--json").stdout)
        began = time.monotonic()
        wait_for(lambda: answers(callers, 1), 10, "the first version again")
        assert time.monotonic() - began < 3
    assert callers.failures == []
    assert (document["champion"], document["cause"], document["reason"]) == (1, "rolled_back", "too slow")
    assert shown(system)["aliases"] == {"champion": 1}
    refused = system.run("models", "rollback", "score", check=False)
    assert refused.returncode == 1
    assert "no version was champion of score" in refused.stderr


def test_a_version_that_breaks_its_rule_is_taken_back_by_itself_and_for_good(system: System, callers: Callers) -> None:
    push(system, 1.0)
    wait_for(lambda: answers(callers, 1), 10, "the first version")
    callers.failures.clear()
    with callers.asking():
        assert push(system, 2.0, MODEL + IMPATIENT) == 2
        # Services act at once, control makes it durable.
        wait_for(lambda: callers.routes["fallback"] > 0, 20, "the fallback's answer")
        found = wait_for(lambda: _rolled_back(system), 40, "the rollback in the registry")
        wait_for(lambda: answers(callers, 1), 10, "the first version as champion")
    assert callers.failures == []
    assert found["by"] == "Headwater, watching deployments"
    assert found["reason"].startswith("tripped: p99 was")
    assert found["champion"] == 1
    assert len([item for item in shown(system)["rollouts"] if item["cause"] == "rolled_back"]) == 1
    log = system.log.read_text()
    assert "model_rolled_back" in log
    assert "topic=model.rolled_back" in wait_for(lambda: _published(system), 15, "the event")


def _rolled_back(system: System) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = shown(system)["rollouts"]
    return next((item for item in found if item["cause"] == "rolled_back"), None)


def _published(system: System) -> str:
    return "\n".join(line for line in system.log.read_text().splitlines() if "topic=model.rolled_back" in line)
