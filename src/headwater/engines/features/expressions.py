"""The expressions of a view: which names they may use, and in which order they are computed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError
from headwater.core.expressions import Expression, ExpressionFault, compile_expression
from headwater.core.expressions.terms import Type
from headwater.core.snapshot import FeatureInputSpec, FeatureSpec, FeatureViewSpec

#: Logical types of key fields as expressions know them.
_KEY_TYPES: Final[dict[str, Type]] = {"integer": "integer", "boolean": "boolean"}
Check = Callable[[Mapping[str, Any]], FieldError | None]


def known_names(view: FeatureViewSpec) -> dict[str, Type]:
    """Return the names that a view's expressions may use, but for other expressions."""
    types = view.entity_types if len(view.entity_types) == len(view.entities) else ("string",) * len(view.entities)
    names: dict[str, Type] = {
        name: _KEY_TYPES.get(logical, "string") for name, logical in zip(view.entities, types, strict=True)
    }
    names |= {item.name: item.type for item in view.inputs}
    names |= {feature.name: feature.type for feature in view.features if feature.kind != "expression"}
    return names


def compile_feature(feature: FeatureSpec, names: Mapping[str, Type]) -> Expression:
    """Return the compiled expression of a feature.

    Raises:
        ExpressionFault: it is wrong, or has another type than the feature.
    """
    expression = compile_expression(feature.expression or "", names)
    is_whole_number = expression.type == "integer" and feature.type == "number"
    if expression.type not in (feature.type, "null") and not is_whole_number:
        raise ExpressionFault(
            f"the expression is a {expression.type}, and the feature a {feature.type}",
            0,
            f"write 'type: {expression.type}'" if expression.type != "timestamp" else "take a part of it: hour(…)",
        )
    return expression


def expression_features(view: FeatureViewSpec) -> list[tuple[str, Expression]]:
    """Return the expression features of a view with their compiled form; each may use those above it.

    Raises:
        HeadwaterError: ``project_invalid`` for an expression that does not compile.
    """
    names = known_names(view)
    compiled: list[tuple[str, Expression]] = []
    for feature in view.features:
        if feature.kind != "expression":
            continue
        try:
            compiled.append((feature.name, compile_feature(feature, names)))
        except ExpressionFault as fault:
            raise HeadwaterError("project_invalid", f"{view.name}.{feature.name}: {fault}", hint=fault.hint) from fault
        names[feature.name] = feature.type
    return compiled


def request_inputs(view: FeatureViewSpec) -> Sequence[Check]:
    """Return a check for each input that the request may bring; one that is absent is null."""
    return [_check(item) for item in view.inputs]


def _check(item: FeatureInputSpec) -> Check:
    fits, pointer = _FITS[item.type], "/" + item.name.replace("~", "~0").replace("/", "~1")

    def check(entity: Mapping[str, Any]) -> FieldError | None:
        value = entity.get(item.name)
        if value is None or fits(value):
            return None
        message = f"the input {item.name!r} must be of type {item.type}"
        return FieldError("type_mismatch", pointer, message, item.type, str(value)[:64])

    return check


def read_instant(value: Any) -> datetime | None:
    """Return an instant from JSON (text with a date, a time and an offset) or from Python; None when it is none."""
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        return None
    return instant if isinstance(instant, datetime) and instant.tzinfo is not None else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "number": _is_number,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63,
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "timestamp": lambda value: read_instant(value) is not None,
}
