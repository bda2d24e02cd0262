"""Durable ingest end to end: Headwater beside what teams write on FastAPI and PostgreSQL, at concurrency 32.

Everything acknowledges only after an fsync. Headwater runs whole (``headwater up``, one service worker); each peer is
one uvicorn worker on its own PostgreSQL with ``fsync`` and ``synchronous_commit`` on. Rounds alternate.
Run: ``python bench/ingest.py [--rounds N] [--seconds N]``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from events import CONTRACT, Generator
from harness import HERE, Load, free_port, median, post, postgres, print_table, server, write_results, wrk
from system import headwater, project_of

SIZES = (1, 100, 1_000)
CONCURRENCY = 32
BODIES = 16
TABLE = """
drop table if exists event;
create table event (
  id text not null, tenant text not null, ts timestamptz not null, amount double precision not null,
  currency text not null, status text not null, qty bigint not null,
  user_id bigint not null, user_country text not null, user_age smallint,
  tags text[] not null, ip text not null, score double precision not null, is_test boolean not null,
  note text, metadata jsonb not null)
"""


@dataclass
class Contender:
    """A way to store rows: where it is, and what each round measured, by rows a request."""

    name: str
    url: str
    headers: dict[str, str]
    loads: dict[int, list[Load]] = field(default_factory=dict)

    def rows_per_second(self, size: int) -> float:
        return median([load.per_second for load in self.loads[size]]) * size


def write_bodies(directory: Path) -> dict[int, Path]:
    """Write for each request size a file of different bodies, JSON arrays that every contender reads."""
    rows = Generator().lines(BODIES * max(SIZES))
    files = {}
    for size in SIZES:
        bodies = [b"[" + b",".join(rows[i * size : (i + 1) * size]) + b"]" for i in range(BODIES)]
        files[size] = directory / f"{size}.json"
        files[size].write_bytes(b"\n\f\n".join(bodies))
    return files


@contextlib.contextmanager
def contenders() -> Iterator[list[Contender]]:
    """Start Headwater and its peers."""
    json_header = {"Content-Type": "application/json"}
    with contextlib.ExitStack() as stack:
        dsn = stack.enter_context(postgres())
        asyncio.run(_create_table(dsn))
        found = []
        project = project_of({"datasets/events.yaml": CONTRACT.read_text()})
        system = stack.enter_context(headwater(project))
        found.append(Contender("headwater", f"{system.url}/v1/datasets/events/rows", json_header | system.headers))
        for module, paths in {
            "ingest_sqlalchemy": {"sqlalchemy insert": "/ingest"},
            "ingest_copy": {"pydantic + COPY": "/ingest", "msgspec + COPY": "/ingest_msgspec"},
        }.items():
            port = free_port()
            command = [sys.executable, "-m", "uvicorn", f"{module}:app", "--port", str(port), "--no-access-log"]
            ready = f"http://127.0.0.1:{port}/openapi.json"
            stack.enter_context(server(command, ready, env={"DSN": dsn}, cwd=HERE / "peers"))
            found += [Contender(name, f"http://127.0.0.1:{port}{path}", json_header) for name, path in paths.items()]
        yield found


async def _create_table(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(TABLE)
    await connection.close()


def check(contender: Contender, bodies: Path, size: int) -> None:
    """Send one body and look at the answer: a benchmark of refused requests would be worthless."""
    status, answer = post(contender.url, bodies.read_bytes().split(b"\n\f\n")[0], contender.headers)
    document = json.loads(answer)
    accepted = document["counts"]["accepted"] if "counts" in document else document["accepted"]
    if status != 200 or accepted != size:
        raise RuntimeError(f"{contender.name} answered {status}: {answer[:300]!r}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, contenders() as found:
        bodies = write_bodies(Path(directory))
        for size in SIZES:
            for contender in found:
                check(contender, bodies[size], size)
        for _ in range(options.rounds):
            for size in SIZES:
                for contender in found:
                    load = wrk(
                        contender.url,
                        body=bodies[size],
                        headers=contender.headers,
                        connections=CONCURRENCY,
                        seconds=options.seconds,
                    )
                    if load.errors:
                        raise RuntimeError(f"{contender.name}: {load.errors} errors at {size} rows a request")
                    contender.loads.setdefault(size, []).append(load)
    report(found)


def report(found: list[Contender]) -> None:
    ours = found[0]
    rows = []
    for contender in found:
        cells = [f"{contender.rows_per_second(size):,.0f}" for size in SIZES]
        ratios = [f"{ours.rows_per_second(size) / contender.rows_per_second(size):.2f}" for size in SIZES]
        rows.append([contender.name, *cells, *ratios])
    header = ["rows/s", *(f"{size} rows" for size in SIZES), *(f"ratio {size}" for size in SIZES)]
    print_table(f"Durable ingest, concurrency {CONCURRENCY}, median of rounds (ratio: Headwater over it)", header, rows)
    results = {
        contender.name: {
            str(size): {
                "rows_per_second": round(contender.rows_per_second(size)),
                "p50_ms": median([load.p50_ms for load in contender.loads[size]]),
                "p99_ms": median([load.p99_ms for load in contender.loads[size]]),
                "headwater_ratio": round(ours.rows_per_second(size) / contender.rows_per_second(size), 2),
            }
            for size in SIZES
        }
        for contender in found
    }
    print(f"written to {write_results('ingest', {'concurrency': CONCURRENCY, 'contenders': results})}")


if __name__ == "__main__":
    main()
