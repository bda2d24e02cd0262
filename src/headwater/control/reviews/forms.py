"""Forms: contracts that answers are held against, and what a page needs to draw one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import orjson

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.odcs import parse_contract
from headwater.contracts.rows import Validator
from headwater.contracts.spec import contract_from_spec
from headwater.contracts.validate import compile_contract
from headwater.core.errors import HeadwaterError

MAX_FIELDS: Final = 30
_SHOWN: Final = frozenset(
    {LogicalType.BOOLEAN, LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.DECIMAL, LogicalType.STRING}
)


@dataclass(frozen=True, slots=True)
class Question:
    """One field of a form as a page draws it. ``kind`` is choice, boolean, integer, number or text."""

    name: str
    label: str
    kind: str
    required: bool
    choices: tuple[str, ...] = ()
    least: Any = None
    most: Any = None
    max_length: int | None = None


def read_form(properties: list[dict[str, Any]], *, name: str, source: str) -> Contract:
    """Return the contract of a form from its properties in ODCS; raises ``contract_invalid`` or ``project_invalid``."""
    document = {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": name, "name": name, "version": "1.0.0",
        "status": "active", "schema": [{"name": name, "logicalType": "object", "properties": properties}],
    }  # fmt: skip
    contract = parse_contract(orjson.dumps(document).decode(), source=source)
    odd = [field.name for field in contract.fields if field.type not in _SHOWN]
    if odd or len(contract.fields) > MAX_FIELDS:
        what = f"{odd[0]!r} is of a type that no form can ask for" if odd else f"it has more than {MAX_FIELDS} fields"
        raise HeadwaterError(
            "contract_invalid", what, hint="use boolean, integer, number or string", extra={"path": "form"}
        )
    return replace(contract, on_unknown="quarantine", on_error="reject_row")


def questions(spec: Mapping[str, Any] | None) -> list[Question]:
    """Return what a form asks, in order."""
    return [] if spec is None else [_question(field) for field in contract_from_spec(dict(spec)).fields]


def check_answers(spec: Mapping[str, Any] | None, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return answers that a form accepts.

    Raises:
        HeadwaterError: ``invalid_parameter`` with every fault by field.
    """
    if spec is None:
        if answers:
            raise HeadwaterError("invalid_parameter", "answers: this queue has no form", hint="leave them out")
        return {}
    faults = _compiled(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)).diagnose(orjson.dumps(answers))
    if faults:
        found = [{"path": fault.path.lstrip("/"), "message": fault.message} for fault in faults]
        text = "; ".join(f"{one['path']}: {one['message']}" for one in found)
        raise HeadwaterError("invalid_parameter", f"answers: {text}", extra={"errors": found})
    return dict(answers)


def answers_from_texts(spec: Mapping[str, Any] | None, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return what somebody typed as values; what is no value of its type stays text, for the contract to refuse."""
    answers: dict[str, Any] = {}
    for question in questions(spec):
        text = texts.get(question.name, "").strip()
        if text:
            answers[question.name] = _value(question.kind, text)
    return answers


@lru_cache(maxsize=64)
def _compiled(spec: bytes) -> Validator:
    return compile_contract(contract_from_spec(orjson.loads(spec)))


def _question(field: Field) -> Question:
    limits = field.constraints
    kinds = {LogicalType.BOOLEAN: "boolean", LogicalType.INTEGER: "integer", LogicalType.STRING: "text"}
    kind = "choice" if limits.enum else kinds.get(field.type, "number")
    return Question(
        name=field.name,
        label=field.description or field.name.replace("_", " ").capitalize(),
        kind=kind,
        required=field.required,
        choices=tuple(str(value) for value in limits.enum or ()),
        least=limits.ge,
        most=limits.le,
        max_length=limits.max_length,
    )


def _value(kind: str, text: str) -> Any:
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower(), text)
    if kind in ("integer", "number"):
        try:
            return int(text) if kind == "integer" else float(text)
        except ValueError:
            return text
    return text
