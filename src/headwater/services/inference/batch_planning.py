"""A request to score a dataset, made into a job that needs nothing else: model, dataset version, columns, rows."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from headwater.contracts import model as contracts
from headwater.contracts.model import Contract, LogicalType
from headwater.contracts.spec import contract_from_spec
from headwater.core.clock import epoch_micros
from headwater.core.errors import HeadwaterError
from headwater.core.expressions import Expression, ExpressionFault, compile_expression
from headwater.core.expressions.terms import Type
from headwater.core.jobs import BatchScore, RowChoice
from headwater.core.overrides import OverrideSpec
from headwater.core.snapshot import ModelVersionSpec, Snapshot
from headwater.core.streams import batch_log
from headwater.engines.lake.protocol import TableState
from headwater.services.inference.batch_features import FindState, check_as_of, fetched_features, plan_views
from headwater.services.inference.models import ServedModel
from headwater.services.kit.policies import require_whole_rows
from headwater.services.kit.service import Caller

_PUBLIC: Final = "public"
_FITTING: Final = {
    LogicalType.INTEGER: {LogicalType.INTEGER},
    LogicalType.NUMBER: {LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.DECIMAL},
    LogicalType.BOOLEAN: {LogicalType.BOOLEAN},
    LogicalType.STRING: {LogicalType.STRING},
}
#: What the columns of a dataset are to expressions; others cannot be used in ``where``.
_NAMES: Final[Mapping[LogicalType, Type]] = {
    LogicalType.INTEGER: "integer",
    LogicalType.NUMBER: "number",
    LogicalType.DECIMAL: "number",
    LogicalType.BOOLEAN: "boolean",
    LogicalType.STRING: "string",
    LogicalType.UUID: "string",
    LogicalType.DATE: "string",
    LogicalType.TIMESTAMP: "timestamp",
}


class BatchIn(BaseModel):
    """What is asked for."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(description="Whose rows are scored")
    where: str | None = Field(None, max_length=4_000, description="An expression over its columns: rows it holds for")
    since: AwareDatetime | None = Field(None, description="Rows whose event time is not before this")
    until: AwareDatetime | None = Field(None, description="Rows whose event time is before this")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Column for an input, or for a part of the key that features are fetched by; default: its namesake",
    )
    as_of: str | None = Field(None, description="Column with the instant that features are as of; default: now")
    output: str | None = Field(None, description="Always batch_predictions_<model>, which is the default")
    on_error: Literal["null", "stop"] = Field("stop", description="Write bad rows without outputs, or stop at them")


def choose_version(model: ServedModel, pinned: str | None) -> ModelVersionSpec:
    """Return the version that is to look at the rows: the one asked for, or what answers most requests now.

    Raises:
        HeadwaterError: ``model_not_found`` for a version that is not served.
    """
    versions = model.spec.versions
    if pinned is not None:
        version = versions.get(int(pinned)) if pinned.isdecimal() and len(pinned) <= 9 else None  # noqa: PLR2004
        if version is None:
            raise HeadwaterError(
                "model_not_found",
                f"model {model.spec.name!r} has no version {pinned[:20]!r} here",
                hint=f"there are {', '.join(map(str, sorted(versions)))}; promote or pin another one first",
            )
        return version
    primary = next((route.version for route in model.spec.routes if route.role == "primary"), None)
    if primary in model.live.tripped and model.spec.fallback in versions:
        primary = model.spec.fallback
    if primary is None or primary not in versions:
        raise model.unavailable(None)
    return versions[primary]


def find_source(caller: Caller, name: str, now: datetime) -> Contract:
    """Return the contract of a dataset that the caller may read, and that policies show them whole at ``now``.

    Raises:
        HeadwaterError: ``forbidden``, ``dataset_not_found``.
    """
    if not caller.key.can("dataset.read", name):
        raise HeadwaterError(
            "forbidden",
            f"the key {caller.key.prefix}… lacks dataset.read on {name[:80]!r}",
            hint="use a key whose role has it, or ask for a grant",
        )
    dataset = caller.environment.snapshot.datasets.get(name)
    if dataset is None:
        raise caller.environment.missing("dataset_not_found", f"there is no dataset {name[:80]!r}")
    contract = contract_from_spec(dataset.contracts[dataset.active_version])
    protected = dataset.protected or contract.protected
    require_whole_rows(caller, name, now, protected=protected, what="a batch reads whole rows of")
    return contract


