"""Moves the write-ahead log into the database file, away from the commits."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

import apsw

from headwater.core.logging import get_logger
from headwater.engines.journal.schema import connect, patience

_AFTER_PAGES: Final = 4_096  # 32 MiB of log
_PATIENCE_SECONDS: Final = 0.05  # commits wait as long for a reader that keeps the log from starting over

logger = get_logger(__name__)


class Checkpointer:
    """A thread that copies the log back whenever it has grown, so that commits only ever append and sync.

    The copy runs beside readers and writers. Under load it never catches up with the last commit, and the log would
    grow for ever; so a second, short pass under the writer's lock finishes the rest and lets the log start over.
    """

    def __init__(self, path: Path, writing: threading.Lock) -> None:
        """Serve the journal at ``path``, whose writes in this process hold ``writing``."""
        self._path = path
        self._writing = writing
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="journal-checkpoint", daemon=True)
        self._thread.start()

    def notice(self, _connection: apsw.Connection, _database: str, pages: int) -> int:
        """Hear of a commit from SQLite: the log now holds ``pages`` pages."""
        if pages >= _AFTER_PAGES:
            self._wake.set()
        return apsw.SQLITE_OK

    def close(self) -> None:
        """Stop after the pass under way."""
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while self._wake.wait() and not self._stopped:
            self._wake.clear()
            try:
                self._pass()
            except apsw.BusyError:
                pass  # another process is at it, or a long read: the next commit wakes us again
            except apsw.Error as error:
                # Commits do not depend on this; they say so themselves when the disk is in trouble.
                logger.warning("journal.checkpoint.failed", path=str(self._path), error=str(error))

    def _pass(self) -> None:
        connection = connect(self._path)
        connection.set_busy_handler(patience(_PATIENCE_SECONDS))
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            with self._writing:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        finally:
            connection.close()
