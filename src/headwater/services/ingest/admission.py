"""Who may come in: decided from what is known before a body is read, so that a full house costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from pathlib import Path
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.services.ingest import metrics

HARD_WATERMARK: Final = 0.85
CHECK_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = (1, 5)

_log = get_logger(__name__)


def retry_after() -> int:
    """Return a jittered number of seconds, so that those refused together do not return together."""
    return random.randint(*_RETRY_SECONDS)  # noqa: S311 - jitter, not a secret


class Ticket:
    """One request's share of the bytes in flight; returned with ``close``."""

    __slots__ = ("_admission", "_bytes")

    def __init__(self, admission: Admission) -> None:
        """Begin with nothing."""
        self._admission = admission
        self._bytes = 0

    def grow(self, size: int) -> None:
        """Claim ``size`` more bytes; raises ``overloaded`` when they are not to be had."""
        self._admission.claim(size)
        self._bytes += size

    def close(self) -> None:
        """Give everything back; idempotent."""
        self._admission.give_back(self._bytes)
        self._bytes = 0


class Admission:
    """The gauges that decide whether a request may come in. Used from the event loop only."""

    def __init__(self, settings: Settings, journal: Journal, disk: Path) -> None:
        """Watch ``journal`` and the filesystem that holds ``disk``."""
        self._limit = settings.ingest.max_in_flight_bytes
        self._max_unsealed = settings.journal.max_unsealed_bytes
        self._min_free = settings.journal.min_free_bytes
        self._journal = journal
        self._disk = disk
        self._in_flight = 0
        self._watch: asyncio.Task[None] | None = None
        self._refusal: tuple[str, str] | None = None

    @property
    def in_flight_bytes(self) -> int:
        """Return the body bytes, as sent and as expanded, of every request under way."""
        return self._in_flight

    async def start(self) -> None:
        """Look at journal and disk once, then keep looking."""
        await asyncio.to_thread(self.check)
        self._watch = asyncio.create_task(self._keep_checking(), name="ingest-admission")

    async def stop(self) -> None:
        """Stop looking."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None

    def enter(self, size: int) -> Ticket:
        """Return a ticket for a request of ``size`` declared bytes.

        Raises:
            HeadwaterError: ``overloaded`` or ``storage_exhausted`` with a time to try again.
        """
        if self._refusal is not None:
            code, detail = self._refusal
            raise HeadwaterError(code, detail, hint="try again later", retry_after_seconds=retry_after())
        ticket = Ticket(self)
        ticket.grow(size)
        return ticket

    def claim(self, size: int) -> None:
        """Add to the bytes in flight; a request that comes alone is let in whatever its size."""
        if self._in_flight + size > self._limit and self._in_flight:
            raise HeadwaterError(
                "overloaded",
                "too many bytes are being read at once",
                hint="try again shortly, or send smaller batches",
                retry_after_seconds=retry_after(),
            )
        self._in_flight += size

    def give_back(self, size: int) -> None:
        """Take from the bytes in flight."""
        self._in_flight -= size

    def problems(self) -> list[str]:
        """Return why nobody is let in at present, for ``/readyz``."""
        return [self._refusal[1]] if self._refusal is not None else []

    def check(self) -> None:
        """Read the gauges. Blocks for a moment: runs in a thread."""
        unsealed = self._journal.unsealed_bytes()
        free = shutil.disk_usage(self._disk).free
        metrics.UNSEALED_BYTES.set(unsealed)
        if free < self._min_free:
            refusal = ("storage_exhausted", f"{free >> 20} MiB of disk are free, fewer than {self._min_free >> 20} MiB")
        elif unsealed > HARD_WATERMARK * self._max_unsealed:
            refusal = ("overloaded", f"{unsealed >> 20} MiB wait to be sealed; rows come faster than they are moved")
        else:
            refusal = None
        if refusal != self._refusal:
            _log.warning("ingest_admission", refusing=refusal is not None, reason=refusal and refusal[1])
        self._refusal = refusal

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                await asyncio.to_thread(self.check)
            except HeadwaterError as error:
                # The journal cannot even be asked: the commit itself will say so to whoever writes.
                _log.warning("ingest_admission_blind", reason=str(error))
