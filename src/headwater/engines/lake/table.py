"""One Delta table as this process knows it: a handle that is refreshed only when the log has grown."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from headwater.engines.lake.log import LOG, commit_file
from headwater.engines.lake.losses import lost, unavailable
from headwater.engines.lake.protocol import TableState

_REFRESHES: Final = 25


class Table:
    """A table's handle and newest state. Hold ``lock`` for everything but reading ``path`` and ``stream``."""

    def __init__(self, stream: str, path: Path) -> None:
        """Know of the table; nothing is opened yet."""
        self.stream = stream
        self.path = path
        self.lock = threading.Lock()
        self.is_mended = False
        self.looked_after = -1  # the version that upkeep last saw
        self.synced: int | None = None  # the version up to which appends know the log to be on the disk
        self._handle: DeltaTable | None = None
        self._was_there = False
        self._refreshes = 0
        self._log_changed_ns = 0
        self._state: TableState | None = None

    @property
    def is_lost(self) -> bool:
        """Return whether this process has seen the table and its log is there no more. Needs no lock."""
        try:
            return self._was_there and not (self.path / LOG).is_dir()
        except OSError:
            return True

    def refresh(self) -> DeltaTable | None:
        """Return the handle at the newest version, or None while there is no table.

        Raises:
            HeadwaterError: ``storage_unavailable`` when there was a table before: nobody but a fault removes one.
        """
        try:
            changed_ns = (self.path / LOG).stat().st_mtime_ns
        except FileNotFoundError:
            self._absent()
            return None
        except OSError as error:
            raise unavailable(self.stream, f"cannot be read: {error.strerror}") from error
        handle = self._handle
        if handle is None or self._refreshes >= _REFRESHES:
            handle = self._open()
        elif commit_file(self.path, handle.version() + 1).exists():
            handle.update_incremental()
            self._refreshes += 1
        elif changed_ns != self._log_changed_ns:
            # A checkpoint, or the log was cleaned beyond our version: only opening it anew tells.
            handle = self._open()
        self._log_changed_ns = changed_ns
        return handle

    def reopen(self) -> None:
        """Forget the handle: its version is not to be trusted any more."""
        self._handle = None

    def state(self) -> TableState | None:
        """Return the newest version, or None while there is no table."""
        handle = self.refresh()
        if handle is None:
            return None
        version = handle.version()
        if self._state is None or self._state.version != version:
            self._state = self._describe(handle)
        return self._state

    def state_at(self, version: int) -> TableState | None:
        """Return a version that was the newest once; None when there is none such or vacuum took its files.

        Needs no lock: it opens the table for itself.
        """
        known = self._state
        if known is not None and known.version == version:
            return known
        try:
            state = self._describe(DeltaTable(self.path, version=version))
        except (DeltaError, OSError, OverflowError):
            return None
        return state if all(Path(file).exists() for file in state.files) else None

    def _describe(self, handle: DeltaTable) -> TableState:
        version = handle.version()
        schema = pa.schema(handle.schema().to_arrow())
        # They come as parts of URIs, blanks and letters beyond ASCII percent-encoded, although they are local.
        files = tuple(map(unquote, handle.file_uris()))
        return TableState(self.stream, version, files, schema, handle.count(), self._committed_at(version))

    def _committed_at(self, version: int) -> datetime | None:
        try:
            return datetime.fromtimestamp(commit_file(self.path, version).stat().st_mtime, UTC)
        except OSError:
            return None  # a checkpoint took its place

    def _open(self) -> DeltaTable | None:
        self._refreshes = 0
        try:
            # A handle's list of files is never merged by refreshing it and slows down: hence a new one now and then.
            self._handle = DeltaTable(self.path)
        except TableNotFoundError:
            self._absent()
            return None
        self._was_there = True
        return self._handle

    def _absent(self) -> None:
        """Forget the handle; an empty table in the place of a lost one would pass for the truth."""
        self._handle = None
        if self._was_there:
            raise lost(self.stream)
