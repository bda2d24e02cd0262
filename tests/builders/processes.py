"""Real processes and servers for tests: started on free ports of the loopback, stopped by their own ids."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import uvicorn
from starlette.types import ASGIApp

SERVE = """
import json, sys
from pathlib import Path
from headwater.core.errors import HeadwaterError
from headwater.core.settings import load_settings
from headwater.services.server import serve
try:
    serve(load_settings(json.loads(sys.argv[1]), environ={}, file=Path("/dev/null")), only=json.loads(sys.argv[2]))
except HeadwaterError as error:
    sys.exit(f"{error.code}: {error.detail} ({error.hint})")
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def serving(app: ASGIApp, port: int) -> Iterator[str]:
    """Serve an application of the test's own from a thread; yield its URL."""
    config = uvicorn.Config(app, port=port, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


class ServicesProcess:
    """A services process, as the command line starts one."""

    def __init__(self, home: Path, *, only: Sequence[str] | None = None, port: int | None = None, **flags: Any) -> None:
        self.port = port or free_port()
        settings = {"home": str(home), "services.port": self.port, "log.level": "info"}
        settings |= {name.replace("__", "."): value for name, value in flags.items()}
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, json.dumps(settings), json.dumps(only)],
            stderr=subprocess.PIPE,
            text=True,
            env=environ,
        )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=10, trust_env=False)

    def wait_ready(self, seconds: float = 30) -> None:
        wait_until(self.is_ready, seconds)

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.process.stderr.read() if self.process.stderr else ""
        with contextlib.suppress(httpx.TransportError):
            return self.http.get("/readyz").status_code == 200
        return False

    def stop(self) -> tuple[int, str]:
        """Ask it to stop; return its exit status and what it logged."""
        self.process.send_signal(signal.SIGTERM)
        _out, log = self.process.communicate(timeout=30)
        self.http.close()
        return self.process.returncode, log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=30)
        self.http.close()


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.02)
