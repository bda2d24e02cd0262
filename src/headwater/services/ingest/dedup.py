"""Which rows of a segment are new: decided inside the transaction, where nobody can come in between.

Rows that lack a part of their key are refused before: they would all be the same one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
from msgspec import Struct

from headwater.contracts.rows import Columns, FieldError, RowFault, RowKeys
from headwater.core.errors import ROW_CODES
from headwater.engines.journal.protocol import JournalTransaction
from headwater.services.ingest.verdict import Refusal, Submission

# The first byte of what is remembered under a quarantine id says what became of the row.
REPLAYED: Final = b"\x01" + bytes(15)
DISCARDED: Final = b"\x02" + bytes(15)


class Part(Struct):
    """One submission's share of a segment: its rows in the batch are ``start`` to ``stop``.

    Attributes:
        rows: the row number in the request of each of them.
        refusals: rows that the contract refused.
        batch_rejected: nothing of this request is stored, since a row was refused and the request wants all or none.
    """

    submission: Submission
    start: int
    stop: int
    rows: Sequence[int]
    refusals: Sequence[Refusal]
    batch_rejected: bool = False


class Choice(Struct):
    """What a part's rows are: indexes into the batch, except ``settled``, which holds row numbers of the request."""

    accepted: Sequence[int]
    duplicates: int = 0
    conflicts: list[int] = []
    settled: set[int] = set()
    fresh: dict[bytes, bytes] = {}


def require_keys(submissions: Sequence[Submission], columns: Columns) -> Columns:
    """Return the columns with the rows among the faults that lack a part of the key they are told apart by."""
    dedup = submissions[0].version.contract.dedup
    lacking: dict[int, str] = {}
    for name in dedup.key if dedup is not None else ():
        column = columns.batch.column(name)
        if column.null_count:
            for index in np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False)).tolist():
                lacking.setdefault(index, name)
    if not lacking:
        return columns
    positions: list[Sequence[int]] = []
    faults: list[Sequence[RowFault]] = []
    start = 0
    for submission, rows, refused in zip(submissions, columns.positions, columns.faults, strict=True):
        named = [(row, lacking.get(index)) for index, row in enumerate(rows, start)]
        keyless = [submission.fault(int(row), _key_missing(name)) for row, name in named if name is not None]
        positions.append([row for row, name in named if name is None])
        faults.append(sorted((*refused, *keyless), key=lambda fault: fault.row))
        start += len(rows)
    kept = [index for index in range(columns.batch.num_rows) if index not in lacking]
    return Columns(columns.batch.take(pa.array(kept, pa.int64())), tuple(positions), tuple(faults))


def _key_missing(name: str) -> FieldError:
    return FieldError("key_missing", f"/{name}", ROW_CODES["key_missing"])


def choose(
    transaction: JournalTransaction, parts: Sequence[Part], keys: RowKeys | None, *, conflicts_count: bool
) -> list[Choice]:
    """Return for each part which of its rows are new.

    A row whose key was seen before, in the table's history, in the segment or in its own request, is a duplicate; with
    ``conflicts_count``, one whose content differs from what was seen is a conflict. The first occurrence wins. A
    replayed row that was replayed or discarded before is *settled* and counts as a duplicate.
    """
    stream = parts[0].submission.dataset.stream
    seen: dict[bytes, bytes] = dict(transaction.find_keys(stream, keys.keys)) if keys is not None else {}
    choices: list[Choice] = []
    for part in parts:
        settled = _settled(transaction, part.submission)
        choice = _choose_rows(part, keys, seen, settled) if keys is not None else _all_but(part, settled)
        choice.duplicates += len(settled.intersection(refusal.fault.row for refusal in part.refusals))
        if not conflicts_count:
            choice.duplicates += len(choice.conflicts)
            choice.conflicts = []
        if not (choice.conflicts and part.submission.on_error == "reject_batch"):
            seen.update(choice.fresh)
        choices.append(choice)
    return choices


def _settled(transaction: JournalTransaction, submission: Submission) -> set[int]:
    """Return the rows of a replay that were dealt with before."""
    if not submission.earlier:
        return set()
    ids = [earlier.key_bytes for earlier in submission.earlier]
    known = transaction.find_keys(submission.dataset.quarantine_stream, ids)
    return {row for row, quarantine_id in enumerate(ids) if quarantine_id in known}


def _choose_rows(part: Part, keys: RowKeys, seen: Mapping[bytes, bytes], settled: set[int]) -> Choice:
    accepted: list[int] = []
    choice = Choice(accepted, settled=settled)
    fresh = choice.fresh
    for index, row in zip(range(part.start, part.stop), part.rows, strict=True):
        key, digest = keys.keys[index], keys.digests[index]
        known = seen.get(key) or fresh.get(key)
        if row in settled:
            choice.duplicates += 1
        elif known is None:
            fresh[key] = digest
            accepted.append(index)
        elif known == digest:
            choice.duplicates += 1
        else:
            choice.conflicts.append(index)
    return choice


def _all_but(part: Part, settled: set[int]) -> Choice:
    """Return the rows of a part without keys, less those dealt with before."""
    everything = range(part.start, part.stop)
    if not settled:
        return Choice(everything)
    accepted = [index for index, row in zip(everything, part.rows, strict=True) if row not in settled]
    return Choice(accepted, duplicates=len(everything) - len(accepted), settled=settled)
