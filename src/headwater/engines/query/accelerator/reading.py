"""A query that tries the accelerator and goes on with Parquet when that fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import duckdb
import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.engines.query.accelerator.instance import NotCovered
from headwater.engines.query.protocol import Column, Reading

ACCELERATOR: Final = "accelerator"
PARQUET: Final = "parquet"
_BROKEN: Final = (duckdb.IOException, duckdb.InternalException, duckdb.FatalException, duckdb.SerializationException)
_NOT_HERE: Final = (duckdb.OutOfMemoryException, NotCovered, OSError, MemoryError)


class TieredReading:
    """Answers from the accelerator, or from Parquet once it is clear that the accelerator cannot.

    What it has to hand over first is read before anything is handed over, so that nothing is answered twice.
    """

    def __init__(self, quick: Reading, otherwise: Callable[[], Reading], failed: Callable[[bool], None]) -> None:
        """Try ``quick``; ``failed`` is told once it could not, and whether its files are to blame."""
        self._reading = quick
        self._otherwise = otherwise
        self._failed = failed
        self._first: pa.RecordBatch | None = None
        self._rest: Iterator[pa.RecordBatch] | None = None
        self._is_interrupted = False
        self.tier = ACCELERATOR

    @property
    def columns(self) -> Sequence[Column]:
        """Return the result's columns."""
        self._begin()
        return self._reading.columns

    @property
    def schema(self) -> pa.Schema:
        """Return the schema of the batches."""
        self._begin()
        return self._reading.schema

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Return the rows as they come; errors as for any reading."""
        rest = self._begin()
        first, self._first = self._first, None
        if first is not None:
            yield first
        try:
            yield from rest
        except HeadwaterError as error:
            if self.tier == ACCELERATOR and isinstance(error.__cause__, _BROKEN):
                self._failed(True)
            raise

    def interrupt(self) -> None:
        """Stop as soon as possible."""
        self._is_interrupted = True
        self._reading.interrupt()

    def close(self) -> None:
        """Release what the query holds."""
        self._reading.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> Iterator[pa.RecordBatch]:
        if self._rest is None:
            try:
                self._rest = self._reading.batches()
                self._first = next(self._rest, None)
            except NotCovered:
                self._fall(is_broken=False)
            except HeadwaterError as error:
                if self._is_interrupted or not isinstance(error.__cause__, (*_BROKEN, *_NOT_HERE)):
                    raise
                self._fall(is_broken=isinstance(error.__cause__, _BROKEN))
        assert self._rest is not None
        return self._rest

    def _fall(self, *, is_broken: bool) -> None:
        self._failed(is_broken)
        self._reading.close()
        self._reading = self._otherwise()
        self.tier = PARQUET
        if self._is_interrupted:
            self._reading.interrupt()
        self._rest = self._reading.batches()
