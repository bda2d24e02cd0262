"""What changes cost: a version swapped under load, and predictions logged and monitored at all.

Swaps: new versions are pushed and promoted while sixteen connections ask without a pause. No request may fail. The
99th percentile of the second around the first reply of each new version is beside that of quiet seconds.
Logging: two servers, one of which tells nobody of its predictions, in alternating rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from contenders import Case, Contender, command, headwater_cases, model_project
from harness import HERE, median, print_table, wrk
from loadgen import Ask, Reply, load, p99_ms, typical_p99_ms
from system import System, headwater

SWAPS = 3
_QUIET_SECONDS = 4.0


def measure_swaps(models: Path, names: Sequence[str], asked: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Swap versions under load and return the figures; raises where a request failed."""
    project = model_project(models, names)
    with headwater(project) as system:
        case = headwater_cases(system, names, {1: asked[:1]})["matrix"][1]
        replies, promoted, quiet = asyncio.run(_swap(system, project, models, case))
    bad = [reply for reply in replies if not reply.is_good]
    firsts = _firsts(replies, promoted)
    around = [p99_ms([r for r in replies if abs(r.at - first) <= 0.5]) for first in firsts]
    figures = {
        "requests": len(replies),
        "swaps": len(firsts),
        "failed": len(bad),
        "quiet_p99_ms": round(quiet, 2),
        "swap_p99_ms": [round(value, 2) for value in around],
    }
    print_table("Versions swapped under load, 16 connections", list(figures), [list(figures.values())])
    if bad or len(firsts) != SWAPS:
        raise RuntimeError(f"{len(bad)} requests failed in {len(firsts)} swaps: {[reply.said for reply in bad[:3]]}")
    return figures


Promoted = list[tuple[float, str]]


async def _swap(system: System, project: Path, models: Path, case: Case) -> tuple[list[Reply], Promoted, float]:
    """Return every reply, which versions were promoted when, and the 99th percentile of seconds before all that."""
    promoted: Promoted = []
    ask = Ask(case.url, case.body, case.headers, lambda body: str(json.loads(body)["version"]))
    until, loop = asyncio.Event(), asyncio.get_running_loop()
    asking = asyncio.create_task(load(ask, connections=16, until=until))
    try:
        await asyncio.sleep(0.5)
        began = loop.time()
        await asyncio.sleep(_QUIET_SECONDS)
        ended = loop.time()
        for number in range(SWAPS):
            artifact = models / ("gbc_canary.onnx" if number % 2 == 0 else "gbc.onnx")
            promoted.append((loop.time(), await asyncio.to_thread(_promote, system, project, artifact)))
            await asyncio.sleep(2)
    finally:
        until.set()
        replies = await asking
    return replies, promoted, typical_p99_ms(replies, began, ended)


def _promote(system: System, project: Path, artifact: Path) -> str:
    directory = project / "models" / "cancer"
    (directory / "model.onnx").write_bytes(artifact.read_bytes())
    pushed = command(system, project, "models", "push", str(directory), "--hold", "--json")
    version = str(json.loads(pushed)["version"])
    command(system, project, "models", "promote", f"cancer:{version}")
    return version


def _firsts(replies: Sequence[Reply], promoted: Promoted) -> list[float]:
    """Return when each version that was promoted answered for the first time after that."""
    found = [[r.at for r in replies if r.is_good and r.said == version and r.at > since] for since, version in promoted]
    return [min(instants) for instants in found if instants]


def measure_logging(
    models: Path, names: Sequence[str], asked: Sequence[Sequence[float]], *, rounds: int, seconds: int
) -> dict[str, Any]:
    """Return what logging and monitoring cost of the throughput and in CPU, by number of rows and connections."""
    figures: dict[str, Any] = {}
    table: list[list[str]] = []
    with contextlib.ExitStack() as stack:
        told = stack.enter_context(headwater(model_project(models, names)))
        with _told_nobody():
            silent = stack.enter_context(headwater(model_project(models, names)))
        file = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "body"
        for rows in (1, 100):
            pair = [_contender(name, system, names, asked[:rows]) for name, system in (("on", told), ("off", silent))]
            for connections in (16, 64):
                for _ in range(rounds):
                    for contender in pair:
                        _run(contender, file, rows, connections, seconds)
                on, off = (contender.per_second(rows, connections) for contender in pair)
                cpu_on, cpu_off = (median(contender.cpu_us[rows, connections]) for contender in pair)
                cost = 1 - on / off
                key = f"{rows}_rows_c{connections}"
                figures[key] = {"cost": round(cost, 3), "cpu_us_on": round(cpu_on, 1), "cpu_us_off": round(cpu_off, 1)}
                table.append([key, f"{on:,.0f}", f"{off:,.0f}", f"{cost:.0%}", f"{cpu_on:.1f}", f"{cpu_off:.1f}"])
    header = ["", "on req/s", "off req/s", "cost", "on CPU µs", "off CPU µs"]
    print_table("Prediction log and monitoring", header, table)
    return figures


def _contender(name: str, system: System, names: Sequence[str], asked: Sequence[Sequence[float]]) -> Contender:
    cases = headwater_cases(system, names, {len(asked): asked})["matrix"]
    return Contender(name, system.pids()["services"], cases)


def _run(contender: Contender, file: Path, rows: int, connections: int, seconds: int) -> None:
    case = contender.cases[rows]
    file.write_bytes(case.body)
    before = contender.cpu_seconds()
    figures = wrk(case.url, body=file, headers=case.headers, connections=connections, seconds=seconds)
    if figures.errors:
        raise RuntimeError(f"log {contender.name}: {figures.errors} errors")
    contender.loads.setdefault((rows, connections), []).append(figures)
    spent = (contender.cpu_seconds() - before) / (figures.per_second * seconds)
    contender.cpu_us.setdefault((rows, connections), []).append(spent * 1e6)


@contextlib.contextmanager
def _told_nobody() -> Iterator[None]:
    """Start servers whose predictions are neither logged nor profiled: there is no such setting, so it is patched."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(HERE / "unlogged")
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
