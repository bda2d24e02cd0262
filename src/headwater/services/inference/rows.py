"""What was predicted, as columns: the groups of one version joined, for the log and for the profiles."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from copy import copy
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from headwater.services.inference.sidecar.wire import Group, Output

WHOLE: Final = 10_000


class Rows:
    """Groups of one version as one: values by request with ``counts``, or by row.

    Inputs are a ``block`` of float32 or float64, fields by rows with NaN for what was absent, where a model takes
    numbers alone; columns otherwise.
    """

    def __init__(self, groups: Sequence[Group], fields: int) -> None:
        """Join ``groups`` of a version with as many inputs as ``fields`` says."""
        self.counts = np.array([count for group in groups for count in group.counts])
        self.ids = _joined([group.ids for group in groups])
        self.routes = _joined([_each(group.routes, group) for group in groups])
        self.principals = _joined([_each(group.principals, group) for group in groups])
        self.requests = _joined([group.requests for group in groups])
        self.predicted_at_us = np.array(_joined([group.predicted_at_us for group in groups]), np.int64)
        self.latency_us = np.array(_joined([group.latency_us for group in groups]), np.int64)
        self.features = _by_row(groups, [group.features for group in groups])
        self.shadow_of = _by_row(groups, [group.shadow_of for group in groups])
        self.overrides = _by_row(groups, [group.overrides for group in groups])
        self.block, self._columns = _inputs(groups, fields)
        self._absent = None if self.block is None else _absent(self.block)
        self.outputs = [_output(list(parts)) for parts in zip(*(group.outputs for group in groups), strict=True)]

    def __len__(self) -> int:
        return len(self.ids)

    def column(self, index: int, kind: pa.DataType) -> pa.Array:
        """Return an input as an Arrow array; what was absent is null. ``kind`` is always the same without a block."""
        if self.block is not None:
            absent = self._absent[index] if self._absent is not None else None
            array = pa.array(self.block[index], mask=absent)
            return array if array.type == kind else array.cast(kind)
        found = self._columns[index]
        if not isinstance(found, pa.Array):
            found = self._columns[index] = _array(found, kind)
        return found

    def take(self, kept: NDArray[np.intp]) -> Rows:
        """Return some of the rows, in their order."""
        taken = copy(self)
        requests = np.repeat(np.arange(len(self.counts)), self.counts)[kept]
        taken.counts = np.bincount(requests, minlength=len(self.counts))
        taken.ids = [self.ids[at] for at in kept]
        for name in ("features", "shadow_of", "overrides"):
            values = getattr(self, name)
            setattr(taken, name, None if values is None else [values[at] for at in kept])
        if self.block is not None:
            taken.block = np.take(self.block, kept, axis=1)
            taken._absent = _absent(taken.block)  # noqa: SLF001 - a copy of itself
        taken._columns = [_some(column, kept) for column in self._columns]  # noqa: SLF001 - a copy of itself
        taken.outputs = [_some(values, kept) for values in self.outputs]
        return taken

    def sampled(self, share_bps: int) -> NDArray[np.intp] | None:
        """Return which rows a log of this share has, by hash: None for all, the same for a shadow's rows.

        A prediction is in every sample of a larger share too.
        """
        if share_bps >= WHOLE:
            return None
        names = self.ids
        if self.shadow_of is not None:
            names = [served or own for served, own in zip(self.shadow_of, self.ids, strict=True)]
        points = np.fromiter((zlib.crc32(name.encode()) % WHOLE for name in names), np.int64, len(names))
        return np.flatnonzero(points < share_bps)


def _absent(block: NDArray[Any]) -> NDArray[np.bool_] | None:
    absent: NDArray[np.bool_] = np.isnan(block)
    return absent if absent.any() else None


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    try:
        return pa.array(values, kind, from_pandas=True)
    except pa.ArrowInvalid:
        if kind != pa.float64():
            raise
        # An integer that no double is exactly: the model was given the nearest one.
        nearest = np.array([np.nan if value is None else float(value) for value in values], np.float64)
        return pa.array(nearest, kind, from_pandas=True)


def _some(values: Any, kept: NDArray[np.intp]) -> Any:
    if isinstance(values, np.ndarray):
        return values[kept]
    return values.take(pa.array(kept)) if isinstance(values, pa.Array) else [values[at] for at in kept]


def _joined(parts: Sequence[list[Any]]) -> list[Any]:
    return parts[0] if len(parts) == 1 else [value for part in parts for value in part]


def _each(texts: list[str], group: Group) -> list[str]:
    return texts * len(group.counts) if len(texts) == 1 else texts


def _by_row(groups: Sequence[Group], parts: Sequence[list[Any] | None]) -> list[Any] | None:
    """Return one value a row, None for the rows of groups that have none; None when no group has any."""
    if all(part is None for part in parts):
        return None
    filled = [[None] * len(group.ids) if part is None else part for group, part in zip(groups, parts, strict=True)]
    return _joined(filled)


def _inputs(groups: Sequence[Group], fields: int) -> tuple[NDArray[Any] | None, list[Any]]:
    if all(group.matrix is not None for group in groups):
        matrices = [_matrix(group, fields) for group in groups]
        whole = matrices[0] if len(matrices) == 1 else np.concatenate(matrices)
        return np.ascontiguousarray(whole.T), []
    rows: list[Any] = []
    for group in groups:
        rows.extend(group.rows or () if group.matrix is None else _matrix(group, fields).tolist())
    return None, list(zip(*rows, strict=True))


def _matrix(group: Group, fields: int) -> NDArray[Any]:
    return np.frombuffer(group.matrix or b"", "<f8").reshape(-1, fields)


def _output(parts: Sequence[Output]) -> NDArray[Any] | list[Any]:
    """Return an output of all groups: an array, or a list of values where these are objects."""
    if any(part.data is None for part in parts):
        return [value for part in parts for value in _values(part)]
    arrays = [np.frombuffer(part.data or b"", part.dtype).reshape(part.shape) for part in parts]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _values(part: Output) -> list[Any]:
    if part.data is None:
        return part.values or []
    values: list[Any] = np.frombuffer(part.data, part.dtype).reshape(part.shape).tolist()
    return values
