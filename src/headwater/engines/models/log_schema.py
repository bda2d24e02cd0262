"""What a logged prediction looks like: one row of the dataset ``predictions_<model>``.

All versions of a model share one table, and tables cannot change a column's type. Numbers are therefore always doubles
(the model itself sees no more), and ``conflicts`` says where two versions cannot share a table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from headwater.contracts.model import Field, LogicalType
from headwater.core.snapshot import OutputSpec

INPUT_PREFIX: Final = "input_"
OUTPUT_PREFIX: Final = "output_"
OWN_FIELDS: Final = (
    pa.field("prediction_id", pa.string()),
    pa.field("model", pa.string()),
    pa.field("version", pa.int64()),
    pa.field("route", pa.string()),
    pa.field("principal_id", pa.string()),
    pa.field("request_id", pa.string()),
    pa.field("predicted_at", pa.timestamp("us", "UTC")),
    pa.field("latency_us", pa.int64()),
    # JSON text: {"view.feature": [value, microseconds of the event it is from]}; null where none were fetched.
    pa.field("features", pa.string()),
    # The prediction that was served, for one that a shadow made of the same row.
    pa.field("shadow_of", pa.string()),
    # Which share of the predictions was logged when this one was.
    pa.field("sample_share", pa.float64()),
    # JSON text: {"output": {"override": id, "served": value}} where people have overridden what the model said.
    pa.field("overrides", pa.string()),
)
OUTCOME_SCHEMA: Final = pa.schema(
    [
        ("prediction_id", pa.string()),
        ("output", pa.string()),  # null for the prediction as a whole
        ("outcome_number", pa.float64()),  # true and false are 1 and 0
        ("outcome_text", pa.string()),
        ("observed_at", pa.timestamp("us", "UTC")),
        ("reported_at", pa.timestamp("us", "UTC")),
        ("principal_id", pa.string()),
    ]
)
"""The columns of the dataset ``prediction_outcomes``: what became of predictions, the newest row of each counting."""

_NUMBERS: Final = frozenset({LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.DECIMAL})
_OUTPUT_TYPES: Final = {
    "number": pa.float64(),
    "integer": pa.float64(),
    "boolean": pa.bool_(),
    "string": pa.string(),
}


def log_schema(inputs: Sequence[Field], outputs: Sequence[OutputSpec]) -> pa.Schema:
    """Return the Arrow schema of the log of a signature: what every log has, then inputs, then outputs."""
    return pa.schema(
        [
            *OWN_FIELDS,
            *(pa.field(INPUT_PREFIX + field.name, input_type(field)) for field in inputs),
            *(pa.field(OUTPUT_PREFIX + output.name, output_type(output)) for output in outputs),
        ]
    )


def conflicts(old: pa.Schema, new: pa.Schema) -> list[str]:
    """Return a sentence for each column that ``new`` has with another type than ``old``; they cannot share a table."""
    return [
        f"{field.name} was {old.field(field.name).type} and would become {field.type}"
        for field in new
        if field.name in old.names and old.field(field.name).type != field.type
    ]


def input_type(field: Field) -> pa.DataType:
    """Return the type of an input's column."""
    if field.type in _NUMBERS:
        return pa.float64()
    return pa.bool_() if field.type is LogicalType.BOOLEAN else pa.string()


def output_type(output: OutputSpec) -> pa.DataType:
    """Return the type of an output's column: a list for each axis of its shape."""
    result = _OUTPUT_TYPES[output.type]
    for _axis in output.shape:
        result = pa.list_(result)
    return result
