"""A thousand viewers of one endpoint while rows come in: how soon they see them, and what they cost.

From the commit of a table's version (the time of its log file) to each viewer, from the acknowledgement of an ingest
request to each viewer, queries a commit, and resident memory a viewer. The viewers are raw sockets in a process of
their own, on the same two cores. Run: ``python bench/live.py [--viewers N] [--changes N]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from harness import HERE, get, print_table, write_results
from system import System, headwater, project_of

REGIONS = 20
DATASET = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
name: orders
version: 1.0.0
status: active
schema:
  - name: orders
    logicalType: object
    properties:
      - {name: region, logicalType: string, required: true}
      - {name: amount, logicalType: number, required: true}
      - {name: number, logicalType: integer, required: true}
"""
ENDPOINT = """\
/*
description: Orders of each region.
key: [region]
live: {min_interval_seconds: 0.1}
*/
SELECT region, count(*) AS orders, sum(amount) AS amount, max(number) AS newest
FROM orders GROUP BY region ORDER BY region
"""


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextlib.contextmanager
def viewers(system: System, count: int, output: Path) -> Iterator[subprocess.Popen[str]]:
    """Have so many clients watch, and write to ``output`` what came to them."""
    given = {
        "port": urlsplit(system.url).port,
        "path": "/v1/endpoints/by_region/live",
        "key": system.key,
        "viewers": count,
        "output": str(output),
    }
    command = [sys.executable, str(HERE / "live_viewers.py"), json.dumps(given)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the viewers did not come up")
        yield process
        process.communicate("")


def send(http: httpx.Client, url: str, number: int) -> float:
    """Send a row for some of the regions; return when the answer came."""
    rows = [{"region": f"r{(number + one) % REGIONS:02}", "amount": 0.1, "number": number} for one in range(5)]
    http.post(f"{url}/v1/datasets/orders/rows", json=rows).raise_for_status()
    return time.time()


def metric(system: System, name: str) -> float:
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", get(f"{system.url}/metrics").decode(), re.MULTILINE)
    return sum(map(float, found))


def log_of(system: System) -> Path:
    (log,) = (system.home / "lake").glob("env_*/orders/_delta_log")
    return log


def measure(system: System, count: int, changes: int) -> dict[str, Any]:
    """Return the figures of one run."""
    services = psutil.Process(system.pids()["services"])
    with httpx.Client(headers=system.headers) as http, tempfile.TemporaryDirectory() as folder:
        for number in range(REGIONS):
            send(http, system.url, number)
        time.sleep(2.5)
        http.get(f"{system.url}/v1/endpoints/by_region").raise_for_status()
        output, acknowledged = Path(folder) / "came.json", {}
        before = services.memory_info().rss
        with viewers(system, count, output):
            time.sleep(2)
            held = services.memory_info().rss - before
            runs = metric(system, "headwater_query_live_runs_total")
            first = len(list(log_of(system).glob("*.json")))
            for number in range(REGIONS, REGIONS + changes):
                acknowledged[number] = send(http, system.url, number)
                time.sleep(0.37)
            time.sleep(3)
            runs = metric(system, "headwater_query_live_runs_total") - runs
            commits = len(list(log_of(system).glob("*.json"))) - first
            peak = services.memory_info().rss - before
        came = json.loads(output.read_text())
        committed = {
            event["version"]: (log_of(system) / f"{event['version']:020}.json").stat().st_mtime for event in came
        }
    return {
        "viewers": count,
        "commits": commits,
        "queries": int(runs),
        "events": len(came),
        "event_bytes": round(sum(event["bytes"] for event in came) / max(1, len(came))),
        "kinds": sorted({event["kind"] for event in came}),
        "complete": all(len(event["times"]) == count for event in came),
        "rss_per_viewer_kb": {"open": round(held / count / 1024, 1), "after": round(peak / count / 1024, 1)},
        **_latencies(came, committed, acknowledged),
    }


def _latencies(
    came: list[dict[str, Any]], committed: dict[int, float], acknowledged: dict[int, float]
) -> dict[str, Any]:
    delivered = [(at - committed[event["version"]]) * 1e3 for event in came for at in event["times"]]
    first = [(min(event["times"]) - committed[event["version"]]) * 1e3 for event in came]
    last = [(max(event["times"]) - committed[event["version"]]) * 1e3 for event in came]
    seen = []
    for number, at in acknowledged.items():
        shown = [event for event in came if event["newest"] >= number]
        if not shown:
            raise RuntimeError(f"no viewer was told of row {number}")
        seen += [time - at for time in min(shown, key=lambda event: min(event["times"]))["times"]]
    return {
        "commit_to_viewer_ms": {
            "p50": round(percentile(delivered, 0.5), 1),
            "p99": round(percentile(delivered, 0.99), 1),
        },
        "commit_to_first_viewer_ms": {"p50": round(percentile(first, 0.5), 1), "max": round(max(first), 1)},
        "commit_to_last_viewer_ms": {"p50": round(percentile(last, 0.5), 1), "max": round(max(last), 1)},
        "acknowledged_to_viewer_s": {"p50": round(percentile(seen, 0.5), 2), "p95": round(percentile(seen, 0.95), 2)},
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--viewers", type=int, default=1_000)
    parser.add_argument("--changes", type=int, default=60)
    options = parser.parse_args()
    project = project_of({"datasets/orders.yaml": DATASET, "endpoints/by_region.sql": ENDPOINT})
    with headwater(project) as system:
        figures = measure(system, options.viewers, options.changes)
    print_table("One live result", ["", ""], [[name, str(value)] for name, value in figures.items()])
    print(f"written to {write_results('live', figures)}")


if __name__ == "__main__":
    main()
