"""The lake on a local disk: Delta tables whose every acknowledged commit survives the loss of power."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import LakeSettings
from headwater.engines.lake import log
from headwater.engines.lake.columns import conformed, merged, table_schema
from headwater.engines.lake.compaction import NO_HOOKS, choose, compact, parts
from headwater.engines.lake.expiry import expire
from headwater.engines.lake.files import DataFile, disk_full_as_exhausted, sync, write_data_file
from headwater.engines.lake.protocol import AppTransaction, Expiry, TableState, Upkeep
from headwater.engines.lake.table import Table

_ATTEMPTS: Final = 20
_STREAM: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*")
# Every commit lists the log's folder, so its length is paid for at each one.
_LOG_RETENTION: Final = "interval 1 hours"


class DeltaTableStore:
    """A ``TableStore`` in a directory: one Delta table at ``<environment id>/<dataset>``. Safe to use from threads."""

    def __init__(self, root: Path, settings: LakeSettings | None = None) -> None:
        """Use the tables below ``root``; nothing is created before the first append."""
        self._root = root.absolute()
        self._settings = settings or LakeSettings()
        self._tables: dict[str, Table] = {}
        self._lock = threading.Lock()

    def append(self, stream: str, rows: pa.Table, transaction: AppTransaction) -> int:
        """Append ``rows`` durably, once; return the table version that holds them."""
        table = self._table(stream)
        with table.lock, disk_full_as_exhausted(table.path):
            self._mend(table)
            written: DataFile | None = None
            for _ in range(_ATTEMPTS):
                try:
                    handle = table.refresh() or self._create(table, table_schema(rows.schema))
                    before = handle.version()
                    if _is_done(handle, transaction):
                        # Its writer may have died before the sync.
                        log.sync_commits(table.path, before - 25, before)
                        return before
                    schema = _admit(handle, rows.schema)
                    written = written or write_data_file(table.path, conformed(rows, schema))
                    _commit(handle, written, schema, transaction)
                except CommitFailedError:
                    table.reopen()
                    continue
                version = (table.refresh() or handle).version()
                # From the last append on: upkeep may have committed in between and not have synced yet, and a log
                # with a hole before our commit would be worth nothing.
                log.sync_commits(table.path, before - 25 if table.synced is None else table.synced, version)
                table.synced = version
                return version
        raise HeadwaterError("conflict", f"other writers kept changing {stream}; it was left as it was")

    def committed(self, stream: str, app_id: str) -> int | None:
        """Return the last transaction version of a writer, or None."""
        table = self._table(stream)
        with table.lock:
            self._mend(table)
            handle = table.refresh()
            return None if handle is None else handle.transaction_version(app_id)

    def state(self, stream: str) -> TableState | None:
        """Return the newest version of a table, or None if it does not exist. Cheap when nothing changed."""
        table = self._table(stream)
        with table.lock:
            return table.state()

    def state_at(self, stream: str, version: int) -> TableState | None:
        """Return an earlier version of a table, or None when there is none such or its files are gone."""
        return self._table(stream).state_at(version)

    def lost(self) -> list[str]:
        """Return the tables that this process has seen and that are there no more."""
        return sorted(table.stream for table in tuple(self._tables.values()) if table.is_lost)

    def streams(self, environment_id: str) -> list[str]:
        """Return the tables of an environment."""
        directory = self._root / environment_id
        if not _STREAM.fullmatch(f"{environment_id}/x") or not directory.is_dir():
            return []
        return sorted(f"{environment_id}/{path.name}" for path in directory.iterdir() if (path / log.LOG).is_dir())

    def maintain(self, stream: str) -> Upkeep:
        """Compact small files, checkpoint and vacuum when due; appends may go on meanwhile."""
        table = self._table(stream)
        with table.lock:
            handle = table.refresh()
            if handle is None or handle.version() - table.looked_after < log.CHECKPOINT_INTERVAL:
                return Upkeep()
        with disk_full_as_exhausted(table.path):
            # A handle of its own: rewriting may take seconds, which no append shall wait for.
            own = DeltaTable(table.path)
            before = own.version()
            groups = choose(parts(own), least=self._settings.compact_every_commits)
            compacted = compact(table.path, own, groups) if groups else 0
            own.update_incremental()
            log.sync_commits(table.path, before, own.version())
            vacuumed = self._vacuum(table, own) if compacted else 0
            due = log.is_checkpoint_due(table.path, own.version())
            if due:
                own.create_checkpoint()
                log.sync_checkpoint(table.path, own.version())
            if compacted:
                own.cleanup_metadata()
            table.looked_after = before
        return Upkeep(compacted, vacuumed, checkpointed=due)

    def expire(self, stream: str, expiry: Expiry) -> int:
        """Delete rows that have outlived their retention, and the files of those that went before."""
        table = self._table(stream)
        with table.lock:
            if table.refresh() is None:
                return 0
        with disk_full_as_exhausted(table.path):
            own = DeltaTable(table.path)
            before = own.version()
            gone = expire(table.path, own, expiry)
            own.update_incremental()
            log.sync_commits(table.path, before, own.version())
            if own.vacuum(retention_hours=self._settings.vacuum_retention_hours, enforce_retention_duration=False):
                self._vacuum(table, own)
        return gone

    def _vacuum(self, table: Table, handle: DeltaTable) -> int:
        """Delete files that no version within the retention refers to."""
        before = handle.version()
        gone = handle.vacuum(
            retention_hours=self._settings.vacuum_retention_hours,
            dry_run=False,
            enforce_retention_duration=False,
            full=True,
            post_commithook_properties=NO_HOOKS,
        )
        handle.update_incremental()
        log.sync_commits(table.path, before, handle.version())
        return len(gone)

    def _table(self, stream: str) -> Table:
        table = self._tables.get(stream)
        if table is None:
            if not _STREAM.fullmatch(stream):
                raise HeadwaterError("invalid_parameter", f"{stream[:80]!r} is not of the form environment/dataset")
            with self._lock:
                table = self._tables.setdefault(stream, Table(stream, self._root / stream))
        return table

    def _mend(self, table: Table) -> None:
        """Clear what a loss of power left behind, once a process; only writers do this."""
        if not table.is_mended and (table.path / log.LOG).is_dir():
            log.mend(table.path)
        table.is_mended = True

    def _create(self, table: Table, schema: pa.Schema) -> DeltaTable:
        table.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = DeltaTable.create(
            table.path,
            schema,
            mode="ignore",
            configuration={
                "delta.checkpointInterval": str(log.CHECKPOINT_INTERVAL),
                "delta.logRetentionDuration": _LOG_RETENTION,
                "delta.deletedFileRetentionDuration": f"interval {self._settings.vacuum_retention_hours} hours",
            },
        )
        log.sync_commits(table.path, -1, 0)
        for directory in (table.path, table.path.parent, self._root):
            sync(directory)
        return table.refresh() or handle


def _is_done(handle: DeltaTable, transaction: AppTransaction) -> bool:
    """Return whether the table has the rows already; raise ``conflict`` when it has a part of them."""
    done = handle.transaction_version(transaction.app_id)
    if done is None or done < (transaction.version if transaction.first is None else transaction.first):
        return False
    if done < transaction.version:
        raise HeadwaterError(
            "conflict",
            f"the table stands at {done} of {transaction.app_id}; "
            f"rows {transaction.first} to {transaction.version} would double a part",
        )
    return True


def _admit(handle: DeltaTable, rows: pa.Schema) -> pa.Schema:
    """Return the table's schema, with columns and struct members that only the rows have added to it first."""
    schema = pa.schema(handle.schema().to_arrow())
    wanted = merged(schema, rows)
    new = [field for field in wanted if schema.get_field_index(field.name) < 0 or schema.field(field.name) != field]
    if new:
        handle.alter.add_columns(list(Schema.from_arrow(pa.schema(new)).fields), post_commithook_properties=NO_HOOKS)
    return wanted


def _commit(handle: DeltaTable, file: DataFile, schema: pa.Schema, transaction: AppTransaction) -> None:
    now = time.time_ns() // 1_000_000
    handle.create_write_transaction(
        [AddAction(file.name, file.size, {}, now, data_change=True, stats=file.statistics)],
        "append",
        schema,
        commit_properties=CommitProperties(app_transactions=[Transaction(transaction.app_id, transaction.version)]),
        post_commithook_properties=NO_HOOKS,
    )
