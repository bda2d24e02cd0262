"""The database backend: Django's own, but for how a transaction waits for its turn.

SQLite waits by looking again after pauses that grow to 100 ms. Where several processes write in a hurry, whoever has
waited longest looks most rarely and may wait in vain until the busy timeout. Here everybody looks again soon.
"""

from __future__ import annotations

import random
import time
from typing import Final

from django.db import OperationalError
from django.db.backends.sqlite3 import base

PATIENCE_SECONDS: Final = 20.0
_PAUSE_SECONDS: Final = (0.001, 0.005)


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection whose transactions get their turn."""

    def _start_transaction_under_autocommit(self) -> None:
        """Begin a transaction; raises ``OperationalError`` when there was no turn within ``PATIENCE_SECONDS``."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        with self.cursor() as cursor:
            usual = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
            cursor.execute("PRAGMA busy_timeout = 0")
            try:
                while not self._begins(last_chance=time.monotonic() >= deadline):
                    time.sleep(random.uniform(*_PAUSE_SECONDS))  # noqa: S311 - to keep out of step, no secret
            finally:
                cursor.execute(f"PRAGMA busy_timeout = {usual}")

    def _begins(self, *, last_chance: bool) -> bool:
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]  # the stubs leave it out
        except OperationalError as error:
            if last_chance or "locked" not in str(error):
                raise
            return False
        return True
