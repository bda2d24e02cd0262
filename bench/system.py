"""Start Headwater as a user would, in a throw-away home, for the benchmarks that measure the whole system."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness import HEADWATER, free_port, server


@dataclass(frozen=True)
class System:
    """A running Headwater: where it is, the demo key, and the process ids by name."""

    home: Path
    url: str
    control_url: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def pids(self) -> dict[str, int]:
        """Return the process id of each of its processes, the supervisor included."""
        state = json.loads((self.home / "run" / "up.json").read_text())
        return {"headwater": state["pid"], **{name: child["pid"] for name, child in state["processes"].items()}}

    def resident_bytes(self) -> dict[str, int]:
        """Return the resident memory of each process with its own children."""
        found = {}
        for name, pid in self.pids().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                family = [process] if name == "headwater" else [process, *process.children(recursive=True)]
                found[name] = sum(member.memory_info().rss for member in family)
        return found


@contextlib.contextmanager
def headwater(project: Path, *flags: str) -> Iterator[System]:
    """Run ``headwater up`` on free ports until the block ends; everything is ready when it begins."""
    home = Path(tempfile.mkdtemp(prefix="bench-hw-"))
    control, services = free_port(), free_port()
    command = [
        HEADWATER, "up", "--home", home, "--project", project,
        "--control-port", str(control), "--services-port", str(services), *flags,
    ]  # fmt: skip
    try:
        with server(command, f"http://127.0.0.1:{services}/readyz", log=home.with_suffix(".log")):
            _wait_until_ready(home)
            key = (home / "run" / "demo.key").read_text().strip()
            yield System(home, f"http://127.0.0.1:{services}", f"http://127.0.0.1:{control}", key)
    finally:
        shutil.rmtree(home, ignore_errors=True)
        home.with_suffix(".log").unlink(missing_ok=True)


def _wait_until_ready(home: Path) -> None:
    deadline = time.monotonic() + 60
    while not json.loads((home / "run" / "up.json").read_text())["ready"]:
        if time.monotonic() > deadline:
            raise RuntimeError("headwater did not become ready")
        time.sleep(0.1)


def project_of(files: dict[str, str | bytes]) -> Path:
    """Write a throw-away project directory and return it."""
    directory = Path(tempfile.mkdtemp(prefix="bench-project-"))
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory
