"""Group commit: whatever waits goes into one durable journal transaction.

A disk can make some hundreds of transactions durable a second, but each may hold the work of many requests. One writer
thread takes all that is queued, in order, runs it in one transaction and only then resolves the futures.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.engines.journal.protocol import Journal, JournalTransaction
from headwater.services.kit.service import Commit

MAX_WAITING: Final = 4_096
MAX_GROUP: Final = 256
# The journal itself cannot write: retrying without the commit that met it would fail the same way for each of the rest.
_JOURNAL_CODES: Final = frozenset({"journal_unavailable", "storage_exhausted"})

_log = get_logger(__name__)


@dataclass(slots=True)
class _Pending:
    commit: Commit
    future: Future[None] = field(default_factory=Future)


class _Voided(Exception):
    """A commit raised inside the transaction: which, and what."""

    def __init__(self, index: int, cause: Exception) -> None:
        super().__init__(index)
        self.index = index
        self.cause = cause


class GroupCommitter:
    """The ``Committer`` of a process: one thread in front of one journal."""

    def __init__(self, journal: Journal, *, max_waiting: int = MAX_WAITING, max_group: int = MAX_GROUP) -> None:
        """Start the writer thread.

        Args:
            journal: what it writes to.
            max_waiting: commits that may wait; more are refused as ``overloaded``.
            max_group: commits in one transaction, so that no transaction holds the journal for long.
        """
        self._journal = journal
        self._max_waiting = max_waiting
        self._max_group = max_group
        self._waiting: deque[_Pending] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="journal-writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many commits wait for the next transaction."""
        return len(self._waiting)

    def submit(self, commit: Commit) -> Future[None]:
        """Queue a commit; the future resolves when it is durable, or with the error that voided it.

        Raises:
            HeadwaterError: ``overloaded`` when too many wait or the process is stopping; nothing was queued.
        """
        pending = _Pending(commit)
        with self._wake:
            if self._closing:
                raise HeadwaterError("overloaded", "the process is stopping", retry_after_seconds=1)
            if len(self._waiting) >= self._max_waiting:
                raise HeadwaterError("overloaded", "too many writes are waiting for the disk", retry_after_seconds=1)
            self._waiting.append(pending)
            self._wake.notify()
        return pending.future

    def close(self) -> None:
        """Write what waits, then end the thread; idempotent."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while group := self._take():
            try:
                self._write(group)
            except Exception as error:  # noqa: BLE001 - the writer must outlive any fault, or later requests would hang
                _log.exception("group_commit_failed")
                _fail(group, error)

    def _take(self) -> list[_Pending]:
        """Return the next group, waiting for one; empty when closing and drained."""
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait()
                count = min(len(self._waiting), self._max_group)
                taken = [self._waiting.popleft() for _ in range(count)]
            # A commit whose request went away before its turn is dropped: nobody was told that it happened.
            group = [pending for pending in taken if pending.future.set_running_or_notify_cancel()]
            if group or not taken:
                return group

    def _write(self, group: list[_Pending]) -> None:
        """Make a group durable; each round without the commit that voided the last one."""
        voided: list[tuple[_Pending, Exception]] = []
        while group:
            try:
                self._journal.write(lambda transaction: _apply(transaction, group))  # noqa: B023 - called at once
            except _Voided as found:
                voided.append((group[found.index], found.cause))
                group = [pending for index, pending in enumerate(group) if index != found.index]
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who wait
                _fail([*group, *(pending for pending, _cause in voided)], error)
                return
            else:
                for pending in group:
                    pending.future.set_result(None)
                break
        # Only now: what voided a commit may be what another one of its group wrote, which was not durable until here.
        for pending, cause in voided:
            _fail([pending], cause)


def _apply(transaction: JournalTransaction, group: list[_Pending]) -> None:
    for index, pending in enumerate(group):
        try:
            pending.commit.apply(transaction)
        except Exception as error:
            if isinstance(error, HeadwaterError) and error.code in _JOURNAL_CODES:
                raise
            raise _Voided(index, error) from error


def _fail(group: list[_Pending], error: Exception) -> None:
    for pending in group:
        with contextlib.suppress(InvalidStateError):
            pending.future.set_exception(error)
