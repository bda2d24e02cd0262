"""The second step of validation: typed rows of several bodies into one exact Arrow batch.

Columns are built in chunks that stay in the processor's cache. Rows that a column doubts go back to the exact check;
its verdict is final, and a row that it accepts takes its values from there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.contracts.assembly import StructColumn
from headwater.contracts.columns import Doubts
from headwater.contracts.grammar import MICROSECOND
from headwater.contracts.model import Contract
from headwater.contracts.reading import Reading
from headwater.contracts.record import RowCheck, Verdict
from headwater.contracts.rows import Columns, FieldError, RowFault
from headwater.contracts.types import arrow_schema

CHUNK_ROWS: Final = 1_024
EXTRA: Final = "_extra"
LATE: Final = "_hw_late"

Refuse = Callable[[int, Sequence[FieldError]], None]


def accepted_schema(contract: Contract) -> pa.Schema:
    """Return the schema of accepted rows: the contract's fields, ``_extra`` and ``_hw_late``."""
    own = arrow_schema(contract)
    return own.append(pa.field(EXTRA, pa.string())).append(pa.field(LATE, pa.bool_()))


class Tabulator:
    """Builds batches of one contract."""

    def __init__(
        self, contract: Contract, check: RowCheck, fault: Callable[[Reading, int, Sequence[FieldError]], RowFault]
    ) -> None:
        """Prepare the columns; ``fault`` words the refusal of a row."""
        self.schema = accepted_schema(contract)
        self._check = check
        self._rows = StructColumn(check.struct)
        self._fault = fault
        self._lateness = Punctuality(contract)

    def columnise(self, batches: Sequence[Reading], received_at_us: Sequence[int]) -> Columns:
        """Return all accepted rows as one batch, and every refused row of every body."""
        group = Group.of(batches, received_at_us)
        chunks = [self._chunk(group, begin) for begin in range(0, len(group.typed), CHUNK_ROWS)]
        if len(chunks) == 1:
            return Columns(chunks[0], *self._shares(group))
        batch = pa.concat_batches(chunks) if chunks else pa.RecordBatch.from_pylist([], schema=self.schema)
        return Columns(batch, *self._shares(group))

    def _chunk(self, group: Group, begin: int) -> pa.RecordBatch:
        rows = group.typed[begin : begin + CHUNK_ROWS]
        doubts = Doubts()
        arrays = self._rows.build_members(rows, None, doubts)
        arrays.append(_extra_column(begin, len(rows), group.extras))
        cured: dict[int, Any] = {}
        dropped: list[int] = []

        def refuse(at: int, errors: Sequence[FieldError]) -> None:
            if begin + at not in group.refused:
                group.refused[begin + at] = errors
                dropped.append(at)

        for at in doubts.rows().tolist():
            verdict = self._judge(group, begin + at)
            if verdict.errors:
                refuse(at, verdict.errors)
            else:
                cured[at] = verdict.row
        if cured:
            arrays = self._cure(arrays, cured)
        late = self._lateness.flags(arrays, group.received[begin : begin + CHUNK_ROWS], refuse)
        batch = pa.RecordBatch.from_arrays([*arrays, late], schema=self.schema)
        return batch if not dropped else batch.filter(pa.array(_kept(len(rows), dropped)))

    def _judge(self, group: Group, at: int) -> Verdict:
        reading, row = group.origin(at)
        return self._check(reading.text(row), reading.limits.max_depth)

    def _cure(self, arrays: list[pa.Array], cured: dict[int, Any]) -> list[pa.Array]:
        """Replace whole rows by what the exact check read."""
        fresh = self._rows.build_members(list(cured.values()), None, Doubts())
        size = len(arrays[0])
        order = np.arange(size)
        order[list(cured)] = size + np.arange(len(cured))
        own = [pa.concat_arrays([old, new]).take(order) for old, new in zip(arrays, fresh, strict=False)]
        return own + arrays[len(fresh) :]

    def _shares(self, group: Group) -> tuple[tuple[Sequence[int], ...], tuple[Sequence[RowFault], ...]]:
        positions: list[Sequence[int]] = []
        faults: list[Sequence[RowFault]] = []
        found = np.array(sorted(group.refused), dtype=np.int64)
        for reading, begin, end in zip(group.batches, group.starts[:-1], group.starts[1:], strict=True):
            mine = found[(found >= begin) & (found < end)]
            if not len(mine) and not reading.faults:
                positions.append(range(reading.received))
                faults.append(())
                continue
            late = [self._fault(reading, int(reading.positions[at - begin]), group.refused[at]) for at in mine.tolist()]
            positions.append(np.delete(reading.positions, mine - begin).tolist())
            faults.append(sorted((*reading.faults, *late), key=lambda fault: fault.row))
        return tuple(positions), tuple(faults)


