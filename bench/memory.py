"""Resident memory of the whole system: idle, and while a million rows go in.

Ingest memory must not grow with the number of rows sent: the figures are taken after each tenth of the rows.
Run: ``python bench/memory.py [--rows N]``.
"""

from __future__ import annotations

import argparse
import time

import httpx

from events import CONTRACT, Generator
from harness import print_table, write_results
from system import headwater, project_of

BATCH = 1_000
STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
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
                while sent < options.rows * step // STEPS:
                    reply = http.post(
                        f"{system.url}/v1/datasets/events/rows", content=bodies[sent // BATCH % len(bodies)]
                    )
                    reply.raise_for_status()
                    sent += BATCH
                samples.append((f"{sent:,} rows", system.resident_bytes()))
        seconds = time.monotonic() - began
    names = sorted({name for _, sample in samples for name in sample})
    rows = [
        [label, *(sample.get(name, 0) >> 20 for name in names), sum(sample.values()) >> 20] for label, sample in samples
    ]
    print_table("Resident MiB by process", ["after", *names, "total"], rows)
    print(f"ready after {ready_seconds:.1f} s; {options.rows / seconds:,.0f} rows/s from one client, one at a time")
    plain = [{"after": label, "resident_bytes": sample} for label, sample in samples]
    results = {
        "rows": options.rows,
        "ready_seconds": round(ready_seconds, 1),
        "rows_per_second": round(options.rows / seconds),
    }
    print(f"written to {write_results('memory', results | {'samples': plain})}")


if __name__ == "__main__":
    main()
