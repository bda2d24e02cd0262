"""What expressions are made of: the tree as it is written, and the typed terms that the check makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

Type = Literal["boolean", "integer", "number", "string", "timestamp", "null"]
TYPES: Final = ("boolean", "integer", "number", "string", "timestamp")
MAX_LENGTH: Final = 4_000
MAX_DEPTH: Final = 32
MAX_TERMS: Final = 500
MAX_INTEGER: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Node:
    """A part of the text: what it does, to which parts, and where it begins.

    ``kind`` is ``literal`` or ``name`` (with ``value``), an operator, or ``call`` (``value`` is the function's name).
    """

    kind: str
    at: int
    parts: tuple[Node, ...] = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class Term:
    """A checked part: ``op`` says how it is computed, and no operand needs converting any more."""

    op: str
    type: Type
    parts: tuple[Term, ...] = ()
    value: Any = field(default=None)
