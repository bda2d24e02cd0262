"""What a declared feature is, held against its dataset's fields: its kind and its type, or why it cannot be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Protocol

from headwater.contracts.model import Field

ENTITY_TYPES: Final = ("string", "integer", "uuid", "date", "boolean")
#: Logical types of columns, and the feature types that hold their values: the first one by default.
_HELD_AS: Final[dict[str, tuple[str, ...]]] = {
    "integer": ("integer", "number"),
    "number": ("number",),
    "decimal": ("number",),
    "boolean": ("boolean",),
    "string": ("string",),
    "uuid": ("string",),
}
_OF_NUMBERS: Final = ("sum", "mean", "min", "max")
_COUNTS: Final = ("count", "distinct")
_PYTHON: Final[dict[str, tuple[type, ...]]] = {
    "number": (int, float),
    "integer": (int,),
    "string": (str,),
    "boolean": (bool,),
}


class Misfit(ValueError):
    """Why a feature cannot be: which member is wrong, how, and the cure."""

    def __init__(self, member: str, message: str, hint: str | None = None) -> None:
        """Keep all three."""
        super().__init__(message)
        self.member = member
        self.message = message
        self.hint = hint


class Declared(Protocol):
    """A feature as its file declares it."""

    type: Any
    column: str | None
    aggregate: Any
    window: str | None
    expression: str | None
    default: Any


def type_of_feature(feature: Declared, fields: Mapping[str, Field]) -> tuple[str, str]:
    """Return a feature's kind and type.

    Raises:
        Misfit: its members contradict each other, or do not fit the dataset's fields.
    """
    kind = _kind(feature)
    allowed = _allowed_types(kind, feature, fields)
    if feature.type is not None and feature.type not in allowed:
        raise Misfit("type", f"it cannot be a {feature.type}", f"write 'type: {allowed[0]}', or leave it out")
    type_ = feature.type or allowed[0]
    _check_default(feature.default, type_)
    return kind, type_


def _kind(feature: Declared) -> str:
    if feature.expression is not None:
        others = [name for name in ("column", "aggregate", "window") if getattr(feature, name) is not None]
        if others:
            raise Misfit(others[0], "an expression stands alone", f"remove {' and '.join(others)}, or the expression")
        if feature.type is None:
            raise Misfit("", "an expression needs a type", "add 'type: number', 'integer', 'string' or 'boolean'")
        return "expression"
    if feature.aggregate is not None:
        if feature.window is None:
            raise Misfit("", f"the aggregate {feature.aggregate} needs a window", "add 'window: 24h'")
        if feature.column is None and feature.aggregate != "count":
            raise Misfit("", f"the aggregate {feature.aggregate} needs a column", "add 'column: …'")
        return "aggregate"
    if feature.column is None:
        raise Misfit("", "a feature is a column, an aggregate or an expression", "add one of the three")
    if feature.window is not None:
        raise Misfit("window", "a window needs an aggregate", "add 'aggregate: mean', or remove the window")
    return "column"


def _allowed_types(kind: str, feature: Declared, fields: Mapping[str, Field]) -> tuple[str, ...]:
    if kind == "expression":
        return tuple(_PYTHON)
    if feature.column is None:
        return ("integer",)
    field = fields.get(feature.column)
    if field is None:
        raise Misfit("column", f"there is no field {feature.column!r}", f"one of: {', '.join(list(fields)[:30])}")
    held = _HELD_AS.get(field.type.value)
    if feature.aggregate in _COUNTS:
        if feature.aggregate == "distinct" and held is None and field.type.value not in ("date", "timestamp", "time"):
            raise Misfit("column", f"values of a {field.type} cannot be told apart here", "count a plain field")
        return ("integer",)
    if held is None:
        raise Misfit(
            "column",
            f"a {field.type} cannot be a feature",
            f"use a field of type {', '.join(_HELD_AS)}, or count it",
        )
    if feature.aggregate in _OF_NUMBERS and "number" not in held:
        raise Misfit("column", f"there is no {feature.aggregate} of a {field.type}", "use last, count or distinct")
    return ("number",) if feature.aggregate == "mean" else held


def _check_default(default: Any, type_: str) -> None:
    if default is None:
        return
    fits = isinstance(default, _PYTHON[type_]) and isinstance(default, bool) == (type_ == "boolean")
    if not fits or (isinstance(default, float) and not math.isfinite(default)):
        raise Misfit("default", f"{default!r} is not a {type_}", f"write a {type_}")
    if isinstance(default, int) and abs(default) >= 1 << 63:
        raise Misfit("default", f"{default!r} does not fit 64 bits")
