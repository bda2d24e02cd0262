"""The second step of validation: typed rows of several bodies into one exact Arrow batch.

Columns are built in chunks that stay in the processor's cache. Rows that a column doubts go back to the exact check;
its verdict is final, and a row that it accepts takes its values from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from headwater.contracts.assembly import CHUNK_ROWS, Built, RowColumns
from headwater.contracts.grammar import MICROSECOND
from headwater.contracts.model import Contract
from headwater.contracts.reading import Reading
from headwater.contracts.record import RowCheck, Verdict
from headwater.contracts.rows import Columns, FieldError, RowFault
from headwater.contracts.types import arrow_schema

EXTRA: Final = "_extra"
LATE: Final = "_hw_late"

# What most chunks have in the two columns of our own; slices of these cost nothing.
_NO_EXTRA: Final = pa.nulls(CHUNK_ROWS, pa.string())
_NOT_LATE: Final = pa.array(np.zeros(CHUNK_ROWS, dtype=bool))

Refuse = Callable[[int, Sequence[FieldError]], None]


def accepted_schema(contract: Contract) -> pa.Schema:
    """Return the schema of accepted rows: the contract's fields, ``_extra`` and ``_hw_late``."""
    own = arrow_schema(contract)
    return own.append(pa.field(EXTRA, pa.string())).append(pa.field(LATE, pa.bool_()))


