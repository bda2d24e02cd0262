"""Review queues, tasks and decisions in the admin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from headwater.control.console.long_lists import LongListAdmin, OwnRelatedFilter, RecentValuesFilter
from headwater.control.console.model_admin import ConsoleModelAdmin, acting
from headwater.control.reviews.actions import archive_queue, cancel_task, restore_queue, retry_delivery
from headwater.control.reviews.models import ReviewDecision, ReviewQueue, ReviewTask
from headwater.core.errors import HeadwaterError


def each(request: HttpRequest, rows: QuerySet[Any], run: Callable[[Any], object], done: str) -> None:
    """Run an action for every chosen row, and say how many it was done for and why not for the others."""
    count = 0
    for row in rows:
        try:
            run(row)
            count += 1
        except HeadwaterError as error:
            messages.error(request, f"{row}: {error.detail}")
    if count:
        messages.success(request, f"{count} {done}.")


@admin.register(ReviewQueue)
class ReviewQueueAdmin(ConsoleModelAdmin):
    """Review queues. They are declared in project files; here they are stopped and started."""

    view_permission: ClassVar[str | None] = "review.read"
    list_display = ("key", "title", "project", "org", "source", "subject", "required_decisions", "archived_at")
    list_select_related = ("project", "org")
    list_filter = ("source", ("archived_at", admin.EmptyFieldListFilter))
    search_fields = ("key", "title", "subject")
    actions: Any = ("archive_chosen", "restore_chosen")

    @admin.action(description="Archive: feed them no more")
    def archive_chosen(self, request: HttpRequest, rows: QuerySet[ReviewQueue]) -> None:
        """Archive the chosen queues."""
        each(request, rows, lambda row: archive_queue(actor=acting(request), queue=row), "archived")

    @admin.action(description="Restore: feed them again")
    def restore_chosen(self, request: HttpRequest, rows: QuerySet[ReviewQueue]) -> None:
        """Restore the chosen queues."""
        each(request, rows, lambda row: restore_queue(actor=acting(request), queue=row), "restored")


@admin.register(ReviewTask)
class ReviewTaskAdmin(LongListAdmin):
    """Review tasks with how they stand; deciding is done in the console."""

    view_permission: ClassVar[str | None] = "review.read"
    list_display = ("title", "queue", "environment", "state", "lease_owner_label", "due_at", "verdict", "delivery")
    list_select_related = ("queue", "environment__project")
    list_filter = ("state", "delivery", ("escalated_because", RecentValuesFilter), ("queue", OwnRelatedFilter))
    search_fields = ("title", "dedupe_key", "lease_owner_label")
    exclude = ("payload", "subject")
    actions: Any = ("cancel_chosen", "retry_chosen")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Leave what tasks show in the table: lists do not need it."""
        rows = super().get_queryset(request)
        return rows.defer("payload", "subject")

    @admin.action(description="Cancel: close them without a verdict")
    def cancel_chosen(self, request: HttpRequest, rows: QuerySet[ReviewTask]) -> None:
        """Cancel the chosen tasks."""
        each(request, rows, lambda row: cancel_task(actor=acting(request), task=row), "cancelled")

    @admin.action(description="Carry out again what failed")
    def retry_chosen(self, request: HttpRequest, rows: QuerySet[ReviewTask]) -> None:
        """Carry out the verdicts of the chosen tasks again."""
        each(request, rows, lambda row: retry_delivery(actor=acting(request), task=row), "will be carried out again")


@admin.register(ReviewDecision)
class ReviewDecisionAdmin(LongListAdmin):
    """Decisions, as they were made."""

    view_permission: ClassVar[str | None] = "review.read"
    list_display = ("created_at", "reviewer_label", "verdict", "task", "comment", "supersedes")
    list_select_related = ("task", "supersedes")
    list_defer = ("task__payload", "task__subject")
    list_filter = (("verdict", RecentValuesFilter),)
    search_fields = ("reviewer_label", "comment")
