"""The context that flags look at: which attributes an expression reads, of which types, and reading them leniently."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from headwater.core.expressions.parser import parse
from headwater.core.expressions.terms import Node, Type

_LOGIC: Final = frozenset({"and", "or", "not"})
_ARITHMETIC: Final = frozenset("+-*/%") | {"negate"}
_COMPARISON: Final = frozenset({"=", "!=", "<", "<=", ">", ">=", "in"})
_NUMERIC: Final = frozenset({"abs", "round", "floor", "ln", "exp", "sqrt"})
_TEXT: Final[Mapping[str, Type]] = {
    "lower": "string", "upper": "string", "length": "number", "contains": "boolean", "starts_with": "boolean",
}  # fmt: skip
_PARTS: Final = frozenset({"year", "month", "day", "hour", "weekday"})
_ALIKE: Final = frozenset({"min", "max", "coalesce"})


def infer_types(text: str) -> dict[str, Type]:
    """Return the attributes that an expression names, each with the type that it is used as.

    An attribute that shows no type, as in ``plan is null``, is a string; whole numbers are numbers. What does not fit
    together is left for the check of the expression to find.

    Raises:
        ExpressionFault: it cannot be read.
    """
    node = parse(text)
    inference = _Inference()
    known = -1
    while known != len(inference.types):
        # Again, because what is learnt at the end of "a = b and b > 3" says something about its beginning.
        known = len(inference.types)
        inference.learn(node, "boolean")
    unknown: dict[str, Type] = dict.fromkeys(_names(node), "string")
    return unknown | inference.types


def _names(node: Node) -> Iterable[str]:
    if node.kind == "name":
        yield node.value
    for part in node.parts:
        yield from _names(part)


class _Inference:
    """What is known of the types of names so far."""

    def __init__(self) -> None:
        self.types: dict[str, Type] = {}

    def learn(self, node: Node, wanted: Type | None = None) -> Type | None:
        """Return the type of ``node`` if that is known; a name takes on the type that is wanted of it."""
        match node.kind:
            case "literal":
                return _literal_type(node.value)
            case "name":
                return self._name(node, wanted)
            case "call":
                return self._call(node, wanted)
            case "case":
                return self._case(node.parts, wanted)
            case kind:
                return self._operator(kind, node)

    def _operator(self, kind: str, node: Node) -> Type:
        if kind in _ARITHMETIC:
            return self._all(node.parts, "number")
        if kind in _LOGIC:
            return self._all(node.parts, "boolean")
        if kind in _COMPARISON:
            self._alike(node.parts)
        else:
            self.learn(node.parts[0])
        return "boolean"

    def _name(self, node: Node, wanted: Type | None) -> Type | None:
        return self.types.setdefault(node.value, wanted) if wanted else self.types.get(node.value)

    def _call(self, node: Node, wanted: Type | None) -> Type | None:
        name = node.value
        if name in _TEXT:
            self._all(node.parts, "string")
            return _TEXT[name]
        if name in _PARTS:
            self._all(node.parts, "timestamp")
            return "number"
        if name in _ALIKE:
            return self._alike(node.parts, wanted)
        if name == "if":
            return self._case(node.parts, wanted)
        return self._all(node.parts, "number") if name in _NUMERIC else "timestamp"

    def _case(self, parts: Sequence[Node], wanted: Type | None) -> Type | None:
        """Learn from conditions and values by turns; an odd one out at the end is a value."""
        pairs = len(parts) // 2 * 2
        self._all(parts[:pairs:2], "boolean")
        return self._alike([*parts[1:pairs:2], *parts[pairs:]], wanted)

    def _all(self, parts: Iterable[Node], type_: Type) -> Type:
        for part in parts:
            self.learn(part, type_)
        return type_

    def _alike(self, parts: Sequence[Node], wanted: Type | None = None) -> Type | None:
        found = next((type_ for part in parts if (type_ := self.learn(part)) is not None), wanted)
        for part in parts:
            self.learn(part, found)
        return found


def _literal_type(value: Any) -> Type | None:
    types: dict[type, Type] = {bool: "boolean", int: "number", float: "number", str: "string"}
    return types.get(type(value))


class Frame:
    """Attributes that are read from a context together, each as one type."""

    __slots__ = ("_readers", "types")

    def __init__(self) -> None:
        """Begin with none."""
        self.types: dict[str, Type] = {}
        self._readers: list[tuple[str, tuple[str, ...], Callable[[Any], Any]]] = []

    def admit(self, types: Mapping[str, Type]) -> bool:
        """Add attributes; return whether they fit with those there, of which none changes otherwise."""
        if any(self.types.get(name, type_) != type_ for name, type_ in types.items()):
            return False
        for name, type_ in types.items():
            if name not in self.types:
                self.types[name] = type_
                path = tuple(name.split(".")) if "." in name else ()
                self._readers.append((name, path, _READERS[type_]))
        return True

    def read(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes of ``context``; what is missing or of another type is null."""
        return {
            name: read(context.get(name) if not path else _find(context, name, path))
            for name, path, read in self._readers
        }


def _find(context: Mapping[str, Any], name: str, path: tuple[str, ...]) -> Any:
    """Return what lies under a dotted name: an attribute of just that name, else the member of nested objects."""
    if name in context:
        return context[name]
    found: Any = context
    for step in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found


def _boolean(value: Any) -> bool | None:
    return value if type(value) is bool else None


def _string(value: Any) -> str | None:
    return value if type(value) is str else None


def _number(value: Any) -> float | None:
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is not int:
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _timestamp(value: Any) -> datetime | None:
    if type(value) is not str:
        return None
    try:
        instant = datetime.fromisoformat(value)
        return instant.astimezone(UTC) if instant.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "boolean": _boolean,
    "string": _string,
    "number": _number,
    "timestamp": _timestamp,
}