class Stretch(NamedTuple):
    """Typed rows of one body, from ``begin``, that lie side by side in a chunk."""

    body: int
    begin: int
    size: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Columns and where their rows came from."""

    built: Built
    stretches: Sequence[Stretch]

    @property
    def size(self) -> int:
        """Return the number of rows."""
        return self.built.size


class Tabulator:
    """Builds batches of one contract."""

    def __init__(
        self,
        contract: Contract,
        check: RowCheck,
        columns: RowColumns,
        fault: Callable[[Reading, int, Sequence[FieldError]], RowFault],
    ) -> None:
        """Prepare the columns; ``fault`` words the refusal of a row."""
        self.schema = accepted_schema(contract)
        self._check = check
        self._columns = columns
        self._fault = fault
        self._lateness = Punctuality(contract)

    def columnise(self, bodies: Sequence[Reading], received_at_us: Sequence[int]) -> Columns:
        """Return all accepted rows as one batch, and every refused row of every body."""
        group = Group(bodies, received_at_us, [{} for _ in bodies])
        batches = [self._finish(chunk, group) for chunk in self._chunks(bodies)]
        if len(batches) == 1:
            batch = batches[0]
        else:
            batch = pa.concat_batches(batches) if batches else pa.RecordBatch.from_pylist([], schema=self.schema)
        return Columns(batch, *self._shares(group))

    def _chunks(self, bodies: Sequence[Reading]) -> Iterator[Chunk]:
        """Yield the columns of all bodies in order; rows still pending are built together across bodies."""
        rows: list[Any] = []
        stretches: list[Stretch] = []
        for number, reading in enumerate(bodies):
            if rows and (reading.built or len(rows) + len(reading.pending) > CHUNK_ROWS):
                yield Chunk(self._columns.build(rows), stretches)
                rows, stretches = [], []
            begin = 0
            for built in reading.built:
                yield Chunk(built, [Stretch(number, begin, built.size)])
                begin += built.size
            if reading.pending:
                stretches.append(Stretch(number, begin, len(reading.pending)))
                rows.extend(reading.pending)
        if rows:
            yield Chunk(self._columns.build(rows), stretches)

    def _finish(self, chunk: Chunk, group: Group) -> pa.RecordBatch:
        arrays = [*chunk.built.arrays, group.extra_column(chunk)]
        cured: dict[int, Any] = {}
        dropped: list[int] = []

        def refuse(at: int, errors: Sequence[FieldError]) -> None:
            if at not in dropped:
                body, typed = group.origin(chunk, at)
                group.refused[body][typed] = errors
                dropped.append(at)

        for at in chunk.built.doubted.tolist():
            verdict = self._judge(group, chunk, at)
            if verdict.errors:
                refuse(at, verdict.errors)
            else:
                cured[at] = verdict.row
        if cured:
            arrays = self._cure(arrays, cured)
        late = self._lateness.flags(arrays, lambda: group.received(chunk), refuse)
        batch = pa.RecordBatch.from_arrays([*arrays, late], schema=self.schema)
        return batch if not dropped else batch.filter(pa.array(_kept(chunk.size, dropped)))

    def _judge(self, group: Group, chunk: Chunk, at: int) -> Verdict:
        body, typed = group.origin(chunk, at)
        reading = group.bodies[body]
        return self._check(reading.text(int(reading.positions[typed])), reading.limits.max_depth)

    def _cure(self, arrays: list[pa.Array], cured: dict[int, Any]) -> list[pa.Array]:
        """Replace whole rows by what the exact check read."""
        fresh = self._columns.build(list(cured.values())).arrays
        size = len(arrays[0])
        order = np.arange(size)
        order[list(cured)] = size + np.arange(len(cured))
        own = [pa.concat_arrays([old, new]).take(order) for old, new in zip(arrays, fresh, strict=False)]
        return own + arrays[len(fresh) :]

    def _shares(self, group: Group) -> tuple[tuple[Sequence[int], ...], tuple[Sequence[RowFault], ...]]:
        positions: list[Sequence[int]] = []
        faults: list[Sequence[RowFault]] = []
        for reading, refused in zip(group.bodies, group.refused, strict=True):
            if not refused and not reading.faults:
                positions.append(range(reading.received))
                faults.append(())
                continue
            late = [self._fault(reading, int(reading.positions[at]), errors) for at, errors in refused.items()]
            positions.append(np.delete(reading.positions, list(refused)).tolist())
            faults.append(sorted((*reading.faults, *late), key=lambda fault: fault.row))
        return tuple(positions), tuple(faults)


@dataclass(frozen=True, slots=True)
class Group:
    """The bodies that become one batch; ``refused`` gathers, for each, errors by typed row."""

    bodies: Sequence[Reading]
    received_at_us: Sequence[int]
    refused: list[dict[int, Sequence[FieldError]]]

    @staticmethod
    def origin(chunk: Chunk, at: int) -> tuple[int, int]:
        """Return the body of a chunk's row, and which of the body's typed rows it is."""
        for stretch in chunk.stretches:
            if at < stretch.size:
                return stretch.body, stretch.begin + at
            at -= stretch.size
        raise IndexError(at)

    def received(self, chunk: Chunk) -> npt.NDArray[np.int64]:
        """Return the instant of receipt of each row of a chunk."""
        instants = [self.received_at_us[stretch.body] for stretch in chunk.stretches]
        return np.repeat(np.asarray(instants, dtype=np.int64), [stretch.size for stretch in chunk.stretches])

    def extra_column(self, chunk: Chunk) -> pa.Array:
        """Return the unknown members of a chunk's rows."""
        if not any(self.bodies[stretch.body].extras for stretch in chunk.stretches):
            return _NO_EXTRA.slice(0, chunk.size)
        texts = [
            self.bodies[stretch.body].extras.get(stretch.begin + at)
            for stretch in chunk.stretches
            for at in range(stretch.size)
        ]
        return pa.array(texts, pa.binary()).cast(pa.string())


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

    def flags(
        self, arrays: Sequence[pa.Array], received: Callable[[], npt.NDArray[np.int64]], refuse: Refuse
    ) -> pa.Array:
        """Return the late flag of each row; ``refuse`` takes those that are too late or too far in the future."""
        if self._column is None:
            return _NOT_LATE.slice(0, len(arrays[0]))
        events = arrays[self._column].cast(pa.int64())
        present = events.is_valid().to_numpy(zero_copy_only=False)
        age = received() - events.fill_null(0).to_numpy(zero_copy_only=False)
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
