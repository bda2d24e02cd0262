from __future__ import annotations

import pytest
from tests.builders.contracts import make_every_type

from headwater.contracts.model import Constraints, Contract, Field, LogicalType
from headwater.contracts.projections import json_schema

T = LogicalType


def test_the_schema_of_a_row_names_what_is_required_and_what_may_be_null() -> None:
    made = Contract(
        "rows",
        "1.0",
        (
            Field("a", T.INTEGER, constraints=Constraints(ge=1), description="How many."),
            Field("b", T.STRING, required=False, nullable=True, constraints=Constraints(enum=("x",))),
            Field("c", T.BOOLEAN, has_default=True, default=True),
        ),
        description="Rows.",
        on_unknown="quarantine",
    )
    assert json_schema(made) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rows",
        "description": "Rows.",
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1, "description": "How many."},
            "b": {"type": ["string", "null"], "enum": ["x", None]},
            "c": {"type": "boolean", "default": True},
        },
        "required": ["a"],
        "additionalProperties": False,
    }


def test_a_contract_that_keeps_unknown_fields_has_an_open_schema() -> None:
    assert json_schema(make_every_type())["additionalProperties"] is True


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("at", {"type": "string", "format": "date-time"}),
        ("epoch", {"type": "integer"}),
        ("uid", {"type": "string", "format": "uuid"}),
        ("doc", {"type": "object"}),
        ("code", {"type": "string", "pattern": "^(?:[A-Z]{2,3})$"}),
        ("tags", {"type": "array", "items": {"type": "string"}, "maxItems": 3}),
        ("scores", {"type": "object", "additionalProperties": {"type": "number"}}),
        ("price", {"type": ["number", "string"], "minimum": 0}),
    ],
)
def test_every_type_has_its_schema(name: str, expected: dict[str, object]) -> None:
    assert json_schema(make_every_type())["properties"][name] == expected
