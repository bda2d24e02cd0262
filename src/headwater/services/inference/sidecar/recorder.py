"""What the sidecar does with an epoch: one journal transaction, then the profiles, then the acknowledgement."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from headwater.core.errors import HeadwaterError
from headwater.core.ids import format_id
from headwater.core.logging import get_logger
from headwater.engines.journal.protocol import Journal, JournalTransaction
from headwater.services.inference.encoding import LogBatch, LoggedVersion, encode_rows
from headwater.services.inference.rows import Rows
from headwater.services.inference.sidecar.monitor import Monitor
from headwater.services.inference.sidecar.wire import Ack, Failed, Frame, Group, Hello, read_version

GIVE_UP_SECONDS: Final = 30.0
_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 5.0
_MAX_KNOWN: Final = 256

_log = get_logger(__name__)


class Recorder:
    """Turns the frames of one worker into durable rows and profiles."""

    def __init__(
        self,
        hello: Hello,
        journal: Journal,
        monitor: Monitor,
        acknowledge: Callable[[Ack], None],
        has_ended: Callable[[], bool],
    ) -> None:
        """Record for the worker that said ``hello``.

        Args:
            hello: who it is.
            journal: where rows go.
            monitor: where profiles go.
            acknowledge: tells the worker.
            has_ended: whether the worker is gone, so that waiting for a journal has an end.
        """
        self._hello = hello
        self._journal = journal
        self._monitor = monitor
        self._acknowledge = acknowledge
        self._has_ended = has_ended
        self._known: dict[bytes, LoggedVersion] = {}
        self._versions: list[LoggedVersion] = []
        self._groups: list[Group] = []
        self._failures: list[Failed] = []
        self._epoch = 0

    def take(self, messages: Iterable[Hello | Frame]) -> None:
        """Take frames; each that closes its epoch has it recorded."""
        for message in messages:
            if isinstance(message, Frame):
                self._take(message)

    def _take(self, frame: Frame) -> None:
        if frame.epoch != self._epoch:
            self.close()
            self._epoch = frame.epoch
        self._versions.extend(self._compiled(bytes(raw)) for raw in frame.versions)
        self._groups.extend(frame.groups)
        self._failures.extend(frame.failures)
        if frame.closes:
            self.close()

    def close(self) -> None:
        """Record what there is of the epoch, whether its last frame came or not."""
        if not self._epoch:
            return
        ack = Ack(self._epoch)
        try:
            self._record(ack)
        finally:
            self._epoch = 0
            self._versions, self._groups, self._failures = [], [], []
        self._acknowledge(ack)

    def _record(self, ack: Ack) -> None:
        joined = self._joined(ack)
        batches: list[LogBatch] = []
        for place, (version, rows) in joined.items():
            try:
                batch = encode_rows(version, rows, self._receipt_id(version, place))
            except Exception:  # noqa: BLE001 - the log must outlive a block it cannot write
                _log.exception("prediction_log_not_encoded", model=version.described.model, rows=len(rows))
                _add(ack.dropped, version.described.model, len(rows))
                continue
            if batch is not None:
                batches.append(batch)
                _add(ack.logged, version.described.model, batch.rows)
        if not self._commit(batches):
            ack.dropped = {model: ack.dropped.get(model, 0) + rows for model, rows in ack.logged.items()}
            ack.logged = {}
        try:
            self._count(joined)
        except Exception as error:  # noqa: BLE001 - rows are logged whatever becomes of their profile
            # What is in memory is written with a later epoch.
            _log.warning("profiles_not_written", error=f"{type(error).__name__}: {error}")
            ack.problem = f"profiles cannot be written: {error}"

    def _joined(self, ack: Ack) -> dict[int, tuple[LoggedVersion, Rows]]:
        """Return the rows of each version of the epoch, by its place; what does not fit is dropped."""
        groups: dict[int, list[Group]] = {}
        for group in self._groups:
            groups.setdefault(group.version, []).append(group)
        joined: dict[int, tuple[LoggedVersion, Rows]] = {}
        for place, found in groups.items():
            version = self._versions[place]
            try:
                joined[place] = version, Rows(found, len(version.fields))
            except Exception:  # noqa: BLE001 - one version's rows must not cost those of the others
                rows = sum(len(group.ids) for group in found)
                _log.exception("prediction_log_not_read", model=version.described.model, rows=rows)
                _add(ack.dropped, version.described.model, rows)
        return joined

    def _commit(self, batches: Sequence[LogBatch]) -> bool:
        """Make blocks durable, once; waits for a journal that cannot take them, until the worker is long gone."""
        if not batches:
            return True
        rows = sum(batch.rows for batch in batches)
        pause = _FIRST_PAUSE_SECONDS
        gives_up_at: float | None = None
        while True:
            try:
                if not self._is_written(batches[0]):
                    self._journal.write(lambda transaction: _apply(batches, transaction))
            except HeadwaterError as error:
                _log.warning("prediction_log_waits", rows=rows, error=error.detail)
                self._acknowledge(Ack(self._epoch - 1, problem=f"the prediction log waits: {error.detail}"))
            except Exception:  # noqa: BLE001 - the log must outlive a block it cannot write
                _log.exception("prediction_log_not_written", rows=rows)
                return False
            else:
                return True
            if self._has_ended():
                gives_up_at = gives_up_at or time.monotonic() + GIVE_UP_SECONDS
                if time.monotonic() > gives_up_at:
                    _log.error("prediction_log_lost", rows=rows)
                    return False
            time.sleep(min(pause, _FIRST_PAUSE_SECONDS) if gives_up_at else pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _is_written(self, batch: LogBatch) -> bool:
        """Return whether a sidecar that is gone wrote this epoch: all its blocks are one transaction."""
        if self._epoch > self._hello.resent_through:
            return False
        return self._journal.find_receipt(batch.block.spans[0].receipt_id) is not None

    def _count(self, joined: dict[int, tuple[LoggedVersion, Rows]]) -> None:
        for version, rows in joined.values():
            self._monitor.add(version, rows, self._epoch)
        failures: dict[int, list[Failed]] = {}
        for failed in self._failures:
            failures.setdefault(failed.version, []).append(failed)
        for place, found in failures.items():
            self._monitor.fail(self._versions[place], found, self._epoch)
        self._monitor.flush(self._epoch)

    def _compiled(self, raw: bytes) -> LoggedVersion:
        version = self._known.get(raw)
        if version is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            version = self._known[raw] = LoggedVersion(read_version(msgspec.Raw(raw)))
        return version

    def _receipt_id(self, version: LoggedVersion, place: int) -> str:
        """Return the receipt of a block: the same when the epoch is recorded once more."""
        name = f"{self._hello.writer}/{self._epoch}/{place}/{version.stream}"
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        return format_id("rcp", uuid.UUID(bytes=digest))


def _apply(batches: Sequence[LogBatch], transaction: JournalTransaction) -> None:
    for batch in batches:
        batch.apply(transaction)


def _add(counts: dict[str, int], model: str, rows: int) -> None:
    counts[model] = counts.get(model, 0) + rows
