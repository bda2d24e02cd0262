"""Producers that go on through every failure: they send batches, try again, and remember what they were told."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

import httpx
from tests.builders.system import Services, System

#: Answers after which nothing was stored, or may have been by a request that is still under way.
_AGAIN: Final = frozenset({409, 429, 503})
_PAUSE_SECONDS: Final = 0.05

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: {name}
name: {name}
version: 1.0.0
status: active
schema:
  - name: {name}
    logicalType: object
    properties:
      - {{name: id, logicalType: string, required: true}}
      - {{name: n, logicalType: integer, required: true, logicalTypeOptions: {{minimum: 0}}}}
"""
ROW_KEY = """\
customProperties:
  - property: headwater.dedup
    value: {key: [id]}
"""


def make_produced(directory: Path) -> System:
    """Write a project with a dataset without a row key, ``events``, and one with, ``orders``."""
    datasets = directory / "project" / "datasets"
    datasets.mkdir(parents=True)
    (datasets / "events.yaml").write_text(CONTRACT.format(name="events"))
    (datasets / "orders.yaml").write_text(CONTRACT.format(name="orders") + ROW_KEY)
    return System(directory / "home", directory / "project", directory / "up.log")


@dataclass(frozen=True)
class Batch:
    """Rows of one request by their ids; ``bad`` ones break the contract. Without ``key`` row keys alone protect it."""

    dataset: str
    good: tuple[str, ...]
    bad: tuple[str, ...] = ()
    key: str | None = None

    def body(self) -> bytes:
        """Return the rows as NDJSON; the bad ones stand among the good ones."""
        rows = [{"id": one, "n": number} for number, one in enumerate(self.good)]
        rows[1:1] = [{"id": one, "n": -1} for one in self.bad]
        return b"\n".join(json.dumps(row).encode() for row in rows)

    def send(self, http: httpx.Client, services: Services) -> httpx.Response:
        """Send it once."""
        headers = {"Authorization": f"Bearer {services.key}", "Content-Type": "application/x-ndjson"}
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        return http.post(f"{services.url}/v1/datasets/{self.dataset}/rows", content=self.body(), headers=headers)


@dataclass
class Producers:
    """Threads that send batches to datasets with and without a row key until they are stopped.

    Attributes:
        datasets: one without a row key and one with the row key ``id``.
        find_services: called before every attempt, because a new start has new ports.
        acknowledged: batches with the counts they were answered with.
        abandoned: batches that were given up after a failure; each may be stored, whole, or not.
        surprises: answers that nobody should ever get.
        failures: attempts that got no answer, or one that asks to try again.
    """

    find_services: Callable[[], Services]
    seed: int
    datasets: tuple[str, str] = ("events", "orders")
    acknowledged: list[tuple[Batch, dict[str, int]]] = field(default_factory=list)
    abandoned: list[Batch] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    failures: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, threads: int = 4) -> None:
        """Begin to send."""
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def stop(self, seconds: float = 30) -> None:
        """Let every batch that is under way come to its end, and send no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(seconds)
        assert not any(thread.is_alive() for thread in self._threads), "a producer waits for its answer for ever"

    def _run(self, producer: int) -> None:
        choice = random.Random(self.seed + producer)
        with httpx.Client(timeout=20, trust_env=False) as http:
            for number in count():
                if self._stop.is_set():
                    return
                self._deliver(http, self._make(choice, f"{producer}-{number}"), is_patient=choice.random() < 0.7)
                time.sleep(choice.uniform(0, 0.02))

    def _make(self, choice: random.Random, name: str) -> Batch:
        dataset = choice.choice(self.datasets)
        protected_by_rows = dataset == self.datasets[1] and choice.random() < 0.5
        bad = 0 if protected_by_rows else choice.choice([0, 0, 0, 2])
        return Batch(
            dataset,
            tuple(f"{name}-{row}" for row in range(choice.randint(1, 200))),
            tuple(f"{name}-bad{row}" for row in range(bad)),
            None if protected_by_rows else f"batch-{name}",
        )

    def _deliver(self, http: httpx.Client, batch: Batch, *, is_patient: bool) -> None:
        """Send a batch until it is acknowledged, or until the first failure."""
        while True:
            answer = self._attempt(http, batch)
            if answer is not None and answer.status_code in (200, 207):
                self.acknowledged.append((batch, answer.json()["counts"]))
                return
            if answer is not None and answer.status_code not in _AGAIN:
                self.surprises.append(f"{answer.status_code} {answer.text[:300]}")
                is_patient = False
            self.failures += 1
            if not is_patient:
                self.abandoned.append(batch)
                return
            time.sleep(_PAUSE_SECONDS)

    def _attempt(self, http: httpx.Client, batch: Batch) -> httpx.Response | None:
        # There is no address while nothing runs, and no answer when the server dies under the request.
        with suppress(KeyError, FileNotFoundError, httpx.TransportError):
            return batch.send(http, self.find_services())
        return None

    def told(self, dataset: str) -> list[tuple[Batch, dict[str, Any]]]:
        """Return what was acknowledged for a dataset."""
        return [one for one in self.acknowledged if one[0].dataset == dataset]

    def given_up(self, dataset: str) -> list[Batch]:
        """Return what was abandoned of a dataset."""
        return [batch for batch in self.abandoned if batch.dataset == dataset]
