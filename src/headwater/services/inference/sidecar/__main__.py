"""``python -m headwater.services.inference.sidecar DESCRIPTOR``: started by a worker, on one end of a socket pair."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.lean import keep_pandas_out, release_memory
from headwater.core.logging import configure_logging, get_logger
from headwater.core.settings import Settings, load_settings
from headwater.engines.blobs import open_blobs
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Journal
from headwater.engines.monitoring.store import MonitoringStore
from headwater.services.inference.sidecar.monitor import Monitor
from headwater.services.inference.sidecar.recorder import GIVE_UP_SECONDS, Recorder
from headwater.services.inference.sidecar.wire import Ack, Frame, Hello, messages, pack

_WAITING: Final = 16
_CONDENSE_SECONDS: Final = 3_600.0
_RETRY_SECONDS: Final = 1.0
_QUIET_SECONDS: Final = 1.0
_NICENESS: Final = 5

_log = get_logger(__name__)


class _Inbox:
    """Frames as they come, read in a thread so that the end of the worker is seen while the journal is waited for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._queue: queue.Queue[list[Hello | Frame]] = queue.Queue(_WAITING)
        self.has_ended = threading.Event()
        self.is_broken = False
        """Whether what came last could not be understood: the worker, which lives, will send its epoch again."""
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def get(self, timeout: float) -> list[Hello | Frame]:
        """Return the messages that came, none after the last; raises ``queue.Empty``."""
        return self._queue.get(timeout=timeout)

    def _read(self) -> None:
        try:
            for found in messages(self._connection):
                self._queue.put(found)
        except ConnectionResetError:
            _log.warning("sidecar_left_alone")  # the worker was killed, and had not read all acknowledgements
        except Exception:  # noqa: BLE001 - a worker that sends nonsense ends the connection
            _log.exception("sidecar_connection_broken")
            self.is_broken = True
        self.has_ended.set()
        self._queue.put([])


def main(descriptor: int) -> None:
    """Record until the worker ends."""
    # Stopping is the worker's word alone: what it ships on its way out must be written still.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep_pandas_out()
    with contextlib.suppress(OSError):
        os.nice(_NICENESS)  # requests first
    settings = load_settings(file=Path(os.devnull))
    configure_logging(settings.log, process="sidecar")
    with socket.socket(fileno=descriptor) as connection:
        connection.setblocking(True)
        inbox = _Inbox(connection)
        first = inbox.get(timeout=60)
        if not first or not isinstance(first[0], Hello):
            return
        journal = _open_journal(settings, connection, inbox)
        if journal is not None:
            try:
                _record(settings, first, journal, connection, inbox)
            finally:
                journal.close()


def _record(
    settings: Settings, first: Sequence[Hello | Frame], journal: Journal, connection: socket.socket, inbox: _Inbox
) -> None:
    hello = first[0]
    assert isinstance(hello, Hello)
    store = MonitoringStore(Home(settings.home).monitoring / "profiles.sqlite3")
    monitor = Monitor(store, open_blobs(settings), hello.writer)
    recorder = Recorder(hello, journal, monitor, lambda ack: _send(connection, ack), inbox.has_ended.is_set)
    _send(connection, Ack(0))  # from here on, an end is owed to what was sent
    recorder.take(first)
    condense_at = time.monotonic() + 60.0
    is_stirred = True
    while True:
        try:
            found = inbox.get(_QUIET_SECONDS if is_stirred else 60.0)
        except queue.Empty:
            if is_stirred:
                release_memory()
            is_stirred = False
        else:
            if not found:
                break
            recorder.take(found)
            is_stirred = True
        if time.monotonic() >= condense_at:
            condense_at = time.monotonic() + _CONDENSE_SECONDS
            _condense(monitor)
    if not inbox.is_broken:
        recorder.close()
    store.close()


def _open_journal(settings: Settings, connection: socket.socket, inbox: _Inbox) -> Journal | None:
    """Open the journal, however long it takes while the worker lives; None when it ended first."""
    ended_at: float | None = None
    while True:
        try:
            return open_journal(settings)
        except HeadwaterError as error:
            _log.warning("sidecar_waits_for_journal", error=error.detail)
            _send(connection, Ack(0, problem=f"the prediction log waits: {error.detail}"))
        if inbox.has_ended.is_set():
            ended_at = ended_at or time.monotonic()
            if time.monotonic() > ended_at + GIVE_UP_SECONDS:
                _log.error("prediction_log_lost")
                return None
        time.sleep(_RETRY_SECONDS)


def _condense(monitor: Monitor) -> None:
    try:
        monitor.condense()
    except Exception:  # noqa: BLE001 - old profiles can wait
        _log.exception("profiles_not_condensed")


def _send(connection: socket.socket, ack: Ack) -> None:
    with contextlib.suppress(OSError):  # nobody is left to be told
        connection.sendall(pack(ack))


if __name__ == "__main__":
    main(int(sys.argv[1]))
