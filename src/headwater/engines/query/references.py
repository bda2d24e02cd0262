"""Endpoints as views of others: a checked query in the place of a table's name, its parameters bound to their defaults.

Parameters of a query that stands within another are renamed by its endpoint, so that two never meet under one name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb
import orjson

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ParameterSpec
from headwater.engines.query.parameters import duckdb_types
from headwater.engines.query.rules import RowRule
from headwater.engines.query.walk import CheckedQuery, check_query, scratch

_MAX_BYTES: Final = 400_000
"""What a query may grow to by the views in it."""


def view_parameter(name: str, version: int, parameter: str) -> str:
    """Return what a parameter is called where its endpoint is a view: a name that no endpoint can give."""
    return f"_{version}_{len(name)}_{name}_{parameter}"


def check_view(
    sql: str, label: tuple[str, int], parameters: Sequence[ParameterSpec], tables: Sequence[str]
) -> CheckedQuery:
    """Return an endpoint's query as a view of others.

    Raises:
        HeadwaterError: ``sql_rejected`` as ``check_query``.
    """
    names = {spec.name: view_parameter(*label, spec.name) for spec in parameters}
    types = {names[name]: type_ for name, type_ in duckdb_types(parameters).items()}
    return check_query(_renamed(sql, names) if names else sql, tables=tables, parameter_types=types)


def compose(query: CheckedQuery, views: Mapping[str, CheckedQuery]) -> CheckedQuery:
    """Return ``query`` with queries in the place of those tables that ``views`` names.

    Raises:
        HeadwaterError: ``sql_rejected`` when it comes to more text than can be planned.
    """
    if not views:
        return query
    pieces, slots = [query.pieces[0]], []
    for slot, piece in zip(query.slots, query.pieces[1:], strict=True):
        view = views.get(slot)
        if view is None:
            slots.append(slot)
            pieces.append(piece)
            continue
        first, *others = view.pieces
        pieces[-1] += f"({first}"
        pieces += others
        slots += view.slots
        pieces[-1] += f"){piece}"
    if sum(map(len, pieces)) > _MAX_BYTES:
        raise HeadwaterError("sql_rejected", "the endpoints it reads make the statement too long", hint="read fewer")
    used = [query, *(view for name, view in views.items() if name in query.slots)]
    return CheckedQuery(
        pieces=tuple(pieces),
        slots=tuple(slots),
        tables=tuple(sorted(set(slots))),
        parameters=tuple(sorted({name for one in used for name in one.parameters})),
        reads_clock=any(one.reads_clock for one in used),
    )


def within(query: CheckedQuery, rule: RowRule) -> CheckedQuery:
    """Return ``query`` as a policy on its answer shows it."""
    return wrap(query, *rule.select(_MARK).split(_MARK))


def wrap(query: CheckedQuery, before: str, after: str) -> CheckedQuery:
    """Return ``query`` between two pieces of SQL of our own."""
    first, *others = query.pieces
    pieces = [before + first, *others]
    pieces[-1] += after
    return CheckedQuery(tuple(pieces), query.slots, query.tables, query.parameters, query.reads_clock)


_MARK: Final = "\x00"


def _renamed(sql: str, names: Mapping[str, str]) -> str:
    try:
        with scratch() as connection:
            row = connection.execute("SELECT json_serialize_sql($text)", {"text": sql}).fetchone()
            assert row is not None
            tree = orjson.loads(row[0])
            _rename(tree, names)
            row = connection.execute(
                "SELECT json_deserialize_sql($text)", {"text": orjson.dumps(tree).decode()}
            ).fetchone()
    except (duckdb.Error, orjson.JSONDecodeError) as error:
        raise HeadwaterError("sql_rejected", "the statement has a form that cannot be a view") from error
    assert row is not None
    return str(row[0])


def _rename(node: Any, names: Mapping[str, str]) -> None:
    waiting = [node]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            if item.get("class") == "PARAMETER":
                item["identifier"] = names.get(item["identifier"], item["identifier"])
            waiting += item.values()
