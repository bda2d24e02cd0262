"""Long tables by keyset: a page names the last row seen, so it costs the same however far one has come."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import FieldError, ValidationError
from django.db.models import Field, Model, Q, QuerySet
from django.http import Http404, HttpRequest

PAGE_ROWS: Final = 50


@dataclass(frozen=True, slots=True)
class Table:
    """A page of rows. ``following`` and ``first`` are query strings, empty where there is no such page."""

    rows: list[Any]
    following: str = ""
    first: str = ""

    def __bool__(self) -> bool:
        return bool(self.rows)


def keyset(
    rows: QuerySet[Any], request: HttpRequest, *, by: str, descending: bool = False, size: int = PAGE_ROWS
) -> Table:
    """Return the page of ``rows`` that ``?after=`` asks for, ordered by the column ``by`` and then by primary key.

    Args:
        rows: filtered as the reader asked; any order is replaced.
        request: its other query parameters are kept in the links.
        by: a column of the rows' own that is never null; an index on it keeps the pages fast.
        descending: whether the largest comes first.
        size: rows a page.

    Raises:
        Http404: a cursor that no page gave out.
    """
    query = request.GET.copy()
    cursor = query.pop("after", [""])[-1]
    if cursor:
        rows = rows.filter(_beyond(rows.model, by, cursor, descending=descending))
    sign = "-" if descending else ""
    found = list(rows.order_by(f"{sign}{by}", f"{sign}pk")[: size + 1])
    shown = found[:size]
    first = f"?{query.urlencode()}" if cursor else ""
    if len(found) > size:
        query["after"] = _encode(shown[-1], by)
    return Table(shown, f"?{query.urlencode()}" if len(found) > size else "", first)


def _beyond(model: type[Model], by: str, cursor: str, *, descending: bool) -> Q:
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        value, key = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
        value = _column(model, by).to_python(value)
        pk = model._meta.pk.to_python(key)
    except (binascii.Error, ValueError, TypeError, FieldError, ValidationError) as error:
        raise Http404("no page gave out this cursor") from error
    sign = "lt" if descending else "gt"
    return Q(**{f"{by}__{sign}": value}) | Q(**{by: value, f"pk__{sign}": pk})


def _encode(row: Model, by: str) -> str:
    value = _column(type(row), by).value_to_string(row)
    text = json.dumps([value, str(row.pk)], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _column(model: type[Model], name: str) -> Field[Any, Any]:
    found = model._meta.get_field(name)
    if not isinstance(found, Field):
        raise FieldError(f"{name} is no column of {model.__name__}")
    return found
