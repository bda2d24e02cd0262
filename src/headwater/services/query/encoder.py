"""What every format of a result does: ``begin``, then ``encode`` for each batch, then ``end``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import pyarrow as pa

from headwater.engines.query.protocol import Column


class Encoder(Protocol):
    """Writes one result. Used once, batch after batch, and closed whether it came to its end or not."""

    def begin(self, meta: Mapping[str, Any]) -> bytes:
        """Return what stands before the rows."""
        ...

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """Return the rows of a batch."""
        ...

    def end(self) -> bytes:
        """Return what stands behind the rows; a reader that lacks it was cut off. Gives back what was taken."""
        ...

    def finish(self) -> Iterable[bytes]:
        """Return the same piece by piece."""
        ...

    def close(self) -> None:
        """Give back what was taken beside memory."""
        ...


class PlainEncoder:
    """What most encoders have in common: nothing to say at the beginning and at the end, nothing to give back."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        """Write results of these columns, whose names differ."""
        self.columns = columns
        self.names = [column.name for column in columns]

    def begin(self, meta: Mapping[str, Any]) -> bytes:  # noqa: ARG002 - most formats have no place for it
        """Return nothing."""
        return b""

    def end(self) -> bytes:
        """Return nothing."""
        return b""

    def finish(self) -> Iterable[bytes]:
        """Return what ``end`` does."""
        return (self.end(),)

    def close(self) -> None:
        """Give back nothing."""
