"""Memory: of the whole system while a million rows go in, and of services that serve one model and nothing else.

Ingest memory must not grow with the number of rows sent: the figures are taken after each tenth of the rows. The model
is served by Headwater, whose sidecar logs and profiles, and by MLServer in one process, which does neither.
Run: ``python bench/memory.py [--rows N]``; with ``--rows 0`` the model alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from contenders import JSON, Contender, _cases, _mlserver, _read_own, model_project, train
from events import CONTRACT, Generator
from harness import HEADWATER, free_port, post, print_table, server, write_results
from system import headwater, project_of

BATCH = 1_000
STEPS = 10
PREDICTIONS = 100
ROWS = 100


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    results: dict[str, Any] = {"serving_one_model_pss_mb": serving()}
    if options.rows:
        results |= ingesting(options.rows)
    print(f"written to {write_results('memory' if options.rows else 'memory_of_serving', results)}")


def serving() -> dict[str, dict[str, float]]:
    """Return the proportional memory of servers of one ONNX model, before and after predictions of a hundred rows."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        models = train(sys.executable, directory / "own")
        reference = json.loads((models / "ref.json").read_text())
        asked = {ROWS: reference["rows"][:ROWS]}
        for contender in (
            _headwater_alone(stack, directory, models, reference["names"], asked),
            _mlserver(stack, directory, asked),
        ):
            contender.check(reference["ref"]["gbc"])
            time.sleep(3)
            idle = contender.pss_mb()
            for _ in range(PREDICTIONS):
                post(contender.cases[ROWS].url, contender.cases[ROWS].body, contender.cases[ROWS].headers)
            time.sleep(3)
            found[contender.name] = {"idle": round(idle), "after_predictions": round(contender.pss_mb())}
    table = [[name, *figures.values()] for name, figures in found.items()]
    print_table("PSS MiB of a server of one ONNX model, children included", ["server", "idle", "after"], table)
    return found


def _headwater_alone(
    stack: contextlib.ExitStack, directory: Path, models: Path, names: list[str], asked: dict[int, list[list[float]]]
) -> Contender:
    """Start inference in a home where the model was registered, without control or anything else beside it."""
    project = model_project(models, names)
    shutil.rmtree(project / "models" / "cancer_sklearn")
    home = directory / "home"
    with headwater(project) as system:
        headers = JSON | system.headers
        shutil.copytree(system.home, home, ignore=shutil.ignore_patterns("*.sock"))
    port = free_port()
    command = [HEADWATER, "serve", "services", "--only", "inference", "--home", home, "--port", str(port)]
    process = stack.enter_context(server(command, f"http://127.0.0.1:{port}/readyz", log=directory / "services.log"))
    bodies = {size: json.dumps({"inputs": rows}).encode() for size, rows in asked.items()}
    cases = _cases(f"http://127.0.0.1:{port}/v1/models/cancer/predict", bodies, _read_own, headers)
    return Contender("headwater serve services --only inference", process.pid, cases)


def ingesting(rows: int) -> dict[str, Any]:
    """Return the resident memory of every process while so many rows go in."""
    bodies = [b"\n".join(Generator(seed).lines(BATCH)) for seed in range(20)]
    samples: list[tuple[str, dict[str, int]]] = []
    started = time.monotonic()
    with headwater(project_of({"datasets/events.yaml": CONTRACT.read_text()})) as system:
        ready_seconds = time.monotonic() - started
        time.sleep(5)
        samples.append(("idle", system.resident_bytes()))
        sent, began = 0, time.monotonic()
        with httpx.Client(headers=system.headers | {"Content-Type": "application/x-ndjson"}, timeout=60) as http:
            for step in range(1, STEPS + 1):
                while sent < rows * step // STEPS:
                    reply = http.post(
                        f"{system.url}/v1/datasets/events/rows", content=bodies[sent // BATCH % len(bodies)]
                    )
                    reply.raise_for_status()
                    sent += BATCH
                samples.append((f"{sent:,} rows", system.resident_bytes()))
        seconds = time.monotonic() - began
    names = sorted({name for _, sample in samples for name in sample})
    table = [
        [label, *(sample.get(name, 0) >> 20 for name in names), sum(sample.values()) >> 20] for label, sample in samples
    ]
    print_table("Resident MiB by process", ["after", *names, "total"], table)
    print(f"ready after {ready_seconds:.1f} s; {rows / seconds:,.0f} rows/s from one client, one at a time")
    return {
        "rows": rows,
        "ready_seconds": round(ready_seconds, 1),
        "rows_per_second": round(rows / seconds),
        "samples": [{"after": label, "resident_bytes": sample} for label, sample in samples],
    }


if __name__ == "__main__":
    main()
