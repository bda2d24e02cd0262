"""Predictions of 1 and of 100 rows: Headwater beside a raw ASGI server and six inference servers, one worker each.

Answers are compared with the reference before anything is timed. Rounds alternate; figures are medians; CPU is that of
all processes of a contender, the prediction log and the monitoring of Headwater included.
After that: versions swapped under load, and what the prediction log and the monitoring cost.
Run: ``python bench/inference.py [--rounds N] [--seconds N] [--rows 1,100] [--only servers,swaps,logging]``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contenders import Contender, contenders, train
from harness import RESULTS, median, print_table, write_results, wrk
from inference_changes import measure_logging, measure_swaps

CONCURRENCIES = (1, 16, 64)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rows", default="1,100")
    parser.add_argument("--only", default="servers,swaps,logging")
    options = parser.parse_args()
    parts = options.only.split(",")
    results: dict[str, Any] = _known()
    if "servers" in parts:
        sizes = [int(part) for part in options.rows.split(",")]
        results |= _measure_servers(sizes, options.rounds, options.seconds)
    if {"swaps", "logging"} & set(parts):
        with tempfile.TemporaryDirectory() as name:
            models = train(sys.executable, Path(name))
            reference = json.loads((models / "ref.json").read_text())
            names, asked = reference["names"], reference["rows"]
            if "swaps" in parts:
                results["swaps"] = measure_swaps(models, names, asked)
            if "logging" in parts:
                results["logging"] = measure_logging(
                    models, names, asked, rounds=options.rounds, seconds=options.seconds
                )
    print(f"written to {write_results('inference', results)}")


def _known() -> dict[str, Any]:
    """Return the figures of earlier runs, which stay for the parts that are left out."""
    path = RESULTS / "inference.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return {name: value for name, value in known.items() if name not in {"benchmark", "machine"}}


def _measure_servers(sizes: Sequence[int], rounds: int, seconds: int) -> dict[str, Any]:
    """Return the figures of all servers by number of rows."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, contenders(Path(name), sizes) as (found, expected):
        for contender in found[1:]:
            contender.check(expected)
        for _ in range(rounds):
            for rows in sizes:
                for connections in CONCURRENCIES:
                    for contender in found:
                        _measure(contender, Path(name) / "body", rows, connections, seconds)
        for rows in sizes:
            results[f"{rows}_rows"] = report(found, rows)
        results["pss_mb"] = {contender.name: round(contender.pss_mb()) for contender in found}
    return results


def _measure(contender: Contender, file: Path, rows: int, connections: int, seconds: int) -> None:
    case = contender.cases[rows]
    file.write_bytes(case.body)
    before = contender.cpu_seconds()
    load = wrk(case.url, body=file, headers=case.headers, connections=connections, seconds=seconds)
    if load.errors:
        raise RuntimeError(f"{contender.name}: {load.errors} errors with {rows} rows at concurrency {connections}")
    contender.loads.setdefault((rows, connections), []).append(load)
    spent = (contender.cpu_seconds() - before) / (load.per_second * seconds)
    contender.cpu_us.setdefault((rows, connections), []).append(spent * 1e6)


def report(found: Sequence[Contender], rows: int) -> dict[str, Any]:
    """Print a table for one size of request and return its figures."""
    ceiling = found[0]
    table, figures = [], {}
    for contender in found:
        per_second = {c: contender.per_second(rows, c) for c in CONCURRENCIES}
        shares = {c: per_second[c] / ceiling.per_second(rows, c) for c in CONCURRENCIES}
        cpu = median(contender.cpu_us[rows, 16])
        table.append(
            [
                contender.name,
                *(f"{per_second[c]:,.0f}" for c in CONCURRENCIES),
                *(f"{shares[c]:.0%}" for c in CONCURRENCIES),
                *(f"{contender.p99_ms(rows, c):.1f}" for c in CONCURRENCIES),
                f"{cpu:,.0f}",
                f"{contender.pss_mb():,.0f}",
            ]
        )
        figures[contender.name] = {
            "requests_per_second": {str(c): round(per_second[c]) for c in CONCURRENCIES},
            "share_of_ceiling": {str(c): round(shares[c], 3) for c in CONCURRENCIES},
            "p99_ms": {str(c): contender.p99_ms(rows, c) for c in CONCURRENCIES},
            "cpu_us_per_request": round(cpu),
        }
    header = [
        f"{rows} row(s)",
        *(f"c{c} req/s" for c in CONCURRENCIES),
        *(f"c{c} share" for c in CONCURRENCIES),
        *(f"c{c} p99 ms" for c in CONCURRENCIES),
        "CPU µs",
        "PSS MB",
    ]
    print_table(f"Predictions of {rows} row(s), medians; shares are of the raw ASGI server", header, table)
    return figures


if __name__ == "__main__":
    main()
