"""SQL endpoints: overhead over bare DuckDB, caches, look-ups, dashboards beside peers, exports, and runaway queries.

Headwater and its peers are asked the same statements over the same rows, one after the other. Targets: five times the
fastest peer on aggregates and never slower on look-ups by key, 5 ms over bare DuckDB, 5,000 unchanged and 4,000 kept
answers a second, 1,000 look-ups a second, half the bandwidth of reading Parquet and writing to a socket, 300 MB for a
CSV of ten million rows, and a runaway query that does not double the others' p95.

Run: ``python bench/query.py [--rows N] [--seconds N] [--only PART ...]``; parts are the functions in ``PARTS``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psutil
import pyarrow as pa

from harness import RESULTS, Load, median, print_table, write_results, wrk
from headwater.client import Client
from query_data import DASHBOARD, project_files, write_tables
from query_peers import LEFT_OUT, Peer, datasette, fastapi_postgres
from system import System, headwater, project_of

FLIGHTS_ROWS = 336_776
CONCURRENCIES = (1, 8, 32)


@dataclass(frozen=True)
class Bench:
    """A running Headwater with both tables, and how hard to ask."""

    system: System
    directory: Path
    files: dict[str, Path]
    rows: int
    seconds: int
    peers: bool

    def url(self, endpoint: str, query: str = "") -> str:
        return f"{self.system.url}/v1/endpoints/{endpoint}{query}"

    def load(self, url: str, connections: int, **more: Any) -> Load:
        return wrk(url, headers=self.system.headers, connections=connections, seconds=self.seconds, **more)

    def count(self, table: str) -> int:
        return FLIGHTS_ROWS if table == "flights" else self.rows


def load(system: System, files: dict[str, Path], rows: int) -> None:
    """Send both tables and wait until the lake holds them."""
    with Client(system.url, system.key) as client:
        for table, file in files.items():
            csv_file = file.with_suffix(".csv")
            duckdb.connect().execute(f"COPY (SELECT * FROM '{file}') TO '{csv_file}'")
            client.ingest(table, csv_file)
            csv_file.unlink()
        deadline = time.monotonic() + 600
        for table, wanted in (("flights", FLIGHTS_ROWS), ("events", rows)):
            while _held(client, table) < wanted:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{table} did not reach the lake")
                time.sleep(1)


def _held(client: Client, table: str) -> int:
    name = "totals" if table == "flights" else "sales_by_region"
    return sum(row["n"] for row in client.query(name).rows)


def accelerated(bench: Bench) -> None:
    """Ask until the accelerator answers for both tables."""
    deadline = time.monotonic() + 900
    with httpx.Client(base_url=bench.system.url, headers=bench.system.headers, timeout=120) as http:
        while time.monotonic() < deadline:
            for table in bench.files:
                http.get(f"/v1/endpoints/{table}_by_id?id=1").raise_for_status()
            if "headwater_query_accelerator_files 2.0" in http.get("/metrics").text:
                return
            time.sleep(1)
    raise RuntimeError("the accelerator has no files")


def overhead(bench: Bench) -> dict[str, Any]:
    """Ask an endpoint and bare DuckDB on the very same file in turn; return medians in milliseconds."""
    found: dict[str, Any] = {}
    path = next((bench.system.home / "accelerator").glob("*/flights/*.duckdb"), None)
    connection = duckdb.connect(config={"threads": 2})
    connection.execute(f"ATTACH '{path}' AS fast (READ_ONLY); CREATE VIEW flights AS SELECT * FROM fast.t")
    with httpx.Client(headers=bench.system.headers, timeout=60) as http:
        for name in ("carriers", "by_month", "totals"):
            plain, ours = [], []
            for _ in range(40):
                plain.append(_milliseconds(lambda: connection.execute(DASHBOARD[name]).fetchall()))  # noqa: B023 - called now
                ours.append(_milliseconds(lambda: http.get(bench.url(name)).raise_for_status()))  # noqa: B023 - as above
            found[name] = {"bare_ms": median(plain), "endpoint_ms": median(ours)}
            found[name]["overhead_ms"] = found[name]["endpoint_ms"] - found[name]["bare_ms"]
    return found


def repeated(bench: Bench) -> dict[str, Any]:
    """Return the rates of an answer that did not change: as a 304, and whole from memory."""
    url = bench.url("carriers_kept")
    tag = httpx.get(url, headers=bench.system.headers, timeout=60).headers["ETag"]
    known = bench.system.headers | {"If-None-Match": tag}
    return {
        "not_modified": asdict(wrk(url, headers=known, connections=32, seconds=bench.seconds)),
        "kept": asdict(bench.load(url, 32)),
    }


def points(bench: Bench) -> dict[str, Any]:
    """Look rows up by their key, another each time, uncached; beside the peers."""
    found: dict[str, Any] = {}
    for table in bench.files:
        found[table] = {
            str(n): asdict(bench.load(bench.url(f"{table}_by_id", "?id=@"), n, highest=bench.count(table)))
            for n in CONCURRENCIES
        }
    for peer in _peers(bench):
        found[peer.name] = {
            table: asdict(wrk(peer.point(table), connections=8, seconds=bench.seconds, highest=bench.count(table)))
            for table in bench.files
        }
    return found


def dashboards(bench: Bench) -> dict[str, Any]:
    """Ask ten questions of dashboards, uncached, at three concurrencies; beside the peers."""
    found: dict[str, Any] = {"headwater": {}}
    for name in DASHBOARD:
        found["headwater"][name] = {str(n): asdict(bench.load(bench.url(name), n)) for n in CONCURRENCIES}
    for peer in _peers(bench):
        found[peer.name] = {
            name: {str(n): asdict(wrk(peer.ask(sql), connections=n, seconds=bench.seconds)) for n in CONCURRENCIES}
            for name, sql in DASHBOARD.items()
        }
    found["left_out"] = LEFT_OUT
    return found


def arrow(bench: Bench) -> dict[str, Any]:
    """Export events as Arrow over HTTP, and read their Parquet and write it to a socket; megabytes a second."""
    began, size = time.perf_counter(), 0
    plain = bench.system.headers | {"Accept-Encoding": "identity"}  # what the socket is given is not compressed either
    with httpx.stream("GET", bench.url("all_events.arrow"), headers=plain, timeout=600) as reply:
        reply.raise_for_status()
        for chunk in reply.iter_raw(1 << 20):
            size += len(chunk)
    ours = size / (time.perf_counter() - began) / 1e6
    files = [str(path) for path in (bench.system.home / "lake").glob("env_*/events/*.parquet")]
    bare = _to_socket(files)
    return {"megabytes": size / 1e6, "endpoint_mb_s": ours, "socket_mb_s": bare, "share": ours / bare}


def csv(bench: Bench) -> dict[str, Any]:
    """Export up to ten million rows as CSV; return how far the services' memory rose meanwhile."""
    process = psutil.Process(bench.system.pids()["services"])
    before = peak = process.memory_info().rss
    size = 0
    with httpx.stream("GET", bench.url("all_events.csv"), headers=bench.system.headers, timeout=1200) as reply:
        reply.raise_for_status()
        for number, chunk in enumerate(reply.iter_raw(1 << 18)):
            size += len(chunk)
            if number % 20 == 0:
                peak = max(peak, process.memory_info().rss)
    return {"megabytes": size / 1e6, "before_mb": before / 1e6, "peak_mb": peak / 1e6, "rose_mb": (peak - before) / 1e6}