@dataclass(frozen=True, slots=True)
class Group:
    """The bodies that become one batch, laid end to end.

    Attributes:
        starts: where each body's typed rows begin, and behind the last where they end.
        received: the instant of receipt of each typed row.
        extras: JSON text of unknown members by typed row.
        refused: errors of typed rows that columns or lateness refused, filled as chunks are built.
    """

    batches: Sequence[Reading]
    typed: Sequence[Any]
    starts: list[int]
    received: npt.NDArray[np.int64]
    extras: dict[int, bytes]
    refused: dict[int, Sequence[FieldError]]

    @classmethod
    def of(cls, batches: Sequence[Reading], received_at_us: Sequence[int]) -> Group:
        """Lay bodies end to end."""
        sizes = [len(batch.typed) for batch in batches]
        starts = [0, *accumulate(sizes)]
        typed = batches[0].typed if len(batches) == 1 else list(chain.from_iterable(b.typed for b in batches))
        received = np.repeat(np.asarray(received_at_us, dtype=np.int64), sizes)
        extras = {
            start + at: extra
            for start, batch in zip(starts, batches, strict=False)
            for at, extra in batch.extras.items()
        }
        return cls(batches, typed, starts, received, extras, {})

    def origin(self, at: int) -> tuple[Reading, int]:
        """Return the body of a typed row and the row's number there."""
        number = bisect_right(self.starts, at) - 1
        reading = self.batches[number]
        return reading, int(reading.positions[at - self.starts[number]])


def _extra_column(begin: int, size: int, extras: dict[int, bytes]) -> pa.Array:
    if not extras:
        return pa.nulls(size, pa.string())
    return pa.array([extras.get(begin + at) for at in range(size)], pa.binary()).cast(pa.string())


def _kept(size: int, dropped: Iterable[int]) -> npt.NDArray[np.bool_]:
    kept = np.ones(size, dtype=bool)
    kept[list(dropped)] = False
    return kept


class Punctuality:
    """Compares event times with the time of receipt: flags late rows, refuses those beyond what the contract allows."""

    def __init__(self, contract: Contract) -> None:
        """Find the event time among the contract's fields."""
        names = [field.name for field in contract.fields]
        self._column = names.index(contract.event_time) if contract.event_time is not None else None
        self._path = f"/{contract.event_time}"
        lateness = contract.lateness
        self._on_time = lateness.on_time // MICROSECOND
        is_limited = lateness.late_action != "accept" and lateness.allowed is not None
        self._allowed = lateness.allowed // MICROSECOND if is_limited and lateness.allowed is not None else None
        is_skew_limited = lateness.future_action != "accept" and lateness.max_skew is not None
        self._max_skew = lateness.max_skew // MICROSECOND if is_skew_limited and lateness.max_skew is not None else None

    def flags(self, arrays: Sequence[pa.Array], received: npt.NDArray[np.int64], refuse: Refuse) -> pa.Array:
        """Return the late flag of each row; ``refuse`` takes those that are too late or too far in the future."""
        if self._column is None:
            return pa.array(np.zeros(len(received), dtype=bool))
        events = arrays[self._column].cast(pa.int64())
        present = events.is_valid().to_numpy(zero_copy_only=False)
        age = received - events.fill_null(0).to_numpy(zero_copy_only=False)
        if self._allowed is not None:
            message = "the event is older than the contract allows"
            self._refuse_where((age > self._allowed) & present, "too_late", message, refuse)
        if self._max_skew is not None:
            message = "the event lies further in the future than the contract allows"
            self._refuse_where((-age > self._max_skew) & present, "in_future", message, refuse)
        return pa.array((age > self._on_time) & present)

    def _refuse_where(self, wrong: npt.NDArray[np.bool_], code: str, message: str, refuse: Refuse) -> None:
        for at in np.flatnonzero(wrong).tolist():
            refuse(at, (FieldError(code, self._path, message),))
