"""Who sees which rows and columns: the pure part, asked alike by services, by control's checks and by ``explain``.

Of the policies on one resource the first by priority whose principals include the caller decides, alone. Where a
resource has policies and none of them matches, nothing is shown: policies that end never open anything.

A row filter is an expression over the resource's columns and ``caller.*``. It is bound to a caller before it is typed:
every ``caller`` name is replaced by a constant in the syntax tree, so no text of a caller's ever reaches SQL as
anything but a typed literal. A caller without one of the attributes that a filter uses sees no rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, get_args

from headwater.core.expressions.check import check
from headwater.core.expressions.expression import Expression
from headwater.core.expressions.faults import ExpressionFault
from headwater.core.expressions.parser import parse
from headwater.core.expressions.terms import MAX_INTEGER, Node, Type
from headwater.core.spec import Spec

Mask = Literal["hide", "null", "hash", "last4"]
AttributeType = Literal["string", "integer", "number", "boolean", "timestamp", "strings", "integers"]
Value = str | int | float | bool | tuple[str, ...] | tuple[int, ...]

ATTRIBUTE_TYPES: Final[tuple[AttributeType, ...]] = get_args(AttributeType)
MASKS: Final[tuple[Mask, ...]] = get_args(Mask)
ATTRIBUTE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
EVERYONE: Final = "everyone"
PRINCIPAL_KINDS: Final = ("role", "group", "service_account", "user")
MAX_LIST: Final = 1_000
"""Values that one attribute of a caller may list."""
_CALLER: Final = "caller."
BUILT_IN_ATTRIBUTES: Final[Mapping[str, AttributeType]] = {
    "id": "string",
    "email": "string",
    "groups": "strings",
}
_SAMPLES: Final[Mapping[AttributeType, Value]] = {
    "string": "text",
    "integer": 1,
    "number": 0.5,
    "boolean": True,
    "timestamp": "2000-01-01T00:00:00Z",
    "strings": ("text",),
    "integers": (1,),
}


class PolicySpec(Spec):
    """A policy on one resource (``dataset:flights``, ``endpoint:delays``); the lowest ``priority`` is asked first.

    ``principals`` are ``everyone``, ``role:<name>``, ``group:<name>``, or ``user:`` and ``service_account:`` with an
    id. An empty ``row_filter`` shows every row. ``attributes`` declares the types of the key attributes it uses.
    """

    id: str
    name: str
    resource: str
    priority: int
    principals: tuple[str, ...]
    row_filter: str = ""
    attributes: dict[str, AttributeType] = {}
    columns: dict[str, Mask] = {}
    purpose: str = ""
    expires_at: datetime | None = None

    @property
    def shows_everything(self) -> bool:
        """Return whether whom it matches sees all rows and columns as they are."""
        return not self.row_filter and not self.columns


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whoever asks for rows: names by which policies know them, and the attributes that filters may use."""

    id: str
    principals: frozenset[str]
    groups: tuple[str, ...] = ()
    email: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """What decides about a resource.

    Attributes:
        policy: the policy that decides; None: none matches.
        is_open: nothing protects the resource, so that there is nothing to decide.
        until: when another policy may decide; None: not before something changes.
    """

    policy: PolicySpec | None
    is_open: bool = False
    until: datetime | None = None

    @property
    def shows_everything(self) -> bool:
        """Return whether all rows and columns are shown as they are."""
        return self.is_open or (self.policy is not None and self.policy.shows_everything)


