"""The type check: from what is written to terms that cannot fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final

from headwater.core.expressions.faults import ExpressionFault
from headwater.core.expressions.terms import Node, Term, Type

_ORDERED: Final = ("integer", "number", "string", "timestamp")
_NUMERIC: Final = ("integer", "number")
_PARTS: Final = ("year", "month", "day", "hour", "weekday")
_MAX_DIGITS: Final = 15


def check(node: Node, names: Mapping[str, Type]) -> Term:
    """Return the typed form of ``node``; raises ``ExpressionFault`` at what does not fit."""
    return _Checker(names).term(node)


class _Checker:
    def __init__(self, names: Mapping[str, Type]) -> None:
        self._names = names
        self._kinds: dict[str, Callable[[Node], Term]] = {
            "literal": self._literal,
            "name": self._name,
            "call": self._call,
            "case": self._case,
            "in": self._in,
            "is_null": self._is_null,
            "not": self._logic,
            "and": self._logic,
            "or": self._logic,
            "negate": self._arithmetic,
            **dict.fromkeys("+-*/%", self._arithmetic),
            **dict.fromkeys(("=", "!=", "<", "<=", ">", ">="), self._comparison),
        }
        self._functions: dict[str, tuple[Callable[[Node, list[Term]], Term], int, int]] = {
            "abs": (self._abs, 1, 1),
            "min": (self._extreme, 1, 100),
            "max": (self._extreme, 1, 100),
            "round": (self._round, 1, 2),
            "floor": (self._real, 1, 1),
            "ln": (self._real, 1, 1),
            "exp": (self._real, 1, 1),
            "sqrt": (self._real, 1, 1),
            "coalesce": (self._coalesce, 1, 100),
            "if": (self._if, 2, 3),
            "lower": (self._text, 1, 1),
            "upper": (self._text, 1, 1),
            "length": (self._text, 1, 1),
            "contains": (self._text, 2, 2),
            "starts_with": (self._text, 2, 2),
            "timestamp": (self._timestamp, 1, 1),
            **dict.fromkeys(_PARTS, (self._part, 1, 1)),
        }

    def term(self, node: Node) -> Term:
        return self._kinds[node.kind](node)

    def _literal(self, node: Node) -> Term:
        return _literal(node.value)

    def _name(self, node: Node) -> Term:
        found = self._names.get(node.value)
        if found is None:
            raise ExpressionFault(
                f"there is no name {node.value!r}", node.at, _suggest(node.value, self._names) or "it knows no names"
            )
        return Term("name", found, (), node.value)

    def _logic(self, node: Node) -> Term:
        return Term(node.kind, "boolean", tuple(self._typed(part, "boolean") for part in node.parts))

    def _typed(self, node: Node, type_: Type) -> Term:
        """Return the term of a part that must have a type."""
        term = self.term(node)
        if term.type not in (type_, "null"):
            cure = "compare it with something" if type_ == "boolean" else None
            raise ExpressionFault(f"this is a {term.type}, and a {type_} is needed", node.at, cure)
        return term

    def _numeric(self, node: Node) -> Term:
        term = self.term(node)
        if term.type not in (*_NUMERIC, "null"):
            raise ExpressionFault(f"this is a {term.type}, and a number is needed", node.at)
        return term

    def _arithmetic(self, node: Node) -> Term:
        parts = [self._numeric(part) for part in node.parts]
        is_whole = node.kind != "/" and all(part.type != "number" for part in parts)
        if is_whole:
            return Term(f"{node.kind}i", "integer", tuple(parts))
        return Term(f"{node.kind}f", "number", tuple(_as_number(part) for part in parts))

    def _comparison(self, node: Node) -> Term:
        parts = self._alike(node.parts, [self.term(part) for part in node.parts])
        if node.kind not in ("=", "!=") and parts[0].type not in (*_ORDERED, "null"):
            raise ExpressionFault(f"a {parts[0].type} has no order", node.at, "compare with = or !=")
        return Term(node.kind, "boolean", tuple(parts))

    def _is_null(self, node: Node) -> Term:
        return Term("is_null", "boolean", (self.term(node.parts[0]),))

    def _in(self, node: Node) -> Term:
        parts = self._alike(node.parts, [self.term(part) for part in node.parts])
        for part, written in zip(parts[1:], node.parts[1:], strict=True):
            if part.op != "literal" or part.value is None:
                raise ExpressionFault("a list holds constants only", written.at, "join comparisons by 'or' instead")
        return Term("in", "boolean", tuple(parts))

    def _case(self, node: Node) -> Term:
        *branches, otherwise = node.parts
        conditions = [self._typed(part, "boolean") for part in branches[::2]]
        written = [*branches[1::2], otherwise]
        values = self._alike(written, [self.term(part) for part in written])
        parts = [part for pair in zip(conditions, values[:-1], strict=True) for part in pair]
        return Term("case", values[0].type, (*parts, values[-1]))

    def _call(self, node: Node) -> Term:
        known = self._functions.get(node.value)
        if known is None:
            raise ExpressionFault(
                f"there is no function {node.value!r}", node.at, _suggest(node.value, self._functions)
            )
        make, least, most = known
        if not least <= len(node.parts) <= most:
            wanted = str(least) if least == most else f"{least} or more" if most > 3 else f"{least} to {most}"  # noqa: PLR2004
            raise ExpressionFault(f"{node.value} takes {wanted} arguments, not {len(node.parts)}", node.at)
        return make(node, [self.term(part) for part in node.parts])

    def _alike(self, written: Sequence[Node], parts: list[Term]) -> list[Term]:
        """Return the parts in one type: whole numbers become numbers beside numbers, null takes any."""
        types = {part.type for part in parts} - {"null"}
        if types <= set(_NUMERIC) and "number" in types:
            return [_as_number(part) for part in parts]
        if len(types) > 1:
            first = next(part.type for part in parts if part.type != "null")
            at, other = next(
                (w.at, p.type) for w, p in zip(written, parts, strict=True) if p.type not in (first, "null")
            )
            raise ExpressionFault(f"this is a {other} beside a {first}", at, f"make both a {first}")
        type_: Type = types.pop() if types else "null"
        return [Term("literal", type_) if part.type == "null" else part for part in parts]

    def _abs(self, node: Node, parts: list[Term]) -> Term:
        part = self._numeric(node.parts[0])
        return Term("absf", "number", (part,)) if part.type == "number" else Term("absi", "integer", tuple(parts))

    def _extreme(self, node: Node, parts: list[Term]) -> Term:
        alike = self._alike(node.parts, parts)
        if alike[0].type not in (*_ORDERED, "null"):
            raise ExpressionFault(f"a {alike[0].type} has no order", node.at)
        return Term(node.value, alike[0].type, tuple(alike))

    def _round(self, node: Node, parts: list[Term]) -> Term:
        digits = parts[1] if len(parts) > 1 else _literal(0)
        if digits.op != "literal" or not isinstance(digits.value, int) or not 0 <= digits.value <= _MAX_DIGITS:
            raise ExpressionFault(f"round takes a constant number of digits from 0 to {_MAX_DIGITS}", node.parts[1].at)
        return Term("round", "number", (_as_number(self._numeric(node.parts[0])),), 10.0**digits.value)

    def _real(self, node: Node, _parts: list[Term]) -> Term:
        return Term(node.value, "number", (_as_number(self._numeric(node.parts[0])),))

    def _coalesce(self, node: Node, parts: list[Term]) -> Term:
        alike = self._alike(node.parts, parts)
        return Term("coalesce", alike[0].type, tuple(alike))

    def _if(self, node: Node, _parts: list[Term]) -> Term:
        parts = node.parts if len(node.parts) == 3 else (*node.parts, Node("literal", node.at))  # noqa: PLR2004 - if, then, else
        return self._case(Node("case", node.at, parts))

    def _text(self, node: Node, _parts: list[Term]) -> Term:
        parts = tuple(self._typed(part, "string") for part in node.parts)
        types: dict[str, Type] = {"length": "integer", "contains": "boolean", "starts_with": "boolean"}
        return Term(node.value, types.get(node.value, "string"), parts)

    def _part(self, node: Node, _parts: list[Term]) -> Term:
        return Term(node.value, "integer", (self._typed(node.parts[0], "timestamp"),))

    def _timestamp(self, node: Node, parts: list[Term]) -> Term:
        try:
            instant = datetime.fromisoformat(str(parts[0].value))
        except ValueError:
            instant = None
        if parts[0].op != "literal" or instant is None or instant.tzinfo is None:
            cure = "write timestamp('2013-01-31T12:00:00Z')"
            raise ExpressionFault("timestamp takes a constant text with a date, a time and an offset", node.at, cure)
        return Term("literal", "timestamp", (), instant.astimezone(UTC))


def _literal(value: Any) -> Term:
    if value is None:
        return Term("literal", "null")
    types: dict[type, Type] = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return Term("literal", types[type(value)], (), value)


def _as_number(term: Term) -> Term:
    if term.type == "number":
        return term
    if term.op == "literal":
        return Term("literal", "number", (), None if term.value is None else float(term.value))
    return Term("number", "number", (term,))


def _suggest(name: str, known: Mapping[str, Any]) -> str | None:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    listed = sorted(known)[:20]
    return f"one of: {', '.join(listed)}" if listed else None
