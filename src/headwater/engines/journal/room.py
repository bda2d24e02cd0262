"""Whether the journal may take more: free disk and unsealed bytes, looked at a few times a second."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import JournalSettings
from headwater.engines.journal.faults import exhausted, unavailable

_LOOK_EVERY_SECONDS: Final = 0.1


class Room:
    """The two watermarks in front of every write. Sealing and pruning make room and are never held up by them."""

    def __init__(self, path: Path, limits: JournalSettings, unsealed_bytes: Callable[[], int]) -> None:
        """Guard the journal at ``path``; ``unsealed_bytes`` measures what waits, over all processes."""
        self._path = path
        self._limits = limits
        self._measure = unsealed_bytes
        self._look_at = 0.0
        self._free_bytes = 0
        self._unsealed_bytes = 0

    def check(self) -> None:
        """Refuse a write that the disk or the backlog leaves no room for.

        Raises:
            HeadwaterError: ``storage_exhausted`` or ``overloaded``, ``journal_unavailable`` if the disk is gone.
        """
        now = time.monotonic()
        if now >= self._look_at:
            self._look()
            self._look_at = now + _LOOK_EVERY_SECONDS
        if self._free_bytes < self._limits.min_free_bytes:
            raise exhausted(self._path)
        if self._unsealed_bytes >= self._limits.max_unsealed_bytes:
            raise HeadwaterError(
                "overloaded",
                f"{self._unsealed_bytes} bytes wait to be moved into the lake; nothing was stored",
                hint="check that the sealer runs and has disk space, or raise journal.max_unsealed_bytes",
                retry_after_seconds=5,
            )

    def take(self, payload_bytes: int) -> None:
        """Count what this process just wrote, until the next look."""
        self._unsealed_bytes += payload_bytes
        self._free_bytes -= payload_bytes

    def _look(self) -> None:
        try:
            self._free_bytes = shutil.disk_usage(self._path.parent).free
        except OSError as error:
            raise unavailable(self._path, error.strerror or str(error)) from error
        self._unsealed_bytes = self._measure()
