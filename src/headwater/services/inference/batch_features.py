"""Which features a batch job fetches, and by which columns of the dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.contracts.model import Contract, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.jobs import FeatureSource
from headwater.core.snapshot import FeatureRefSpec, FeatureViewSpec, ModelVersionSpec, Snapshot
from headwater.engines.lake.protocol import TableState

FindState = Callable[[str], TableState | None]
_INPUTS: Mapping[str, frozenset[LogicalType]] = {
    "number": frozenset({LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.DECIMAL}),
    "integer": frozenset({LogicalType.INTEGER}),
    "string": frozenset({LogicalType.STRING, LogicalType.UUID, LogicalType.DATE}),
    "boolean": frozenset({LogicalType.BOOLEAN}),
    "timestamp": frozenset({LogicalType.TIMESTAMP}),
}


def fetched_features(
    version: ModelVersionSpec, wanted: Mapping[str, str], source: Contract
) -> tuple[FeatureRefSpec, ...]:
    """Return the features that no column of the dataset gives: a column wins, as what a row says does in a request."""
    columns = {field.name for field in source.fields}
    return tuple(need for need in version.features if need.field not in wanted and need.field not in columns)


def plan_views(
    fetched: Sequence[FeatureRefSpec],
    wanted: Mapping[str, str],
    source: Contract,
    snapshot: Snapshot,
    find_state: FindState,
) -> dict[str, FeatureSource]:
    """Return the views of the features, with the columns that are the parts of their keys.

    Raises:
        HeadwaterError: ``schema_mismatch`` naming every part of a key that no column fits, ``feature_view_not_found``.
    """
    views: dict[str, FeatureSource] = {}
    errors: list[dict[str, Any]] = []
    for name in dict.fromkeys(need.view for need in fetched):
        view = snapshot.features.get(name)
        dataset = None if view is None else snapshot.datasets.get(view.dataset)
        if view is None or dataset is None:
            raise HeadwaterError("feature_view_not_found", f"there is no feature view {name[:80]!r}")
        columns = {**_keys(view, wanted, source, errors), **_inputs(view, wanted, source, errors)}
        state = find_state(view.dataset)
        views[name] = FeatureSource(
            view=view,
            dataset=dataset,
            files=() if state is None else state.files,
            table_version=None if state is None else state.version,
            row_count=0 if state is None else state.rows,
            columns=columns,
        )
    if errors:
        raise HeadwaterError(
            "schema_mismatch",
            f"{errors[0]['input']!r}: {errors[0]['message']}",
            hint=f"columns of {source.name}: {', '.join(field.name for field in source.fields[:40])}",
            extra={"errors": errors},
        )
    return views


def check_as_of(name: str | None, source: Contract) -> None:
    """Raise ``invalid_parameter`` unless ``name`` is a column of instants that every row has, or none."""
    if name is None:
        return
    field = next((field for field in source.fields if field.name == name), None)
    if field is None or field.type is not LogicalType.TIMESTAMP:
        found = [field.name for field in source.fields if field.type is LogicalType.TIMESTAMP]
        raise HeadwaterError(
            "invalid_parameter",
            f"as_of: {source.name} has no column of instants {name[:80]!r}",
            hint=f"it has {', '.join(found)}" if found else "it has none; features are as of now without it",
        )
    if field.nullable or not (field.required or field.name == source.event_time):
        raise HeadwaterError(
            "invalid_parameter",
            f"as_of: a row of {source.name} need not have {name!r}",
            hint="use a column that its contract requires",
        )


def _keys(
    view: FeatureViewSpec, wanted: Mapping[str, str], source: Contract, errors: list[dict[str, Any]]
) -> dict[str, str]:
    """Return the column of each part of a view's key."""
    fields = {field.name: field for field in source.fields}
    kinds = view.entity_types if len(view.entity_types) == len(view.entities) else ("string",) * len(view.entities)
    found: dict[str, str] = {}
    for part, kind in zip(view.entities, kinds, strict=True):
        column = wanted.get(part, part)
        if column not in fields:
            errors.append(_error(part, column, f"view {view.name!r} is keyed by it, and there is no column {column!r}"))
        elif fields[column].type.value != kind:
            message = f"view {view.name!r} is keyed by it as {kind}, and column {column!r} is {fields[column].type}"
            errors.append(_error(part, column, message))
        else:
            found[part] = column
    return found


def _inputs(
    view: FeatureViewSpec, wanted: Mapping[str, str], source: Contract, errors: list[dict[str, Any]]
) -> dict[str, str]:
    """Return the columns of what a view's expressions take; one that there is none for is null to them."""
    fields = {field.name: field for field in source.fields}
    found: dict[str, str] = {}
    for item in view.inputs:
        column = wanted.get(item.name, item.name)
        if column not in fields:
            if item.name in wanted:
                errors.append(_error(item.name, column, f"there is no column {column!r}"))
        elif fields[column].type not in _INPUTS[item.type]:
            message = f"view {view.name!r} takes it as {item.type}, and column {column!r} is {fields[column].type}"
            errors.append(_error(item.name, column, message))
        else:
            found[item.name] = column
    return found


def _error(name: str, column: str, message: str) -> dict[str, Any]:
    return {"path": f"/columns/{name}", "input": name, "column": column, "message": message}
