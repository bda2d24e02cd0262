"""A real Ray cluster of two nodes on this machine, for as long as a test module runs."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

_SCRIPT = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20, "node_ip_address": "127.0.0.1"}
cluster = Cluster(initialize_head=True, head_node_args={**node, "temp_dir": sys.argv[1]})
cluster.add_node(**node)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


class RayNodes:
    """The cluster. ``address`` is what ``batch.address`` takes."""

    def __init__(self, address: str, process: psutil.Process) -> None:
        self.address = address
        self._process = process

    def kill_worker(self, within_seconds: float) -> None:
        """Kill a process that scores a chunk."""
        ends_at = time.monotonic() + within_seconds
        while time.monotonic() < ends_at:
            for child in self._process.children(recursive=True):
                if _title(child).startswith("ray::_score"):
                    child.kill()
                    return
        raise TimeoutError("no chunk was scored")


@contextmanager
def two_nodes() -> Iterator[RayNodes]:
    """Lend a cluster of two nodes with one processor each; who starts a job meanwhile may connect to it."""
    # Not a test's own folder: sockets lie in it, and their paths must be short.
    folder = tempfile.mkdtemp(prefix="hw-ray-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Where Ray thinks of one machine alone, it keeps to the loopback interface.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        with subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=dict(os.environ),
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address, "the cluster did not start"
            try:
                yield RayNodes(address, psutil.Process(process.pid))
            finally:
                process.stdin.close()
                process.wait(60)
    shutil.rmtree(folder, ignore_errors=True)


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
