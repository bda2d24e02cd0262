"""Lists of the admin over tables that only grow: one window of rows at a time, the newest first.

A page, a search, a filter and a count then look at ``WINDOW`` rows at most, however many there are; a filter named
"rows" leads to the windows before. Primary keys tell the time, so a window is a range of the index that exists anyway.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import Field, Model, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.formats import date_format

from headwater.control.console.model_admin import ConsoleModelAdmin, is_superuser, readable_orgs

__all__ = ["WINDOW", "LongListAdmin", "OwnRelatedFilter", "RecentValuesFilter", "newest", "owned_by"]

WINDOW: Final = 10_000
"""Rows looked at for one page. Text is searched without an index, so they bound what a search takes."""
MOST_CHOICES: Final = 200
"""Offered in a filter over another table."""


def newest(rows: QuerySet[Any], before: uuid.UUID | None = None) -> QuerySet[Any]:
    """Return the window of ``rows`` that ends before the primary key ``before``, by default the newest one.

    ``rows`` are all of a table, before anything is left out: how far a window reaches must not depend on who looks.
    """
    begins = _beginning(rows.model, before)
    rows = rows if before is None else rows.filter(pk__lt=before)
    return rows if begins is None else rows.filter(pk__gte=begins)


def _beginning(model: type[Model], before: uuid.UUID | None) -> uuid.UUID | None:
    """Return the oldest primary key of a window; None when it reaches the beginning of the table."""
    keys = getattr(model, "unscoped", model._default_manager).order_by("-pk").values_list("pk", flat=True)  # noqa: SLF001
    keys = keys if before is None else keys.filter(pk__lt=before)
    return next(iter(keys[WINDOW - 1 : WINDOW]), None)


def owned_by(rows: QuerySet[Any], orgs: list[uuid.UUID]) -> QuerySet[Any]:
    """Return the rows of a window that belong to ``orgs``, without an index.

    SQLite would rather sort all that an organisation ever did than look at the window, which it cannot tell is small.
    """
    found: QuerySet[Any] = rows.alias(owner=Coalesce("org_id", "org_id")).filter(owner__in=orgs)
    return found


class WindowFilter(admin.SimpleListFilter):
    """Which window of the table is looked at."""

    title = "rows"
    parameter_name = "before"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's
        """Offer the window that is shown and the one before it."""
        end = self._end()
        begins = _beginning(model_admin.model, end)
        shown = [(end.hex, f"{WINDOW:,} before {_instant(end)}")] if end is not None else []
        older = [(begins.hex, f"Older: before {_instant(begins)}")] if begins is not None else []
        return [*shown, *older]

    def choices(self, changelist: ChangeList) -> Any:
        """Name the choice that sets the filter aside."""
        for choice in super().choices(changelist):
            yield choice | {"display": f"The newest {WINDOW:,}"} if "before=" not in choice["query_string"] else choice

    def has_output(self) -> bool:
        """Return whether there is more than one window."""
        return bool(self.lookup_choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - Django's
        """Leave one window."""
        return newest(queryset, self._end())

    def _end(self) -> uuid.UUID | None:
        value = self.value()
        try:
            return uuid.UUID(value) if value else None
        except ValueError as error:
            raise IncorrectLookupParameters from error


class RecentValuesFilter(admin.AllValuesFieldListFilter):
    """The values of a column that the newest window has: distinct ones of a whole table would have to be looked for."""

    def __init__(self, field: Field[Any, Any], request: HttpRequest, *rest: Any, **named: Any) -> None:
        """Look the values up; ``rest`` is Django's: parameters, model, page and path."""
        super().__init__(field, request, *rest, **named)
        model_admin = rest[2]
        rows = newest(model_admin.get_queryset(request)).order_by()
        self.lookup_choices = sorted(set(rows.values_list(field.name, flat=True)))  # type: ignore[assignment]


class OwnRelatedFilter(admin.RelatedFieldListFilter):
    """Rows of another table that the reader may see, without asking which of them are referred to."""

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> Any:
        """Return the choices, no more than ``MOST_CHOICES``."""
        related = field.remote_field.model
        rows = getattr(related, "unscoped", related._default_manager).all()  # noqa: SLF001
        if not getattr(request.user, "is_superuser", False):
            rows = rows.filter(org_id__in=readable_orgs(request, model_admin.view_permission))
        if any(item.name == "project" for item in related._meta.fields):
            rows = rows.select_related("project")
        return [(row.pk, str(row)) for row in rows[:MOST_CHOICES]]


class LongListAdmin(ConsoleModelAdmin):
    """A page over a table that only grows and whose primary keys are ordered by time."""

    ordering: ClassVar[Any] = ("-pk",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows that this member of staff may see; the list finds them in a window, a page by its key."""
        match = request.resolver_match
        is_list = match is not None and (match.url_name or "").endswith("_changelist")
        if is_superuser(request) or not is_list or self.org_path != "org_id":
            return super().get_queryset(request)
        return owned_by(self.every_row(request), readable_orgs(request, self.view_permission))

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Look at one window at a time."""
        return (WindowFilter, *super().get_list_filter(request))


def _instant(key: uuid.UUID) -> str:
    """Return the time that a version 7 UUID was made."""
    return date_format(datetime.fromtimestamp((key.int >> 80) / 1e3, tz=UTC), "Y-m-d H:i")
