"""Keyset pages: a cursor names the last row seen, so pages neither skip nor repeat rows while others are added."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from ninja import Field, Schema

from headwater.core.errors import HeadwaterError

M = TypeVar("M", bound=Model)
T = TypeVar("T")


class Page(Schema, Generic[T]):
    """One page. Pass ``next`` as ``cursor`` for the following one; it is null on the last page."""

    items: list[T]
    next: str | None = None


class PageQuery(Schema):
    """Which page is asked for."""

    limit: int = Field(50, ge=1, le=200, description="Rows a page")
    cursor: str | None = Field(None, max_length=100, description="`next` of the page before")


def take_page(rows: QuerySet[M], query: PageQuery, show: Callable[[M], T], *, newest_first: bool = False) -> Page[T]:
    """Return a page of ``rows`` in the order of their time-ordered ids.

    Raises:
        HeadwaterError: ``invalid_parameter`` for a cursor that no page gave out.
    """
    if query.cursor is not None:
        after = _decode(query.cursor)
        rows = rows.filter(pk__lt=after) if newest_first else rows.filter(pk__gt=after)
    found = list(rows.order_by("-pk" if newest_first else "pk")[: query.limit + 1])
    shown = found[: query.limit]
    following = _encode(shown[-1].pk) if len(found) > query.limit else None
    return Page[Any](items=[show(row) for row in shown], next=following)


def _encode(key: uuid.UUID) -> str:
    return base64.urlsafe_b64encode(key.bytes).decode().rstrip("=")


def _decode(cursor: str) -> uuid.UUID:
    try:
        return uuid.UUID(bytes=base64.b64decode(cursor + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as error:
        raise HeadwaterError(
            "invalid_parameter", f"{cursor[:40]!r} is not a cursor", hint="use `next` of the page before, as it is"
        ) from error
