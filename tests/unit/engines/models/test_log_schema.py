from __future__ import annotations

import pyarrow as pa

from headwater.contracts.model import Field, LogicalType
from headwater.core.snapshot import OutputSpec
from headwater.engines.models.log_schema import conflicts, log_schema


def test_a_log_has_its_own_columns_then_inputs_then_outputs() -> None:
    schema = log_schema(
        [Field("hour", LogicalType.INTEGER), Field("late", LogicalType.BOOLEAN), Field("carrier", LogicalType.STRING)],
        [
            OutputSpec(name="p", type="number"),
            OutputSpec(name="vector", type="number", shape=(3,)),
            OutputSpec(name="label", type="string"),
        ],
    )
    assert schema.names[:3] == ["prediction_id", "model", "version"]
    assert {field.name: field.type for field in schema if field.name.startswith(("input_", "output_"))} == {
        "input_hour": pa.float64(),
        "input_late": pa.bool_(),
        "input_carrier": pa.string(),
        "output_p": pa.float64(),
        "output_vector": pa.list_(pa.float64()),
        "output_label": pa.string(),
    }


def test_versions_share_a_table_unless_a_column_changes_its_kind() -> None:
    old = log_schema([Field("a", LogicalType.INTEGER)], [OutputSpec(name="p", type="number")])
    wider = log_schema([Field("a", LogicalType.NUMBER), Field("b", LogicalType.STRING)], [])
    assert conflicts(old, wider) == []
    other = log_schema([Field("a", LogicalType.STRING)], [OutputSpec(name="p", type="number", shape=(2,))])
    assert conflicts(old, other) == [
        "input_a was double and would become string",
        "output_p was double and would become list<item: double>",
    ]
