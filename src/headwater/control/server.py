"""The control process: Django on uvicorn."""

from __future__ import annotations

import errno
import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

import uvicorn

from headwater.control.bootstrap import prepare
from headwater.control.kit.own_apps import blaming
from headwater.core.errors import HeadwaterError
from headwater.core.logging import configure_logging, get_logger
from headwater.core.settings import Settings

_log = get_logger(__name__)
GRACE_SECONDS = 10


class Server(uvicorn.Server):
    """uvicorn that sends long polls home before it waits for requests to finish."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop: no new requests, long polls answer at once, the others get ``GRACE_SECONDS``."""
        from headwater.control.snapshots.watch import watch  # noqa: PLC0415 - models need Django to be set up

        watch().stop()
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serve the control plane until SIGTERM or SIGINT.

    Raises:
        HeadwaterError: ``port_taken``, ``home_unusable``, ``home_version``, ``config_unavailable``, ``project_invalid``
            (a Django app of the project's own).
    """
    configure_logging(settings.log, process="control")
    listener = _listen(settings.control.host, settings.control.port)
    try:
        prepare(settings)
        from headwater.control.asgi import application  # noqa: PLC0415 - models need Django to be set up

        # Views load here and not while the first caller waits.
        with blaming(settings.project):
            import_module("headwater.control.urls")

        config = uvicorn.Config(
            application,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            proxy_headers=settings.control.secure_cookies,
        )
        # Requests have a line of their own; these two would add another each.
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        logging.getLogger("django.request").setLevel(logging.ERROR)
        host, port = listener.getsockname()[:2]
        _log.info("control_listening", url=f"http://{host}:{port}")
        with _signals_kept():
            Server(config).run(sockets=[listener])
        _log.info("control_stopped")
    finally:
        listener.close()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Make the signals that uvicorn raises again after its own shutdown harmless: a stop asked for is a success."""
    stops = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda _number, _frame: None) for number in stops}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            detail = f"control cannot listen on {host}:{port}: something else does"
        else:
            detail = f"control cannot listen on {host}:{port}: {error.strerror}"
        raise HeadwaterError(
            "port_taken", detail, hint="stop it, or choose another port with --control-port or control.port"
        ) from error
    return listener
