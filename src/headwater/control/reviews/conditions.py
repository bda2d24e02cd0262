"""Which rows and predictions a queue is about, and which of them come first: expressions over what is known of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from headwater.control.registry.models import ModelVersion
from headwater.core.errors import HeadwaterError
from headwater.core.expressions import Expression, ExpressionFault, compile_expression
from headwater.core.expressions.terms import Type
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.monitoring.selection import known_schema, selection_names

GROUP_NAMES: Final[Mapping[str, Type]] = {
    "dataset": "string", "code": "string", "path": "string", "contract_version": "string",
    "count": "integer", "open": "integer",
}  # fmt: skip
ROW_NAMES: Final[Mapping[str, Type]] = {
    "dataset": "string", "code": "string", "path": "string", "contract_version": "string",
    "principal": "string", "attempt": "integer",
}  # fmt: skip
MAX_PRIORITY: Final = 1_000_000


def prediction_names(versions: Iterable[ModelVersion]) -> dict[str, Type]:
    """Return what an expression about predictions of these versions may name."""
    specs = [
        ModelVersionSpec(
            id="", number=version.number, framework="remote", artifact_uri="", artifact_sha256="",
            inputs=version.inputs, outputs=version.outputs,
        )
        for version in versions
    ]  # fmt: skip
    return {name: found.type for name, found in selection_names(known_schema(specs)).items()}


def compile_condition(text: str, names: Mapping[str, Type], member: str = "condition") -> Expression:
    """Return a condition; raises ``invalid_parameter`` with the place and the cure."""
    return _compiled(text, names, member, ("boolean", "null"), "a condition")


def compile_priority(text: str, names: Mapping[str, Type], member: str = "priority") -> Expression:
    """Return a priority; raises ``invalid_parameter`` with the place and the cure."""
    return _compiled(text, names, member, ("integer", "number", "null"), "a number")


def rank(value: Any) -> int:
    """Return a priority as tasks keep it: in thousandths, so that shares order as they should; 0 for no value."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return 0
    return round(max(-MAX_PRIORITY, min(MAX_PRIORITY, value)) * 1_000)


def _compiled(text: str, names: Mapping[str, Type], member: str, wanted: tuple[str, ...], what: str) -> Expression:
    try:
        found = compile_expression(text, names)
    except ExpressionFault as fault:
        message = str(fault) + (f"; {fault.hint}" if fault.hint else "")
        raise _refuse(member, message) from fault
    if found.type not in wanted:
        raise _refuse(member, f"it is a {found.type}, and {what} is needed")
    return found


def _refuse(member: str, message: str) -> HeadwaterError:
    return HeadwaterError(
        "invalid_parameter", f"{member}: {message}", extra={"errors": [{"path": member, "message": message}]}
    )
