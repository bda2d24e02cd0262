"""Reading refused rows back: from the quarantine table and from the journal, where the newest still wait.

Everything here blocks and belongs in a thread.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from heapq import nlargest
from itertools import accumulate
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.core.errors import HeadwaterError
from headwater.core.ids import ALPHABET, TEXT_LENGTH, parse_id
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import TableStore
from headwater.services.ingest.encoding import decode_block
from headwater.services.ingest.quarantine import SCHEMA
from headwater.services.ingest.verdict import QUARANTINE_PREFIX

SAMPLES: Final = 3
_UNSEALED_ROWS: Final = 50_000
_UNSEALED_BYTES: Final = 64 << 20
_THREADS: Final = 2
# Rows come from outside and so does their size; nobody who looks at them may take the memory of those who send them.
_DUCKDB_LIMITS: Final[dict[str, Any]] = {"threads": _THREADS, "memory_limit": "512MB", "temp_directory": ""}
_MEMBERS_AT_ONCE: Final = 20_000
_DECODED_BYTES: Final = 256 << 20
PAGE_BYTES: Final = 32 << 20
_VALUES: Final = np.zeros(256, np.uint8)
_VALUES[list(ALPHABET.encode())] = range(len(ALPHABET))
_COLUMNS: Final = ", ".join(f'"{name}"' for name in SCHEMA.names)
_GROUPS: Final = """
    SELECT fingerprint, dataset_id, arg_max(contract_version, quarantine_id), arg_max(first_code, quarantine_id),
        arg_max(first_path, quarantine_id), count(*), min(received_at), max(received_at),
        list_slice(list_sort(list(DISTINCT principal_id)), 1, 100)
    FROM (
        SELECT DISTINCT ON (quarantine_id)
            quarantine_id, dataset_id, contract_version, fingerprint, first_code, first_path, received_at, principal_id
        FROM copies WHERE list_contains(?::VARCHAR[], dataset_id)
    )
    GROUP BY fingerprint, dataset_id ORDER BY max(received_at) DESC
"""
_MEMBERS: Final = """
    SELECT DISTINCT fingerprint, dataset_id, quarantine_id FROM copies WHERE list_contains(?::VARCHAR[], dataset_id)
"""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a dataset refused for the same reasons. ``samples`` are the newest that wait for a verdict."""

    fingerprint: str
    dataset_id: str
    contract_version: str
    code: str
    path: str
    count: int
    open: int
    first_at: datetime
    last_at: datetime
    samples: Sequence[Mapping[str, Any]] = ()
    principal_ids: Sequence[str] = ()


