"""Bodies that an OpenAPI document's schema allows, but for one member whose value it should not have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

#: What a member may be given in place of what it should be; JSON texts can say each of them.
VALUES: Final[tuple[Any, ...]] = (
    None, [], {}, True, -1, 0, 10**40, -(10**40), 1.5, 1e308, "", " ", "\x00", "a\x00b", "x" * 20_000, "\u202e",
    "\ufeff", "💩" * 70, "\ud800", [None], [[]], [{}], ["\x00"], ["x"] * 2_000, {"a": {"b": []}}, {"": ""},
    "' OR 1=1 --", "{{7*7}}", "../../etc/passwd", "NaN", "9" * 400, "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59", "2026-99-99", "::ffff:127.0.0.1", "a@b@c", "<script>alert(1)</script>",
    {"$ref": "#"}, {"__proto__": {}}, [1, "a", None, {}], {"and": [{"and": []}]}, float("nan"), float("inf"),
)  # fmt: skip
_DEEPEST: Final = 6
_SAMPLES: Final[Mapping[str, Any]] = {
    "string": "flights", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip

Schema = dict[str, Any]


def sample(schema: Schema, schemas: Mapping[str, Schema], depth: int = 0) -> Any:
    """Return what the schema allows, with every member that it names."""
    schema = _plain(schema, schemas)
    for said in ("default", "const"):
        if said in schema:
            return schema[said]
    if schema.get("examples") or schema.get("enum"):
        return (schema.get("examples") or schema["enum"])[0]
    if depth > _DEEPEST:
        return None
    if schema.get("properties"):
        return {name: sample(member, schemas, depth + 1) for name, member in schema["properties"].items()}
    if schema.get("type") == "array" and schema.get("items"):
        return [sample(schema["items"], schemas, depth + 1)]
    return "2026-11-24T00:00:00Z" if schema.get("format") == "date-time" else _SAMPLES[schema.get("type", "object")]


def members(schema: Schema, schemas: Mapping[str, Schema]) -> list[tuple[str, ...]]:
    """Return the way to each member, as deep as the schema names any."""
    return list(_ways(schema, schemas, ()))


def with_value(body: Any, way: tuple[str, ...], value: Any) -> Any:
    """Return a copy of ``body`` with another value at ``way``; a step into a list goes to its first item."""
    if not way:
        return value
    if isinstance(body, list):
        return [with_value(body[0] if body else {}, way, value)]
    if not isinstance(body, dict):
        return with_value({}, way, value)
    return {**body, way[0]: with_value(body.get(way[0]), way[1:], value)}


def _ways(schema: Schema, schemas: Mapping[str, Schema], way: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    schema = _plain(schema, schemas)
    if len(way) > _DEEPEST:
        return
    if schema.get("type") == "array" and schema.get("items"):
        yield from _ways(schema["items"], schemas, way)
    for name, member in schema.get("properties", {}).items():
        yield (*way, name)
        yield from _ways(member, schemas, (*way, name))


def _plain(schema: Schema, schemas: Mapping[str, Schema]) -> Schema:
    """Follow references, and take the first of what may be several things."""
    while True:
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        elif schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
            schema = (schema.get("anyOf") or schema.get("oneOf") or schema["allOf"])[0]
        else:
            return schema
