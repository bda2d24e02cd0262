"""What a view's features were for given entities at given instants: a training frame made of rows at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa

from headwater.core.snapshot import DatasetSpec, FeatureViewSpec
from headwater.engines.features.expressions import read_instant
from headwater.engines.features.history import History, Sources
from headwater.engines.features.lake import dataset_rows
from headwater.engines.lake.protocol import TableState

AS_OF: Final = "_hw_as_of"
"""The column of labels that says as of when; of one that is null nothing is known."""
_INSTANT: Final = pa.timestamp("us", "UTC")
_INPUT_TYPES: Final = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
    "timestamp": _INSTANT,
}
_KEY_TYPES: Final = {"integer": pa.int64(), "boolean": pa.bool_()}


def label_names(view: FeatureViewSpec) -> tuple[str, ...]:
    """Return what labels must say of an entity: its key, and what expressions of the view take from a request."""
    return (*view.entities, *(item.name for item in view.inputs))


def labels_of(view: FeatureViewSpec, keys: Sequence[Mapping[str, Any]], as_of_us: Sequence[int]) -> pa.Table:
    """Return labels from keys as a request, or the log, has them.

    Raises:
        ValueError: a value is not of the type that the view gives it.
    """
    kinds = view.entity_types if len(view.entity_types) == len(view.entities) else ("string",) * len(view.entities)
    types = {name: _KEY_TYPES.get(kind, pa.string()) for name, kind in zip(view.entities, kinds, strict=True)}
    types |= {item.name: _INPUT_TYPES[item.type] for item in view.inputs}
    columns: dict[str, pa.Array] = {}
    for name, kind in types.items():
        values = [key.get(name) for key in keys]
        try:
            columns[name] = pa.array([read_instant(value) for value in values] if kind == _INSTANT else values, kind)
        except (pa.ArrowException, OverflowError, TypeError) as error:
            raise ValueError(f"{name!r} of view {view.name!r}: {error}") from error
    columns[AS_OF] = pa.array(as_of_us, pa.int64()).cast(_INSTANT)
    return pa.table(columns)


def recall(
    connection: duckdb.DuckDBPyConnection,
    view: FeatureViewSpec,
    dataset: DatasetSpec,
    state: TableState | None,
    labels: pa.Table,
) -> pa.Table:
    """Return the view's features for each label, in their order.

    Args:
        connection: one that nobody else uses meanwhile.
        view: the view.
        dataset: what it is computed from.
        state: the version of the dataset's table; None where there is none.
        labels: ``label_names`` of the view and ``AS_OF``.

    Raises:
        HeadwaterError: as ``History`` does.
        duckdb.Error: what DuckDB cannot do.
    """
    connection.register("recalled", labels)
    try:
        sources = Sources("recalled", AS_OF, dataset_rows(dataset, state), 0 if state is None else state.rows)
        frame = pa.Table.from_batches(list(History(connection, view).join(sources)) or [_nothing(view)])
    finally:
        connection.unregister("recalled")
    return frame.select([feature.name for feature in view.features])


def _nothing(view: FeatureViewSpec) -> pa.RecordBatch:
    fields = [pa.field(feature.name, _INPUT_TYPES[feature.type]) for feature in view.features]
    return pa.RecordBatch.from_pylist([], schema=pa.schema(fields))