@dataclass(slots=True)
class _Waiting:
    """The rows of a group that have had no verdict: how many, and the identifiers of the newest."""

    count: int = 0
    newest: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which refused rows: of a dataset, perhaps of one group or named, between two identifiers (both exclusive)."""

    dataset_id: str
    fingerprint: str | None = None
    after: str | None = None
    before: str | None = None
    ids: tuple[str, ...] | None = None

    def condition(self) -> tuple[str, list[Any]]:
        """Return the SQL condition and its bindings."""
        parts: list[str] = ["dataset_id = ?"]
        bindings: list[Any] = [self.dataset_id]
        if self.ids is not None:
            parts.append("list_contains(?::VARCHAR[], quarantine_id)")
            bindings.append(list(self.ids))
        for part, value in (
            ("fingerprint = ?", self.fingerprint),
            ("quarantine_id > ?", self.after),
            ("quarantine_id < ?", self.before),
        ):
            if value is not None:
                parts.append(part)
                bindings.append(value)
        return " AND ".join(parts), bindings


@dataclass(frozen=True, slots=True)
class Page:
    """Refused rows, and whether none follow them."""

    rows: list[dict[str, Any]]
    is_last: bool


class KeptRows:
    """The refused rows of one environment."""

    def __init__(self, journal: Journal, lake: TableStore, stream: str) -> None:
        """Read the quarantine ``stream``."""
        self._journal = journal
        self._lake = lake
        self._stream = stream

    def groups(self, dataset_ids: Collection[str], *, samples: int = SAMPLES) -> list[Group]:
        """Return the groups of these datasets, the most recent first."""
        with self._connect() as connection:
            found = connection.execute(_GROUPS, [sorted(dataset_ids)]).fetchall()
            waiting = self._waiting(connection, dataset_ids, samples)
            wanted = [identity for group in waiting.values() for identity in group.newest]
            rows = {row["quarantine_id"]: row for row in self._rows(connection, wanted)}
        groups: list[Group] = []
        for fingerprint, dataset_id, contract_version, code, path, count, first_at, last_at, principals in found:
            open_ = waiting[fingerprint, dataset_id]
            shown = [rows[identity] for identity in open_.newest]
            groups.append(
                Group(
                    fingerprint,
                    dataset_id,
                    contract_version,
                    code,
                    path,
                    count,
                    open_.count,
                    first_at,
                    last_at,
                    shown,
                    principals,
                )
            )
        return groups

    def _waiting(
        self, connection: duckdb.DuckDBPyConnection, dataset_ids: Collection[str], samples: int
    ) -> Mapping[tuple[str, str], _Waiting]:
        """Return of each group how many rows wait for a verdict, and the newest of them.

        The journal knows the verdicts, DuckDB the rows: they meet here, some thousand rows at a time.
        """
        waiting: dict[tuple[str, str], _Waiting] = defaultdict(_Waiting)
        members = connection.execute(_MEMBERS, [sorted(dataset_ids)]).to_arrow_reader(_MEMBERS_AT_ONCE)
        for batch in members:
            fingerprints, datasets, ids = (column.to_pylist() for column in batch.columns)
            keys = _keys_of(batch.column(2))
            settled = self._journal.find_keys(self._stream, keys)
            open_ids: dict[tuple[str, str], list[str]] = defaultdict(list)
            for fingerprint, dataset_id, identity, key in zip(fingerprints, datasets, ids, keys, strict=True):
                if key not in settled:
                    open_ids[fingerprint, dataset_id].append(identity)
            for group, more in open_ids.items():
                waiting[group].count += len(more)
                waiting[group].newest = nlargest(samples, [*waiting[group].newest, *more])
        return waiting

    def page(self, where: Filter, *, limit: int, newest_first: bool) -> Page:
        """Return up to ``limit`` refused rows in the order of their identifiers, which is that of time.

        A page ends early, but never before its first row, where its rows would take more than ``PAGE_BYTES``.
        """
        condition, bindings = where.condition()
        order = "DESC" if newest_first else "ASC"
        with self._connect() as connection:
            found = connection.execute(
                f"""SELECT DISTINCT quarantine_id FROM copies WHERE {condition}
                ORDER BY quarantine_id {order} LIMIT {limit + 1}""",  # noqa: S608 - names and a number of ours; values are bound
                bindings,
            ).fetchall()
            ids = [quarantine_id for (quarantine_id,) in found]
            chosen = self._fitting(connection, ids[:limit])
            rows = {row["quarantine_id"]: row for row in self._rows(connection, chosen)}
            return Page([rows[quarantine_id] for quarantine_id in chosen], is_last=len(chosen) == len(ids))

    def settled(self, quarantine_ids: Iterable[str]) -> dict[str, bytes]:
        """Return which rows have had their verdict by now; the first byte of the value says which."""
        by_key = {parse_id(QUARANTINE_PREFIX, text).bytes: text for text in quarantine_ids}
        found = self._journal.find_keys(self._stream, list(by_key))
        return {by_key[key]: state for key, state in found.items()}

    @contextmanager
    def _connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend a connection whose view ``copies`` has every refused row once, or twice while it is being sealed.

        Raises:
            HeadwaterError: ``result_too_large`` when there are more of them than can be looked at.
        """
        # The journal first: what is sealed in between is then seen twice, rather than not at all.
        unsealed = self._unsealed()
        state = self._lake.state(self._stream)
        sources = [f"SELECT {_COLUMNS} FROM unsealed"]  # noqa: S608 - names of ours
        if state is not None and state.files:
            files = ", ".join("'" + file.replace("'", "''") + "'" for file in state.files)
            sources.append(f"SELECT {_COLUMNS} FROM read_parquet([{files}], union_by_name = true)")  # noqa: S608 - paths of our own table
        with duckdb.connect(":memory:", config=_DUCKDB_LIMITS) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("unsealed", unsealed)
            connection.execute(f"CREATE VIEW copies AS {' UNION ALL '.join(sources)}")
            try:
                yield connection
            except duckdb.OutOfMemoryException as error:
                raise HeadwaterError(
                    "result_too_large",
                    "there are too many quarantined rows to be looked at together",
                    hint="ask for one group or for fewer rows, or discard what nobody needs",
                ) from error

    def _unsealed(self) -> pa.Table:
        """Return the rows that wait in the journal, the oldest first, as far as there is room for them."""
        tables = [SCHEMA.empty_table()]
        size = 0
        for stored in self._journal.read(self._stream, max_rows=_UNSEALED_ROWS, max_bytes=_UNSEALED_BYTES):
            tables.append(decode_block(stored.block.payload))
            size += tables[-1].nbytes
            if size > _DECODED_BYTES:
                break  # the rest can be seen once it is sealed
        return pa.concat_tables(tables)

    def _fitting(self, connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> list[str]:
        """Return the first of these rows that are small enough together, at least one if there is any."""
        statement = """SELECT quarantine_id, max(coalesce(octet_length(raw), 0)) FROM copies
            WHERE list_contains(?::VARCHAR[], quarantine_id) GROUP BY quarantine_id"""
        sizes: dict[str, int] = dict(connection.execute(statement, [list(ids)]).fetchall()) if ids else {}
        totals = accumulate(sizes[quarantine_id] for quarantine_id in ids)
        count = sum(total <= PAGE_BYTES for total in totals)
        return list(ids[: max(count, 1)])

    def _rows(self, connection: duckdb.DuckDBPyConnection, ids: Sequence[str]) -> list[dict[str, Any]]:
        if not ids:
            return []
        statement = f"""SELECT DISTINCT ON (quarantine_id) {_COLUMNS} FROM copies
            WHERE list_contains(?::VARCHAR[], quarantine_id)"""  # noqa: S608 - names of ours
        rows: list[dict[str, Any]] = connection.execute(statement, [list(ids)]).to_arrow_table().to_pylist()
        return rows


def _keys_of(ids: pa.Array) -> list[bytes]:
    """Return the 16 bytes behind each quarantine id: ``parse_id`` for many, which one by one takes longer than SQL."""
    length = len(QUARANTINE_PREFIX) + 1 + TEXT_LENGTH
    if ids.null_count or pc.any(pc.not_equal(pc.binary_length(ids), length)).as_py():
        raise ValueError("the quarantine table holds what is no quarantine id")
    letters = np.frombuffer(b"".join(ids.cast(pa.binary()).to_pylist()), np.uint8).reshape(-1, length)[:, -TEXT_LENGTH:]
    # Five bits a letter, most significant first; 26 letters are two bits more than 16 bytes, and these are zero.
    bits = np.unpackbits(_VALUES[letters][:, :, None], axis=2)[:, :, 3:].reshape(len(ids), 5 * TEXT_LENGTH)[:, 2:]
    packed = np.packbits(bits, axis=1).tobytes()
    return [packed[start : start + 16] for start in range(0, len(packed), 16)]
