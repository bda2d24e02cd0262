"""The connection to a Ray cluster: the one that the settings name, or one of this machine's own for a job."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.setting_sections import BatchSettings

_STORE_BYTES: Final = 256 << 20  # what chunks and answers of one job take, with room
_PROBE_SECONDS: Final = 5.0
_PREFIX: Final = "headwater-ray-"
_HINT: Final = 'install headwater[ray], or set batch.executor = "local"'

_log = get_logger(__name__)


def require_ray() -> None:
    """Raise ``setting_invalid`` naming the cure where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise HeadwaterError("setting_invalid", "batch.executor is 'ray', and Ray is not installed here", hint=_HINT)


def ray_version(settings: BatchSettings) -> str:
    """Return which Ray scores batch jobs, and where; raises as ``connect`` does, without connecting."""
    require_ray()
    if settings.address is not None:
        _probe(settings.address)
    where = f"the cluster {settings.address}" if settings.address else "a cluster of each job's own on this machine"
    return f"jobs are scored by Ray {metadata.version('ray')} on {where}"


def connect(settings: BatchSettings) -> RayCluster:
    """Connect this process to a cluster, starting one on this machine unless an address is set. Blocks for seconds.

    Raises:
        HeadwaterError: ``services_unavailable`` when the cluster does not answer, or has another Python or Ray.
    """
    require_ray()
    # Nothing is told to anybody, and no page is served to the network.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "1")  # a cluster that is not there is asked for 15 minutes else
    import ray  # noqa: PLC0415 - an extra

    common: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "include_dashboard": None}
    folder: Path | None = None
    if settings.address is not None:
        _probe(settings.address)
        own: dict[str, Any] = {"address": settings.address}
    else:
        _sweep()
        # Sockets lie in it, whose paths must be short.
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        own = {
            "address": "local",
            "include_dashboard": False,
            "object_store_memory": _STORE_BYTES,
            "_node_ip_address": "127.0.0.1",
            "_temp_dir": str(folder),
        }
    try:
        with _own_signals():
            ray.init(**(common | own))
    except Exception as error:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise _unusable(settings.address or "of this machine", error) from error
    cluster = RayCluster(ray, folder)
    _log.info("ray_connected", address=settings.address or "local", processors=cluster.processors)
    return cluster


class RayCluster:
    """A connection of this process."""

    def __init__(self, ray: Any, folder: Path | None) -> None:
        """Hold what ``connect`` connected; ``folder`` is that of a cluster of its own."""
        self._ray = ray
        self._folder = folder

    @property
    def processors(self) -> int:
        """Return how many processors all nodes have for tasks."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def close(self) -> None:
        """Disconnect; a cluster of its own ends. Blocks."""
        self._ray.shutdown()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray would have it exit wherever it is."""
    is_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if is_main and before is not None:
            signal.signal(signal.SIGTERM, before)


def _probe(address: str) -> None:
    """Raise ``services_unavailable`` at once where nobody listens at an address."""
    host, separator, port = address.rpartition(":")
    if not separator:
        return
    try:
        socket.create_connection((host, int(port)), _PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unusable(address, error) from error


def _unusable(where: str, error: Exception) -> HeadwaterError:
    return HeadwaterError(
        "services_unavailable",
        f"the Ray cluster {where} cannot be used: {type(error).__name__}: {_first_line(error)}",
        hint="start Ray on this machine as a node of it: ray start --address=host:6379; or set batch.executor",
        retry_after_seconds=30,
    )


def _sweep() -> None:
    """Delete what clusters left whose process was killed."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        number = left.name.removeprefix(_PREFIX).partition("-")[0]
        if number.isdecimal() and not Path(f"/proc/{number}").exists():
            shutil.rmtree(left, ignore_errors=True)


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]