def isolation(bench: Bench) -> dict[str, Any]:
    """Return the p95 of a quick endpoint alone and while another one runs away."""
    alone = bench.load(bench.url("totals"), 4)
    ended = threading.Event()

    def run_away() -> None:
        with contextlib.suppress(httpx.HTTPError):
            httpx.get(bench.url("runaway"), headers=bench.system.headers, timeout=30)
        ended.set()

    httpx.get(bench.url("runaway"), headers=bench.system.headers, timeout=30)  # known to be slow from now on
    threading.Thread(target=run_away, daemon=True).start()
    time.sleep(0.5)
    beside = bench.load(bench.url("totals"), 4)
    ended.wait(30)
    return {"alone": asdict(alone), "beside": asdict(beside), "p95_ratio": beside.p95_ms / max(alone.p95_ms, 1e-9)}


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    part.__name__: part for part in (overhead, repeated, points, dashboards, arrow, csv, isolation)
}


def _peers(bench: Bench) -> Iterator[Peer]:
    """Yield each peer while it runs; one that does not come up is said and left out."""
    if not bench.peers:
        return
    for name, start in (
        ("datasette", lambda: datasette(Path(tempfile.mkdtemp(dir=bench.directory)), bench.files)),
        ("fastapi_postgres", lambda: fastapi_postgres(bench.files)),
    ):
        try:
            running = start()
            peer = running.__enter__()
        except (OSError, RuntimeError, ValueError) as error:
            print(f"{name} is left out: {error}")
            continue
        try:
            yield peer
        finally:
            running.__exit__(None, None, None)


