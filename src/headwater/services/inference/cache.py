"""Answers kept by what was asked: the least recently used rows go first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import msgspec
import numpy as np

from headwater.services.inference.batch import Batch, Inputs, Share

_encode: Final = msgspec.msgpack.encode


class ResponseCache:
    """The answers of one version, ``entries`` rows of them at most. Used from one event loop.

    The key is the text of all that the model sees, fetched features included, so a feature that moves on is another
    question. What is kept is a copy of its own: it holds no batch of others in memory.
    """

    def __init__(self, entries: int) -> None:
        """Keep up to ``entries`` rows."""
        self.entries = entries
        self._found: OrderedDict[bytes, Share] = OrderedDict()
        self._rows = 0

    @property
    def rows(self) -> int:
        """Return how many rows are kept."""
        return self._rows

    def key(self, inputs: Inputs) -> bytes:
        """Return what names these inputs."""
        return _encode(inputs.rows) if inputs.matrix is None else inputs.matrix.tobytes()

    def get(self, key: bytes) -> Share | None:
        """Return the answer to these inputs, None where none is kept."""
        share = self._found.get(key)
        if share is not None:
            self._found.move_to_end(key)
        return share

    def put(self, key: bytes, share: Share) -> None:
        """Keep an answer, unless it alone is more than there is room for."""
        count = share.stop - share.start
        if count > self.entries or key in self._found:
            return
        self._found[key] = _own(share)
        self._rows += count
        while self._rows > self.entries:
            _key, gone = self._found.popitem(last=False)
            self._rows -= gone.stop - gone.start


def _own(share: Share) -> Share:
    batch, start, stop = share.batch, share.start, share.stop
    matrix = None if batch.matrix is None else batch.matrix[start:stop].copy()
    outputs = [np.array(output[start:stop]) for output in batch.outputs]
    return Share(Batch(tuple(batch.rows[start:stop]), matrix, outputs), 0, stop - start)
