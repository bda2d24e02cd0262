"""Running the data plane under uvicorn until told to stop."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.logging import configure_logging, get_logger
from headwater.core.settings import PREFIX, Settings, load_settings
from headwater.services.app import check_services, create_app
from headwater.services.kit.connection import LaneConnection

# The writer needs the interpreter some twenty times a commit, briefly; by default a busy loop lends it every 5 ms.
SWITCH_SECONDS: Final = 0.000_5
_FACTORY: Final = "headwater.services.server:application"
_ONLY: Final = "_HEADWATER_SERVICES_ONLY"  # not a setting: how the parent tells its workers
_GRACE_SECONDS: Final = 20
_KEEP_ALIVE_SECONDS: Final = 30
_OPEN_FILES: Final = 65_536
# Requests make few cycles; collecting less often spares the tail of the latencies.
_GC_THRESHOLD: Final = 50_000

_log = get_logger(__name__)


def serve(settings: Settings, only: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way, make it durable and return.

    Args:
        settings: the settings.
        only: which services to run; None means all.

    Raises:
        HeadwaterError: ``port_taken``, ``home_unusable`` and the like, before anything is served.
        SystemExit: the application could not start; its log says why.
    """
    configure_logging(settings.log, process="services")
    sys.setswitchinterval(SWITCH_SECONDS)
    _allow_connections()
    names = check_services(only)
    Home(settings.home).prepare()
    listener = _bind(settings.services.host, settings.services.port)
    host, port = listener.getsockname()[:2]
    # Its steps of starting and stopping are told by our own events.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    _log.info(
        "services_listening", url=f"http://{host}:{port}", services=list(names), workers=settings.services.workers
    )
    with _signals_kept(), listener:
        if settings.services.workers > 1:
            _hand_down(settings, names)
            Multiprocess(_config(settings, _FACTORY), sockets=[listener]).run()
        else:
            uvicorn.Server(_config(settings, partial(_build, settings, names))).run(sockets=[listener])
    _log.info("services_stopped")


def application() -> ASGIApp:
    """Return the application of one of several workers, from what ``serve`` put into the environment."""
    settings = load_settings(file=Path(os.devnull))
    configure_logging(settings.log, process="services")
    sys.setswitchinterval(SWITCH_SECONDS)
    return _build(settings, os.environ[_ONLY].split(","))


def _build(settings: Settings, only: Sequence[str]) -> ASGIApp:
    app = create_app(settings, only)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 20)
    return app


def _hand_down(settings: Settings, names: Sequence[str]) -> None:
    """Give the workers these settings, whatever the shell's own variables said before flags overruled them."""
    for variable in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[variable]
    os.environ.update(settings.to_environment())
    os.environ[_ONLY] = ",".join(names)


def _config(settings: Settings, factory: str | Callable[[], ASGIApp]) -> uvicorn.Config:
    return uvicorn.Config(
        factory,
        factory=True,
        host=settings.services.host,
        port=settings.services.port,
        workers=settings.services.workers,
        loop="uvloop",
        http=LaneConnection,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        timeout_worker_healthcheck=30,
    )


def _allow_connections() -> None:
    """Let the process open as many files as it may: each live stream is one, and a shell's limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _bind(host: str, port: int) -> socket.socket:
    """Return the listening socket, so that a port in use is an error now and not in a worker's log."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2_048)
    except OSError as error:
        listener.close()
        raise HeadwaterError(
            "port_taken",
            f"services cannot listen on {host}:{port}: {error.strerror}",
            hint=f"stop what uses port {port}, or choose another with --port or HEADWATER_SERVICES__PORT",
        ) from error
    listener.set_inheritable(True)
    return listener


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Make the signals that uvicorn raises again after its own shutdown harmless: a stop asked for is a success."""
    stops = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in stops}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