def make_viewer(
    *,
    id: str,  # noqa: A002 - what filters call it
    kind: str,
    roles: Iterable[str],
    groups: Iterable[str],
    email: str | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> Viewer:
    """Return whoever has this id (``usr_…``, ``sa_…``), kind (``user`` or ``service_account``), roles and groups."""
    groups = tuple(sorted(groups))
    principals = {EVERYONE, f"{kind}:{id}", *(f"role:{name}" for name in roles), *(f"group:{name}" for name in groups)}
    return Viewer(id, frozenset(principals), groups, email, attributes or {})


def choose(policies: Sequence[PolicySpec], viewer: Viewer, at: datetime, *, protected: bool = False) -> Choice:
    """Return what decides for ``viewer`` at ``at`` among the policies on one resource.

    Args:
        policies: every policy on the resource, in any order, those that have ended included.
        viewer: who asks.
        at: now.
        protected: whether the resource shows nothing while no policy matches; one with policies never does.
    """
    if not policies and not protected:
        return Choice(None, is_open=True)
    for policy in sorted(policies, key=lambda one: one.priority):
        if not viewer.principals.intersection(policy.principals):
            continue
        ends = policy.expires_at
        if ends is not None and ends <= at:
            continue
        return Choice(policy, until=ends)
    return Choice(None)


def policies_on(resource: str, policies: Iterable[PolicySpec]) -> tuple[PolicySpec, ...]:
    """Return the policies on ``resource`` by priority."""
    return tuple(sorted((one for one in policies if one.resource == resource), key=lambda one: one.priority))


def check_filter(text: str, columns: Mapping[str, Type], attributes: Mapping[str, AttributeType]) -> Expression:
    """Return a row filter typed against its columns and the declared attributes, with sample values for those.

    Raises:
        ExpressionFault: it cannot be read, does not fit the types, or is no condition.
    """
    sample = Viewer(
        "usr_x", frozenset(), ("text",), "text", {name: _SAMPLES[kind] for name, kind in attributes.items()}
    )
    expression = bind_filter(text, columns, attributes, sample)
    assert expression is not None, "samples leave no attribute out"
    return expression


def bind_filter(
    text: str, columns: Mapping[str, Type], attributes: Mapping[str, AttributeType], viewer: Viewer
) -> Expression | None:
    """Return a row filter with the constants of ``viewer`` in place of ``caller`` names; None: it shows no rows.

    Raises:
        ExpressionFault: as ``check_filter``.
    """
    values = _values(attributes, viewer)
    try:
        node = _bind(parse(text), values)
    except _Missing:
        return None
    term = check(node, columns)
    if term.type != "boolean":
        what = "always null" if term.type == "null" else f"a {term.type}"
        raise ExpressionFault(f"this is {what}, and a row filter is a condition", 0, "such as carrier = 'AA'")
    return Expression(text, term)


def attributes_in(text: str) -> frozenset[str]:
    """Return the ``caller`` attributes that a filter uses, without their prefix; raises ``ExpressionFault``."""
    found: set[str] = set()
    waiting = [parse(text)]
    while waiting:
        node = waiting.pop()
        waiting += node.parts
        if node.kind == "name" and node.value.lower().startswith(_CALLER):
            found.add(node.value[len(_CALLER) :])
    return frozenset(found)


def attribute_value(value: Any, kind: AttributeType) -> Value | None:
    """Return ``value`` as an attribute of ``kind``; None when it is none, which is as good as missing."""
    if kind in ("strings", "integers"):
        if not isinstance(value, list | tuple) or len(value) > MAX_LIST:
            return None
        item = "string" if kind == "strings" else "integer"
        return tuple(value) if all(_CHECKS[item](one) for one in value) else None
    return value if _CHECKS[kind](value) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\x00" not in value


def _is_integer(value: Any) -> bool:
    return type(value) is int and -MAX_INTEGER - 1 <= value <= MAX_INTEGER


def _is_number(value: Any) -> bool:
    return _is_integer(value) or (isinstance(value, float) and math.isfinite(value))


def _is_instant(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


_CHECKS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "string": _is_text,
    "integer": _is_integer,
    "number": _is_number,
    "boolean": lambda value: isinstance(value, bool),
    "timestamp": _is_instant,
}


class _Missing(Exception):
    """The caller lacks an attribute."""


@dataclass(frozen=True, slots=True)
class _Attribute:
    value: Value | None
    kind: AttributeType


def _values(attributes: Mapping[str, AttributeType], viewer: Viewer) -> dict[str, _Attribute]:
    """Return what each ``caller`` name stands for; attributes cannot pose as the built-in ones."""
    given = {
        name: _Attribute(attribute_value(viewer.attributes.get(name), kind), kind) for name, kind in attributes.items()
    }
    own = {"id": viewer.id, "email": viewer.email, "groups": viewer.groups}
    built_in = {name: _Attribute(attribute_value(own[name], kind), kind) for name, kind in BUILT_IN_ATTRIBUTES.items()}
    return given | built_in


def _bind(node: Node, values: Mapping[str, _Attribute]) -> Node:
    if node.kind == "name" and node.value.lower().startswith(_CALLER):
        return _constant(node, values)
    if node.kind == "in":
        return _bind_list(node, values)
    return replace(node, parts=tuple(_bind(part, values) for part in node.parts)) if node.parts else node


def _bind_list(node: Node, values: Mapping[str, _Attribute]) -> Node:
    """Spread lists of the caller's within ``in (…)``; nothing is in an empty one."""
    sought, *members = node.parts
    spread: list[Node] = []
    for member in members:
        spread += _members(member, values)
    bound = _bind(sought, values)
    if not spread:
        # The condition keeps its operand, so that what is wrong with that is found all the same.
        never = Node("literal", node.at, value=False)
        return Node("and", node.at, (Node("not", node.at, (Node("is_null", node.at, (bound,)),)), never))
    return replace(node, parts=(bound, *spread))


def _members(node: Node, values: Mapping[str, _Attribute]) -> list[Node]:
    if node.kind == "name" and node.value.lower().startswith(_CALLER):
        attribute = _find(node, values)
        if isinstance(attribute.value, tuple):
            return [Node("literal", node.at, value=item) for item in attribute.value]
    return [_bind(node, values)]


def _constant(node: Node, values: Mapping[str, _Attribute]) -> Node:
    attribute = _find(node, values)
    if isinstance(attribute.value, tuple):
        raise ExpressionFault(f"{node.value} is a list", node.at, f"write column in ({node.value})")
    literal = Node("literal", node.at, value=attribute.value)
    if attribute.kind == "timestamp":
        at = datetime.fromisoformat(str(attribute.value)).astimezone(UTC)
        return Node("call", node.at, (replace(literal, value=at.isoformat()),), "timestamp")
    if attribute.kind == "number":
        assert isinstance(attribute.value, int | float)
        return replace(literal, value=float(attribute.value))
    return literal


def _find(node: Node, values: Mapping[str, _Attribute]) -> _Attribute:
    name = node.value[len(_CALLER) :]
    found = values.get(name)
    if found is None:
        known = ", ".join(f"{_CALLER}{one}" for one in sorted(values))
        raise ExpressionFault(f"there is no {node.value}", node.at, f"declare it under attributes; there are: {known}")
    if found.value is None:
        raise _Missing
    return found
