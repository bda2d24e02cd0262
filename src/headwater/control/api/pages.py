"""Keyset pages: a cursor names the last row seen, so pages neither skip nor repeat rows while others are added."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from ninja import Field, Schema

from headwater.core.errors import HeadwaterError

M = TypeVar("M", bound=Model)
R = TypeVar("R")
T = TypeVar("T")


class Page(Schema, Generic[T]):
    """One page. Pass ``next`` as ``cursor`` for the following one; it is null on the last page."""

    items: list[T]
    next: str | None = None


class PageQuery(Schema):
    """Which page is asked for."""

    limit: int = Field(50, ge=1, le=200, description="Rows a page")
    cursor: str | None = Field(None, max_length=1_000, description="`next` of the page before")


def take_page(rows: QuerySet[M], query: PageQuery, show: Callable[[M], T], *, newest_first: bool = False) -> Page[T]:
    """Return a page of ``rows`` in the order of their time-ordered ids.

    Raises:
        HeadwaterError: ``invalid_parameter`` for a cursor that no page gave out.
    """
    shown, following = take_rows(rows, query, newest_first=newest_first)
    return Page[Any](items=[show(row) for row in shown], next=following)


def take_rows(rows: QuerySet[M], query: PageQuery, *, newest_first: bool = False) -> tuple[Sequence[M], str | None]:
    """Return the rows of a page and the cursor of the following one, as ``take_page`` does."""
    if query.cursor is not None:
        after = read_key(query.cursor)
        rows = rows.filter(pk__lt=after) if newest_first else rows.filter(pk__gt=after)
    found = list(rows.order_by("-pk" if newest_first else "pk")[: query.limit + 1])
    shown = found[: query.limit]
    return shown, write_cursor(shown[-1].pk.bytes) if len(found) > query.limit else None


def take_sorted(rows: Iterable[R], query: PageQuery, show: Callable[[R], T], *, key: Callable[[R], str]) -> Page[T]:
    """Return a page of what is no table but worked out as a whole, in the order of ``key``, which is unique.

    Raises:
        HeadwaterError: ``invalid_parameter`` for a cursor that no page gave out.
    """
    after = read_text(query.cursor) if query.cursor is not None else None
    found = sorted((row for row in rows if after is None or key(row) > after), key=key)
    shown = found[: query.limit]
    following = write_cursor(key(shown[-1]).encode()) if len(found) > query.limit else None
    return Page[Any](items=[show(row) for row in shown], next=following)


def write_cursor(content: bytes) -> str:
    """Return the cursor that stands for a key."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def read_key(cursor: str) -> uuid.UUID:
    """Return the id that a cursor stands for; raises ``invalid_parameter``."""
    try:
        return uuid.UUID(bytes=_decode(cursor))
    except ValueError as error:
        raise unknown_cursor(cursor) from error


def read_text(cursor: str) -> str:
    """Return the text that a cursor stands for; raises ``invalid_parameter``."""
    try:
        return _decode(cursor).decode()
    except UnicodeDecodeError as error:
        raise unknown_cursor(cursor) from error


def _decode(cursor: str) -> bytes:
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise unknown_cursor(cursor) from error


def unknown_cursor(cursor: str) -> HeadwaterError:
    """Return the error about a cursor that no page gave out."""
    hint = "use `next` of the page before, as it is"
    return HeadwaterError("invalid_parameter", f"{cursor[:40]!r} is not a cursor", hint=hint)
