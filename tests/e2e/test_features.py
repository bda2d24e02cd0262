"""Features of a whole system: applied, fed as rows come, exact after everything was killed, the same for training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.builders.system import System, make_system, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
DATASET = """\
apiVersion: v3.1.0
kind: DataContract
id: trips
name: trips
version: 1.0.0
status: active
schema:
  - name: trips
    logicalType: object
    properties:
      - {name: driver, logicalType: string, required: true}
      - {name: at, logicalType: timestamp, required: true}
      - {name: fare, logicalType: number, required: true}
"""
VIEW = """\
dataset: trips
entities: [driver]
event_time: at
features:
  - {name: last_fare, column: fare}
  - {name: trips_1d, aggregate: count, window: 1d}
  - {name: earned_1d, aggregate: sum, column: fare, window: 1d, default: 0.0}
  - {name: busy, type: boolean, expression: trips_1d > 100}
"""
DRIVERS = ("ann", "bob", "cyd")


class Fleet:
    """The system and what its drivers did."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.sent: list[dict[str, Any]] = []

    def send(self, number: int, rows: int) -> None:
        """Send trips of the last minutes, under one key each batch."""
        now = datetime.now(UTC) - timedelta(minutes=10)
        batch = [
            {
                "driver": DRIVERS[n % 3],
                "at": (now + timedelta(milliseconds=10 * len(self.sent) + n)).isoformat(),
                "fare": float(number + n % 7),
            }
            for n in range(rows)
        ]
        with self.system.services.http() as http:
            key = {"Idempotency-Key": f"batch-{number}"}
            reply = http.post("/v1/datasets/trips/rows", json=batch, headers=key)
        assert reply.status_code == httpx.codes.OK, reply.text
        self.sent += batch

    def expected(self, driver: str) -> dict[str, Any]:
        fares = [row["fare"] for row in self.sent if row["driver"] == driver]
        return {
            "last_fare": fares[-1],
            "trips_1d": len(fares),
            "earned_1d": pytest.approx(sum(fares)),
            "busy": len(fares) > 100,
        }

    def read(self) -> dict[str, dict[str, Any]] | int:
        """Return what the view says of the drivers, or the status of the answer."""
        entities = [{"driver": driver} for driver in DRIVERS]
        with self.system.services.http() as http:
            reply = http.post("/v1/features/driver_trips/read", json={"entities": entities})
        if reply.status_code != httpx.codes.OK:
            return reply.status_code
        return {one["entity"]["driver"]: one["values"] for one in reply.json()["results"]}

    def shows_all(self) -> bool:
        return self.read() == {driver: self.expected(driver) for driver in DRIVERS}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    system = make_system(tmp_path_factory.mktemp("fleet"))
    (system.project / "datasets" / "trips.yaml").write_text(DATASET)
    (system.project / "features").mkdir()
    (system.project / "features" / "driver_trips.yaml").write_text(VIEW)
    system.start()
    yield Fleet(system)
    if system.process is not None:
        system.stop()


def test_features_of_a_whole_system(fleet: Fleet, tmp_path: Path) -> None:
    system = fleet.system
    for number in range(5):
        fleet.send(number, 90)
    wait_for(fleet.shows_all, 30, "the drivers' features")

    # Killed all at once with rows on their way, nothing is lost and nothing counts twice.
    fleet.send(5, 300)
    system.kill()
    system.start()
    fleet.send(6, 30)
    wait_for(fleet.shows_all, 30, "the drivers' features after everything was killed")

    # A training frame of this instant is what was just read.
    labels = tmp_path / "labels.csv"
    now = datetime.now(UTC).isoformat()
    labels.write_text("driver,when\n" + "".join(f"{driver},{now}\n" for driver in DRIVERS))
    frame = json.loads(
        system.run("features", "history", "driver_trips", str(labels), "--time", "when", "--format", "json").stdout
    )["data"]
    names = ("last_fare", "trips_1d", "earned_1d", "busy")
    assert {row["driver"]: {name: row[name] for name in names} for row in frame} == {
        driver: fleet.expected(driver) for driver in DRIVERS
    }

    # A changed view is built from the lake by itself; the command line builds it anew and changes nothing.
    changed = VIEW.replace("trips_1d, aggregate: count, window: 1d", "trips_1d, aggregate: count, window: 2d")
    (system.project / "features" / "driver_trips.yaml").write_text(changed)
    plan = system.run("plan", str(system.project)).stdout
    assert "built anew" in plan
    system.run("apply", str(system.project))
    wait_for(fleet.shows_all, 30, "the changed view")
    built = system.run("features", "materialize", "driver_trips")
    assert "generation 2" in built.stdout
    assert fleet.shows_all()
    fleet.send(7, 60)
    wait_for(fleet.shows_all, 30, "rows after a new generation")
    listed = system.run("features", "list").stdout
    assert "sum of fare over 1d" in listed
    assert "last_fare" in system.run("features", "read", "driver_trips", "driver=ann").stdout
