"""Contracts in the words of other systems: JSON Schema, for documentation, OpenAPI and clients."""

from __future__ import annotations

from typing import Any, Final

from headwater.contracts import grammar
from headwater.contracts.bounds import integer_range
from headwater.contracts.model import Constraints, Contract, Field, LogicalType
from headwater.contracts.textchecks import EPOCH_UNITS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_LIMITS: Final = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_NUMERIC: Final = frozenset({LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.DECIMAL})
_NESTED: Final = frozenset({LogicalType.STRUCT, LogicalType.ARRAY, LogicalType.MAP, LogicalType.JSON})
_PLAIN: Final[dict[LogicalType, dict[str, Any]]] = {
    LogicalType.BOOLEAN: {"type": "boolean"},
    LogicalType.TIMESTAMP: {"type": "string", "format": "date-time"},
    LogicalType.DATE: {"type": "string", "format": "date"},
    LogicalType.TIME: {"type": "string", "pattern": f"^{grammar.TIME}$"},
    LogicalType.UUID: {"type": "string", "format": "uuid"},
    LogicalType.BINARY: {"type": "string", "contentEncoding": "base64"},
}


def json_schema(contract: Contract) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of one row of the contract.

    It says what a schema can say; the validator also checks what it cannot, such as that an integer fits in 64 bits
    exactly or that a timestamp exists.
    """
    schema = object_schema(contract.fields, is_open=contract.on_unknown != "quarantine")
    described = {"description": contract.description} if contract.description else {}
    return {"$schema": DIALECT, "title": contract.name} | described | schema


def object_schema(fields: tuple[Field, ...], *, is_open: bool) -> dict[str, Any]:
    """Return the schema of an object with these members; ``is_open`` allows others."""
    return {
        "type": "object",
        "properties": {field.name: field_schema(field, is_open=is_open) for field in fields},
        "required": [field.name for field in fields if field.required and not field.has_default],
        "additionalProperties": is_open,
    }


def field_schema(field: Field, *, is_open: bool = False) -> dict[str, Any]:
    """Return the schema of one field's values."""
    schema = _value_schema(field, is_open=is_open)
    if field.constraints.enum is not None:
        schema["enum"] = [*field.constraints.enum, *([None] if field.nullable else [])]
    if field.nullable and "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = [*kinds, "null"]
    if field.has_default:
        schema["default"] = field.default
    if field.description:
        schema["description"] = field.description
    return schema


def _value_schema(field: Field, *, is_open: bool) -> dict[str, Any]:
    if field.type in _NUMERIC:
        return _number_schema(field, field.constraints)
    if field.type in _NESTED:
        return _nested_schema(field, is_open=is_open)
    return _text_schema(field, field.constraints)


def _nested_schema(field: Field, *, is_open: bool) -> dict[str, Any]:
    limits = field.constraints
    if field.type is LogicalType.STRUCT:
        return object_schema(field.fields, is_open=is_open)
    if field.items is None:
        return {"type": limits.format} if limits.format else {}
    items = field_schema(field.items, is_open=is_open)
    if field.type is LogicalType.MAP:
        return {"type": "object", "additionalProperties": items}
    sizes = _present(minItems=limits.min_items, maxItems=limits.max_items, uniqueItems=limits.unique_items or None)
    return {"type": "array", "items": items} | sizes


def _number_schema(field: Field, limits: Constraints) -> dict[str, Any]:
    if field.type is LogicalType.INTEGER:
        low, high = integer_range(limits)
        return {"type": "integer", "minimum": low, "maximum": high} | _present(multipleOf=limits.multiple_of)
    bounds = {name: value for key, name in _LIMITS.items() if (value := getattr(limits, key)) is not None}
    kind: Any = "number" if field.type is LogicalType.NUMBER else ["number", "string"]
    return {"type": kind} | bounds | _present(multipleOf=limits.multiple_of)


def _text_schema(field: Field, limits: Constraints) -> dict[str, Any]:
    if field.type is LogicalType.TIMESTAMP and limits.format in EPOCH_UNITS:
        return {"type": "integer"}
    if field.type is not LogicalType.STRING:
        return dict(_PLAIN[field.type])
    lengths = _present(minLength=limits.min_length, maxLength=limits.max_length)
    pattern = None if limits.pattern is None else f"^(?:{limits.pattern})$"
    return {"type": "string"} | lengths | _present(pattern=pattern, format=limits.format)


def _present(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
