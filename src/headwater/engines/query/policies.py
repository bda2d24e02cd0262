"""What a policy means in SQL: a condition on rows, and what is shown in place of columns.

Everything here is made of the policy's own text, of columns' quoted names and of typed literals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.expressions import ExpressionFault
from headwater.core.expressions.terms import Type
from headwater.core.policies import AttributeType, Mask, PolicySpec, Viewer, attributes_in, bind_filter, check_filter
from headwater.engines.query.rules import NEVER, Columns, RowRule, column_of

_HASH_LETTERS: Final = 32
_INTEGERS: Final = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT"}
)
_TYPES: Final[Mapping[str, Type]] = {
    **dict.fromkeys(_INTEGERS, "integer"),
    "FLOAT": "number",
    "DOUBLE": "number",
    "BOOLEAN": "boolean",
    "VARCHAR": "string",
    "UUID": "string",
    "DATE": "string",
    "TIME": "string",
    "TIMESTAMP WITH TIME ZONE": "timestamp",
}


@dataclass(frozen=True, slots=True)
class PolicyProblem:
    """Something wrong with a policy: which member of it, what, and the cure."""

    path: str
    message: str


def expression_types(columns: Columns) -> dict[str, Type]:
    """Return the columns that row filters may use, with what they are to expressions."""
    types = {name: _type(sql) for name, sql in columns}
    return {name: kind for name, kind in types.items() if kind is not None}


def find_problems(
    columns: Columns, *, row_filter: str, attributes: Mapping[str, AttributeType], masks: Mapping[str, Mask]
) -> list[PolicyProblem]:
    """Hold a policy's parts against the columns of its resource; return everything that is wrong."""
    problems: list[PolicyProblem] = []
    if row_filter:
        try:
            check_filter(row_filter, expression_types(columns), attributes)
            used = attributes_in(row_filter)
        except ExpressionFault as fault:
            problems.append(PolicyProblem("rows", f"{fault}{f'; {fault.hint}' if fault.hint else ''}"))
            used = frozenset(attributes)
        problems += [
            PolicyProblem(f"attributes.{name}", "the row filter does not use it; leave it out")
            for name in sorted(set(attributes) - used)
        ]
    elif attributes:
        problems.append(PolicyProblem("attributes", "there is no row filter that uses them; leave them out"))
    types = dict(columns)
    for name, mask in masks.items():
        problem = _mask_problem(name, mask, types)
        if problem is not None:
            problems.append(PolicyProblem(f"columns.{name}", problem))
    if masks and {name for name, mask in masks.items() if mask == "hide"} >= set(types):
        problems.append(PolicyProblem("columns", "it hides every column; show at least one"))
    return problems


def compile_rule(policy: PolicySpec, viewer: Viewer, columns: Columns, *, mask_key: str) -> RowRule:
    """Return what ``policy`` makes of ``columns`` for ``viewer``.

    Raises:
        HeadwaterError: ``forbidden`` when the policy does not fit the columns, so that nothing is safe to show.
    """
    where = _where(policy, viewer, columns)
    shown: list[tuple[str, str]] = []
    hidden: list[str] = []
    for name, type_ in columns:
        mask = policy.columns.get(name)
        if mask == "hide":
            hidden.append(name)
        else:
            shown.append((name, column_of(name) if mask is None else _masked(name, type_, mask, mask_key)))
    if not shown:
        raise HeadwaterError("forbidden", f"the policy {policy.name} hides every column", hint="ask for another policy")
    return RowRule(where, tuple(shown), tuple(hidden))


@dataclass(frozen=True, slots=True)
class BoundPolicy:
    """A policy on what a query answers, for one viewer.

    Attributes:
        policy: the policy that decides; None: none matches, so no rows are shown.
        viewer: who asks.
        mask_key: what hashes of masked columns are made with.
    """

    policy: PolicySpec | None
    viewer: Viewer
    mask_key: str

    def rule(self, columns: Columns) -> RowRule:
        """Return what it shows of these columns; raises ``forbidden`` when it does not fit them."""
        if self.policy is None:
            return RowRule(NEVER, tuple((name, column_of(name)) for name, _ in columns))
        return compile_rule(self.policy, self.viewer, columns, mask_key=self.mask_key)


def _where(policy: PolicySpec, viewer: Viewer, columns: Columns) -> str:
    if not policy.row_filter:
        return ""
    types = expression_types(columns)
    try:
        expression = bind_filter(policy.row_filter, types, policy.attributes, viewer)
    except ExpressionFault as fault:
        raise HeadwaterError(
            "forbidden",
            f"the policy {policy.name} cannot be applied here: {fault}",
            hint="a policy filters by columns that the caller may see no more, or that are gone; mend one of the two",
        ) from fault
    if expression is None:
        return NEVER
    sql_types = dict(columns)
    return expression.sql({name: _value(name, sql_types[name], types[name]) for name in expression.names})


def _type(sql: str) -> Type | None:
    return "number" if sql.startswith("DECIMAL") else _TYPES.get(sql)


def _value(name: str, sql: str, kind: Type) -> str:
    """Return the SQL of a column as expressions take it: of their type, and null where that has no such value."""
    column = column_of(name)
    if kind == "number":
        value = column if sql == "DOUBLE" else f"TRY_CAST({column} AS DOUBLE)"
        return f"CASE WHEN isfinite({value}) THEN {value} END"
    if kind == "string" and sql != "VARCHAR":
        return f"CAST({column} AS VARCHAR)"
    if kind == "integer" and sql in ("HUGEINT", "UHUGEINT", "UBIGINT"):
        return f"TRY_CAST({column} AS BIGINT)"
    return column


def _mask_problem(name: str, mask: Mask, types: Mapping[str, str]) -> str | None:
    sql = types.get(name)
    if sql is None:
        return f"there is no column {name!r}; there are: {', '.join(types)}"
    if mask == "last4" and sql != "VARCHAR":
        return f"last4 shows the end of a text, and this is {sql.lower()}; use hash, null or hide"
    if mask == "hash" and _type(sql) is None:
        return f"a value of type {sql.lower()} has no hash; use null or hide"
    return None


def _masked(name: str, sql: str, mask: Mask, mask_key: str) -> str:
    column = column_of(name)
    if mask == "last4":
        short = f"WHEN {column} IS NOT NULL THEN '****'"
        return f"CASE WHEN length({column}) > 4 THEN '****' || right({column}, 4) {short} END"
    if mask == "hash" and mask_key:
        key = mask_key.replace("'", "''")
        return f"left(sha256('{key}' || CAST({column} AS VARCHAR)), {_HASH_LETTERS})"
    return f"CAST(NULL AS {'VARCHAR' if mask == 'hash' else sql})"
