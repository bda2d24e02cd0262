"""The quality of a version's answers from what became of them, as a report shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headwater.core.snapshot import ModelVersionSpec, OutputSpec
from headwater.engines.models.log_schema import OUTPUT_PREFIX
from headwater.engines.monitoring.performance import Performance, judge_labels, judge_numbers

MAX_SLICES: Final = 20
_QUARTERS: Final = (0.25, 0.5, 0.75)


def describe_performance(version: ModelVersionSpec, table: pa.Table, slice_by: str | None) -> dict[str, Any] | None:
    """Return the quality of the output that most is known of, and of the others beside it; None without outcomes.

    Args:
        version: whose outputs.
        table: as ``Evidence.outcomes`` returns it.
        slice_by: the input that ``slice`` holds.
    """
    judged = [(output, part, _judge(output, part)) for output, part in _by_output(version, table)]
    judged = [one for one in judged if one[2].rows]
    if not judged:
        return None
    judged.sort(key=lambda one: -one[2].rows)
    output, part, best = judged[0]
    delays = part.column("delay_us").to_numpy() / 1e6
    described = _describe(output, best) | {
        "label_delay_seconds": float(np.median(delays)),
        "label_delay_p90_seconds": float(np.quantile(delays, 0.9)),
        "others": [_describe(other, performance) for other, _, performance in judged[1:]],
    }
    if slice_by is not None:
        described["slices"] = {"by": slice_by, "slices": _slices(output, part)}
    return described


def _describe(output: OutputSpec, performance: Performance) -> dict[str, Any]:
    return {
        "output": output.name,
        "kind": performance.kind,
        "outcomes": performance.rows,
        "metrics": dict(performance.metrics),
        "calibration": [
            {"from": one.least, "to": one.most, "rows": one.rows, "predicted": one.predicted, "observed": one.observed}
            for one in performance.calibration
        ],
    }


def _by_output(version: ModelVersionSpec, table: pa.Table) -> list[tuple[OutputSpec, pa.Table]]:
    """Return the rows that speak of each scalar output.

    An outcome that names no output speaks of the first one of its own kind: text of a text, else of a number.
    """
    scalars = [output for output in version.outputs if not output.shape]
    texts = [output for output in scalars if output.type == "string"]
    numbers = [output for output in scalars if output.type != "string"]
    is_text = pc.is_valid(table.column("outcome_text"))
    found: list[tuple[OutputSpec, pa.Table]] = []
    for output in scalars:
        mine = pc.equal(table.column("output"), output.name).fill_null(False)
        if output in (*texts[:1], *numbers[:1]):
            # A boolean is a number, and the text that it was written as where no output is a number.
            is_number = pc.is_valid(table.column("outcome_number"))
            fits = is_number if output.type != "string" else pc.invert(is_number) if numbers else is_text
            mine = pc.or_(mine, pc.and_(pc.is_null(table.column("output")), fits))
        found.append((output, table.filter(mine)))
    return found


def _judge(output: OutputSpec, table: pa.Table) -> Performance:
    predicted = table.column(OUTPUT_PREFIX + output.name)
    actual = table.column("outcome_text" if output.type == "string" else "outcome_number")
    known = pc.and_(pc.is_valid(predicted), pc.is_valid(actual))
    if output.type == "string":
        return judge_labels(predicted.filter(known).to_pylist(), actual.filter(known).to_pylist())
    numbers = predicted.cast(pa.float64()).filter(known).to_numpy(), actual.filter(known).to_numpy()
    finite = np.isfinite(numbers[0]) & np.isfinite(numbers[1])
    return judge_numbers(numbers[0][finite], numbers[1][finite])


def _slices(output: OutputSpec, table: pa.Table) -> list[dict[str, Any]]:
    """Return the quality by value of the slice: the most frequent texts, or quarters of the numbers."""
    column = table.column("slice").combine_chunks()
    types: Any = pa.types
    parts = _text_parts(column) if types.is_string(column.type) else _number_parts(column)
    return [
        {"value": value} | {"outcomes": judged.rows, "metrics": dict(judged.metrics)}
        for value, mask in parts
        if (judged := _judge(output, table.filter(mask))).rows
    ]


def _text_parts(column: pa.Array) -> list[tuple[str, pa.Array]]:
    counted: list[dict[str, Any]] = pc.value_counts(column.drop_null()).to_pylist()
    counted.sort(key=lambda one: (-one["counts"], one["values"]))
    return [(one["values"], pc.equal(column, one["values"])) for one in counted[:MAX_SLICES]]


def _number_parts(column: pa.Array) -> list[tuple[str, pa.Array]]:
    numbers = column.cast(pa.float64())
    distinct: Sequence[float] = sorted(numbers.drop_null().unique().to_pylist())
    if len(distinct) <= MAX_SLICES:
        return [(f"{value:g}", pc.equal(numbers, value)) for value in distinct]
    edges = sorted(set(np.quantile(numbers.drop_null().to_numpy(), _QUARTERS).tolist()))
    places = pa.array(np.searchsorted(edges, numbers.to_numpy(zero_copy_only=False), side="right"))
    places = pc.if_else(pc.is_valid(numbers), places, None)
    bounds = ["", *(f"{edge:g}" for edge in edges), ""]
    return [(_range(bounds[at], bounds[at + 1]), pc.equal(places, at)) for at in range(len(edges) + 1)]


def _range(least: str, most: str) -> str:
    return f"below {most}" if not least else f"{least} and more" if not most else f"{least} to {most}"