def plan_batch(
    asked: BatchIn,
    *,
    caller: Caller,
    model: ServedModel,
    version: ModelVersionSpec,
    source: Contract,
    state: TableState | None,
    find_state: FindState,
    request_id: str,
) -> BatchScore:
    """Return the job.

    Raises:
        HeadwaterError: ``schema_mismatch`` with every input, or part of a key, that no column fits,
            ``invalid_parameter``, ``feature_view_not_found``.
    """
    output = batch_log(model.spec.name)
    if asked.output not in (None, output):
        raise HeadwaterError(
            "invalid_parameter",
            f"output {str(asked.output)[:80]!r}: a model's batch predictions are rows of {output!r}",
            hint="leave it out; the column job tells the jobs apart",
        )
    inputs = contract_from_spec(version.inputs)
    fetched = fetched_features(version, asked.columns, source)
    views = plan_views(fetched, asked.columns, source, caller.environment.snapshot, find_state)
    check_as_of(asked.as_of, source)
    parts = {part for view in views.values() for part in view.columns}
    own = {name: column for name, column in asked.columns.items() if name not in parts or name in _names(inputs)}
    columns = _match(own, inputs, source, {need.field for need in fetched})
    fields = {field.name: field for field in source.fields}
    private = {name for name, column in columns.items() if fields[column].classification != _PUBLIC}
    private |= {field.name for field in inputs.fields if field.classification != _PUBLIC}
    keys = source.dedup.key if source.dedup is not None else ()
    return BatchScore(
        environment_id=caller.environment.id,
        model=model.spec.name,
        version=version,
        dataset=source.name,
        dataset_version=None if state is None else state.version,
        files=() if state is None else state.files,
        columns=columns,
        features=fetched,
        views=views,
        as_of=asked.as_of,
        as_of_us=time.time_ns() // 1_000,
        rows=_choose_rows(asked, source),
        keys=tuple(name for name in keys if name in fields and fields[name].classification == _PUBLIC),
        redact=tuple(sorted(private | set(model.spec.serving.log.redact))),
        on_error=asked.on_error,
        principal_id=caller.key.principal_id,
        request_id=request_id,
        config_version=caller.environment.snapshot.number,
        overrides=_overrides(caller.environment.snapshot, model.spec.name),
        max_batch_rows=model.spec.serving.max_batch_rows,
    )


def _overrides(snapshot: Snapshot, model: str) -> tuple[OverrideSpec, ...]:
    """Return the overrides of a model that are not over yet."""
    now = time.time()
    found = (spec for spec in snapshot.overrides.values() if spec.model == model)
    return tuple(spec for spec in found if now < spec.valid_until.timestamp())


def _names(inputs: Contract) -> frozenset[str]:
    return frozenset(field.name for field in inputs.fields)


def _match(wanted: Mapping[str, str], inputs: Contract, source: Contract, fetched: Collection[str]) -> dict[str, str]:
    """Return the column of each input that has one, but for those that are fetched."""
    fields = {field.name: field for field in source.fields}
    known = [field.name for field in inputs.fields]
    found: dict[str, str] = {}
    errors = [
        _error(name, column, f"the model has no input {name!r}; it takes {', '.join(known)}")
        for name, column in wanted.items()
        if name not in known
    ]
    for field in inputs.fields:
        column = wanted.get(field.name, field.name)
        if column in fields:
            if fields[column].type in _FITTING[field.type]:
                found[field.name] = column
            else:
                errors.append(_misfit(field, fields[column]))
        elif field.name in wanted:
            errors.append(_error(field.name, column, f"{source.name} has no column {column!r}"))
        elif field.name in fetched:
            continue
        elif field.required and not field.has_default:
            errors.append(_error(field.name, None, f"{source.name} has no column {column!r}: name one in columns"))
    if errors:
        raise HeadwaterError(
            "schema_mismatch",
            f"input {errors[0]['input']!r}: {errors[0]['message']}",
            hint=f"columns of {source.name}: {', '.join(list(fields)[:40])}",
            extra={"errors": errors},
        )
    return found


def _misfit(field: contracts.Field, column: contracts.Field) -> dict[str, Any]:
    wanted = " or ".join(sorted(kind.value for kind in _FITTING[field.type]))
    return _error(field.name, column.name, f"column {column.name!r} is of type {column.type}, and it takes {wanted}")


def _error(name: str, column: str | None, message: str) -> dict[str, Any]:
    return {"path": f"/columns/{name}", "input": name, "column": column, "message": message}


def _choose_rows(asked: BatchIn, source: Contract) -> RowChoice:
    since, until = asked.since, asked.until
    has_stretch = since is not None or until is not None
    if has_stretch and source.event_time is None:
        raise HeadwaterError(
            "invalid_parameter",
            f"since and until: {source.name} has no event time",
            hint="use where with one of its columns",
        )
    if since is not None and until is not None and since >= until:
        raise HeadwaterError("invalid_parameter", "since must be before until")
    expression = None if asked.where is None else _compile_where(asked.where, source.fields)
    types = {field.name: _NAMES[field.type] for field in source.fields if field.type in _NAMES}
    return RowChoice(
        where=asked.where,
        names={} if expression is None else {name: types[name] for name in sorted(expression.names)},
        event_time=source.event_time if has_stretch else None,
        since_us=_micros(since),
        until_us=_micros(until),
    )


def _compile_where(text: str, fields: Sequence[contracts.Field]) -> Expression:
    names = {field.name: _NAMES[field.type] for field in fields if field.type in _NAMES}
    try:
        expression = compile_expression(text, names)
    except ExpressionFault as fault:
        raise HeadwaterError("invalid_parameter", f"where, {fault}", hint=fault.hint) from fault
    if expression.type not in ("boolean", "null"):
        raise HeadwaterError(
            "invalid_parameter", f"where is of type {expression.type}, not a condition", hint="such as distance > 500"
        )
    return expression


def _micros(at: datetime | None) -> int | None:
    return None if at is None else epoch_micros(at)
