"""Peers of the query benchmark: Datasette over SQLite, and FastAPI with asyncpg over PostgreSQL.

Left out, with the reason: **Cube** needs its Cube Store, a program that its npm package downloads from GitHub when it
is installed, which the machines that this runs on cannot reach; **Superset** installs, but is not set up here: SQL Lab
needs its own metadata database, an account and a session before it answers.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import duckdb

from harness import HERE, free_port, peer_python, postgres, server

LEFT_OUT = {
    "cube": "its npm package downloads Cube Store from GitHub when it is installed, which cannot be reached",
    "superset": "installs, but is not set up here: SQL Lab needs a metadata database, an account and a session",
}
_SQL = {"BIGINT": "bigint", "INTEGER": "integer", "DOUBLE": "double precision", "VARCHAR": "text"}


@dataclass(frozen=True)
class Peer:
    """A running peer: the address that asks a statement, and that of a row by its id (``@`` stands for it)."""

    name: str
    ask: Callable[[str], str]
    point: Callable[[str], str]


@contextlib.contextmanager
def datasette(directory: Path, files: dict[str, Path]) -> Iterator[Peer]:
    """Serve the tables from SQLite, with an index on their key."""
    database = directory / "bench.sqlite3"
    connection = sqlite3.connect(database)
    for table, file in files.items():
        reader = duckdb.connect().execute(f"SELECT * FROM '{file}'")
        names = [column[0] for column in reader.description]
        connection.execute(f"CREATE TABLE {table} ({', '.join(names)}, PRIMARY KEY (id))")
        marks = ", ".join("?" * len(names))
        while batch := reader.fetchmany(50_000):
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", batch)
        connection.commit()
    connection.close()
    port = free_port()
    program = peer_python("datasette").with_name("datasette")
    settings = ["--setting", "sql_time_limit_ms", "120000"]
    command = [program, "serve", database, "--port", str(port), *settings]
    base = f"http://127.0.0.1:{port}/bench.json?_shape=array&sql="
    with server(command, f"http://127.0.0.1:{port}/-/versions.json"):
        yield Peer(
            "datasette",
            lambda sql: base + quote(sql, safe=""),
            lambda table: base + quote(f"SELECT * FROM {table} WHERE id = ", safe="") + "@",
        )


@contextlib.contextmanager
def fastapi_postgres(files: dict[str, Path]) -> Iterator[Peer]:
    """Serve the tables from PostgreSQL through FastAPI and asyncpg, as PostgREST would."""
    port = free_port()
    with postgres() as url:
        for table, file in files.items():
            _copy(url, table, file)
        command = [
            peer_python("fastapi_postgres"), "-m", "uvicorn", "--app-dir", HERE / "peers", "query_fastapi:app",
            "--port", str(port), "--log-level", "warning",
        ]  # fmt: skip
        base = f"http://127.0.0.1:{port}"
        with server(command, f"{base}/ready", env={"DATABASE_URL": url}):
            yield Peer(
                "fastapi_postgres",
                lambda sql: f"{base}/query?sql={quote(sql, safe='')}",
                lambda table: f"{base}/rows/{table}/@",
            )


def _copy(url: str, table: str, file: Path) -> None:
    columns = duckdb.connect().execute(f"DESCRIBE SELECT * FROM '{file}'").fetchall()
    shape = ", ".join(f"{name} {_SQL[type_]}" for name, type_, *_ in columns)
    csv = file.with_suffix(".peer.csv")
    duckdb.connect().execute(f"COPY (SELECT * FROM '{file}') TO '{csv}' (HEADER false)")
    script = (
        f"CREATE TABLE {table} ({shape});\n\\copy {table} FROM '{csv}' WITH (FORMAT csv)\n"
        f"ALTER TABLE {table} ADD PRIMARY KEY (id);\nANALYZE {table};\n"
    )
    subprocess.run(["psql", "-q", "-v", "ON_ERROR_STOP=1", url], input=script.encode(), check=True, env={**os.environ})
    csv.unlink()