def _milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1e3


def _to_socket(files: list[str]) -> float:
    """Return the megabytes a second of reading Parquet and writing Arrow to a socket that somebody reads."""
    near, far = socket.socketpair()
    received = 0

    def drain() -> None:
        nonlocal received
        while data := far.recv(1 << 20):
            received += len(data)

    thread = threading.Thread(target=drain)
    thread.start()
    began = time.perf_counter()
    reader = duckdb.connect(config={"threads": 2}).execute(f"SELECT * FROM read_parquet({files!r})").to_arrow_reader()
    with near.makefile("wb", buffering=1 << 20) as sink, pa.ipc.new_stream(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    near.shutdown(socket.SHUT_WR)
    thread.join()
    seconds = time.perf_counter() - began
    near.close()
    far.close()
    return received / seconds / 1e6


def show(results: dict[str, Any]) -> None:
    """Print what was measured, and the ratios to the fastest peer."""
    for name, figures in results.items():
        if name != "dashboards":
            print(f"\n{name}: {json.dumps(figures, indent=1, default=str)[:3_000]}")
    asked = results.get("dashboards")
    if asked is None:
        return
    peers = [name for name in asked if name not in ("headwater", "left_out")]
    rows = []
    for name in DASHBOARD:
        for n in map(str, CONCURRENCIES):
            own = asked["headwater"][name][n]
            others = [asked[peer][name][n]["p50_ms"] for peer in peers]
            ratio = f"{min(others) / own['p50_ms']:.1f}x" if others and own["p50_ms"] else "-"
            rows.append(
                [name, n, f"{own['p50_ms']:.1f}", f"{own['p95_ms']:.1f}", *(f"{one:.1f}" for one in others), ratio]
            )
    header = ["question", "at once", "p50 ms", "p95 ms", *(f"{peer} p50" for peer in peers), "fastest peer/ours"]
    print_table("Dashboards, uncached", header, rows)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000_000, help="events in the synthetic table")
    parser.add_argument("--seconds", type=int, default=5, help="of each burst")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="bench-query-"))
    results: dict[str, Any] = {"rows": options.rows}
    try:
        files = write_tables(directory, options.rows)
        with headwater(project_of(project_files(files, options.rows))) as system:
            load(system, files, options.rows)
            bench = Bench(system, directory, files, options.rows, options.seconds, not options.no_peers)
            accelerated(bench)
            for name in options.only:
                results[name] = PARTS[name](bench)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    show(results)
    known = json.loads((RESULTS / "query.json").read_text()) if (RESULTS / "query.json").exists() else {}
    kept = {name: figures for name, figures in known.items() if name in PARTS and set(options.only) != set(PARTS)}
    print(f"written to {write_results('query', kept | results)}")


if __name__ == "__main__":
    main()
