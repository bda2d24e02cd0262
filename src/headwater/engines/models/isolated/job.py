"""What a worker is told about the version it runs, free of everything that it need not import."""

from __future__ import annotations

from typing import Any

import msgspec

from headwater.contracts.model import Constraints, Field, LogicalType


class InputJob(msgspec.Struct, frozen=True):
    """One input field, as far as running a model needs to know it."""

    name: str
    type: str
    may_be_absent: bool = False
    has_default: bool = False
    default: Any = None
    values: tuple[Any, ...] | None = None


class OutputJob(msgspec.Struct, frozen=True):
    """One output."""

    name: str
    type: str
    shape: tuple[int, ...] = ()
    source: str | None = None
    index: int | None = None


class Job(msgspec.Struct, frozen=True):
    """A version to load: where its artifact lies, its signature, and what it may use."""

    framework: str
    artifact: str
    inputs: tuple[InputJob, ...]
    outputs: tuple[OutputJob, ...]
    options: dict[str, Any]
    examples: tuple[dict[str, Any], ...]
    memory_bytes: int
    allow_pickle: bool

    def fields(self) -> list[Field]:
        """Return the inputs as fields of a contract."""
        return [
            Field(
                item.name,
                LogicalType(item.type),
                nullable=item.may_be_absent,
                has_default=item.has_default,
                default=item.default,
                constraints=Constraints(enum=item.values),
            )
            for item in self.inputs
        ]


class Ready(msgspec.Struct, frozen=True):
    """What a worker says of itself once it has loaded and tried its version."""

    takes_matrix: bool
    dtype: str
    limits: tuple[float, ...]
    load_ms: float
    model_bytes: int
    pickle: str | None = None
    confinement_gap: str | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why a worker could not load, or a run failed. ``ends`` says that the worker ends because of it."""

    code: str
    detail: str
    hint: str | None = None
    ends: bool = False


def may_be_absent(field: Field) -> bool:
    """Return whether a row may come without a value of the field."""
    return field.nullable or (not field.required and not field.has_default)
