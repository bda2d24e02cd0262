"""An expression ready for use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.core.expressions.check import check
from headwater.core.expressions.closures import to_closure
from headwater.core.expressions.parser import parse
from headwater.core.expressions.sql import to_sql
from headwater.core.expressions.terms import Term, Type


class Expression:
    """A checked expression: called with values by name it answers for one row, ``sql`` answers for many.

    Attributes:
        text: what was written.
        type: of the answer; ``null`` when it is always null.
        names: the names it uses.
    """

    __slots__ = ("_evaluate", "_term", "names", "text", "type")

    def __init__(self, text: str, term: Term) -> None:
        """Compile a checked term."""
        self.text = text
        self.type: Type = term.type
        self.names = frozenset(_names(term))
        self._term = term
        self._evaluate = to_closure(term)

    def __call__(self, row: Mapping[str, Any]) -> Any:
        """Return the answer for a row; a name that is not there is null. Numbers must be finite."""
        return self._evaluate(row)

    def sql(self, columns: Mapping[str, str]) -> str:
        """Return the DuckDB expression, given that of each name (of the name's type, and never NaN or infinite)."""
        return to_sql(self._term, columns)


def compile_expression(text: str, names: Mapping[str, Type]) -> Expression:
    """Return the expression ``text``, which may use ``names`` with their types.

    Raises:
        ExpressionFault: it cannot be read or does not fit the types; the fault names the place and the cure.
    """
    return Expression(text, check(parse(text), names))


def _names(term: Term) -> set[str]:
    found = {term.value} if term.op == "name" else set()
    return found.union(*(_names(part) for part in term.parts))
