"""The second step of validation: typed rows of several bodies into one exact Arrow batch.

Columns are built in chunks that stay in the processor's cache. Rows that a column doubts go back to the exact check;
its verdict is final, and a row that it accepts takes its values from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.contracts.assembly import StructColumn
from headwater.contracts.columns import Doubts
from headwater.contracts.grammar import MICROSECOND
from headwater.contracts.model import Contract
from headwater.contracts.reading import Reading
from headwater.contracts.record import RowCheck
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
        typed = [row for batch in batches for row in batch.typed] if len(batches) > 1 else batches[0].typed
        starts = np.cumsum([0, *(len(batch.typed) for batch in batches)])
        refused: dict[int, Sequence[FieldError]] = {}
        received = np.repeat(np.asarray(received_at_us, dtype=np.int64), np.diff(starts))
        extras = {int(starts[n]) + at: extra for n, batch in enumerate(batches) for at, extra in batch.extras.items()}
        chunks = [
            self._chunk(slice(begin, begin + CHUNK_ROWS), typed, batches, starts, received, extras, refused)
            for begin in range(0, len(typed), CHUNK_ROWS)
        ]
        batch = pa.concat_batches(chunks) if chunks else pa.RecordBatch.from_pylist([], schema=self.schema)
        return Columns(batch, *self._shares(batches, starts, refused))

    def _chunk(
        self,
        part: slice,
        typed: Sequence[Any],
        batches: Sequence[Reading],
        starts: npt.NDArray[np.int64],
        received: npt.NDArray[np.int64],
        extras: dict[int, bytes],
        refused: dict[int, Sequence[FieldError]],
    ) -> pa.RecordBatch:
        rows = typed[part]
        doubts = Doubts()
        arrays = self._rows.build_members(rows, None, doubts)
        begin = part.start
        arrays.append(_extra_column(begin, len(rows), extras))
        cured: dict[int, Any] = {}
        dropped: list[int] = []
        for at in doubts.rows().tolist():
            verdict = self._judge(begin + at, batches, starts)
            if verdict.errors:
                refused[begin + at] = verdict.errors
                dropped.append(at)
            else:
                cured[at] = verdict.row
        if cured:
            arrays = self._cure(arrays, cured)
        late = self._lateness.flags(arrays, received[part], _refuse_into(refused, dropped, begin))
        batch = pa.RecordBatch.from_arrays([*arrays, late], schema=self.schema)
        return batch if not dropped else batch.filter(pa.array(_kept(len(rows), dropped)))

    def _judge(self, at: int, batches: Sequence[Reading], starts: npt.NDArray[np.int64]) -> Any:
        number = int(np.searchsorted(starts, at, side="right")) - 1
        reading = batches[number]
        row = int(reading.positions[at - int(starts[number])])
        return self._check(reading.text(row), reading.limits.max_depth)

    def _cure(self, arrays: list[pa.Array], cured: dict[int, Any]) -> list[pa.Array]:
        """Replace whole rows by what the exact check read."""
        fresh = self._rows.build_members(list(cured.values()), None, Doubts())
        size = len(arrays[0])
        order = np.arange(size)
        order[list(cured)] = size + np.arange(len(cured))
        own = [pa.concat_arrays([old, new]).take(order) for old, new in zip(arrays, fresh, strict=False)]
        return own + arrays[len(fresh) :]

    def _shares(
        self, batches: Sequence[Reading], starts: npt.NDArray[np.int64], refused: dict[int, Sequence[FieldError]]
    ) -> tuple[tuple[Sequence[int], ...], tuple[Sequence[RowFault], ...]]:
        positions: list[Sequence[int]] = []
        faults: list[Sequence[RowFault]] = []
        found = np.array(sorted(refused), dtype=np.int64)
        for number, reading in enumerate(batches):
            begin, end = int(starts[number]), int(starts[number + 1])
            mine = found[(found >= begin) & (found < end)]
            if not len(mine) and not reading.faults:
                positions.append(range(reading.received))
                faults.append(())
                continue
            late = [self._fault(reading, int(reading.positions[at - begin]), refused[at]) for at in mine.tolist()]
            positions.append(np.delete(reading.positions, mine - begin).tolist())
            faults.append(sorted((*reading.faults, *late), key=lambda fault: fault.row))
        return tuple(positions), tuple(faults)


def _refuse_into(refused: dict[int, Sequence[FieldError]], dropped: list[int], begin: int) -> Refuse:
    def refuse(at: int, errors: Sequence[FieldError]) -> None:
        if begin + at not in refused:
            refused[begin + at] = errors
            dropped.append(at)

    return refuse


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
