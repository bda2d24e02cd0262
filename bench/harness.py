"""What the benchmarks share: servers started and stopped by process id, bounded load, medians, ratios and JSON.

Figures of one run are comparable, figures of two runs are not: two noisy cores drift by a factor of two. Every
benchmark therefore runs Headwater and its peers in alternating rounds and reports the median of each and the ratio.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
VENVS = HERE / ".venvs"
HEADWATER = Path(sys.executable).with_name("headwater")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def get(url: str, headers: Mapping[str, str] | None = None, *, timeout: float = 10) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers or {})), timeout=timeout) as reply:
        return bytes(reply.read())


def post(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@contextlib.contextmanager
def server(
    command: Sequence[str | Path],
    ready_url: str,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    wait_seconds: float = 120,
    log: Path | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server in its own process group until the block ends; ready when ``ready_url`` answers anything."""
    sink = (log or Path(tempfile.mkstemp(suffix=".log")[1])).open("wb")
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdout=sink,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + wait_seconds
        while not _answers(ready_url):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = Path(sink.name).read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{command[0]} did not come up:\n{tail}")
            time.sleep(0.1)
        yield process
    finally:
        _stop(process)
        sink.close()


def _answers(url: str) -> bool:
    try:
        get(url, timeout=2)
    except urllib.error.HTTPError as error:
        return error.code < 500
    except (OSError, ValueError):
        return False
    return True


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


@dataclass(frozen=True)
class Load:
    """What one burst of wrk measured. Latencies in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    p95_ms: float = 0.0


def wrk(
    url: str,
    *,
    body: Path | None = None,
    headers: Mapping[str, str] | None = None,
    connections: int = 32,
    seconds: int = 5,
    highest: int = 0,
) -> Load:
    """Send ``body`` (or GET) over and over for ``seconds``; statuses above 399 are errors.

    With ``highest``, each ``@`` in the path becomes a number below it, another for each request.
    """
    binary = shutil.which("wrk")
    if binary is None:
        raise RuntimeError("wrk is needed: apt-get install wrk")
    command = [
        binary,
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "-s",
        str(HERE / "load.lua"),
        url,
    ]
    arguments = [str(body or ""), *(f"{name}: {value}" for name, value in (headers or {}).items())]
    done = subprocess.run(
        [*command, "--", *arguments],
        env={**os.environ, "HIGHEST": str(highest)},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    match = re.search(r"JSON (\{.*\})", done.stdout)
    if match is None:
        raise RuntimeError(f"wrk printed no figures: {done.stdout}{done.stderr}")
    figures = json.loads(match[1])
    return Load(
        per_second=figures["requests"] / (figures["duration_us"] / 1e6),
        p50_ms=figures["p50_us"] / 1e3,
        p99_ms=figures["p99_us"] / 1e3,
        errors=figures["errors"],
        p95_ms=figures["p95_us"] / 1e3,
    )


def peer_python(name: str) -> Path:
    """Return the Python of a peer's own environment, made from its pinned requirements on first use."""
    directory = VENVS / name
    python = directory / "bin" / "python"
    stamp = directory / ".installed"
    if not stamp.exists():
        subprocess.run([sys.executable, "-m", "venv", str(directory)], check=True)
        requirements = HERE / "requirements" / f"{name}.txt"
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", "--require-hashes", "-r", str(requirements)], check=True
        )
        stamp.touch()
    return python


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Run a throw-away PostgreSQL with fsync on; yield its URL."""
    found = shutil.which("postgres") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None)
    if found is None:
        raise RuntimeError("PostgreSQL is needed: apt-get install postgresql")
    bin_dir = Path(found).resolve().parent
    data = Path(tempfile.mkdtemp(prefix="bench-pg-"))
    as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(data, "nobody", "nogroup")
    port = free_port()
    subprocess.run(
        [*as_user, str(bin_dir / "initdb"), "-D", str(data / "db"), "-U", "postgres", "-A", "trust", "-E", "UTF8"],
        check=True,
        capture_output=True,
        cwd=data,
    )
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c shared_buffers=512MB -c max_wal_size=4GB"
    process = subprocess.Popen(
        [*as_user, str(bin_dir / "postgres"), "-D", str(data / "db"), *options.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=data,
    )
    try:
        deadline = time.monotonic() + 30
        while subprocess.run(
            [str(bin_dir / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)], check=False
        ).returncode:
            if time.monotonic() > deadline:
                raise RuntimeError("PostgreSQL did not come up")
            time.sleep(0.1)
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        shutil.rmtree(data, ignore_errors=True)


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def write_results(name: str, results: Mapping[str, Any]) -> Path:
    """Write one benchmark's figures with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "machine": machine, **results}, indent=2) + "\n")
    return path


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        print(
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )
        if number == 0:
            print("  ".join("-" * width for width in widths))
