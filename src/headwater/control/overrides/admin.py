"""Overrides in the admin."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from headwater.control.console.model_admin import ConsoleModelAdmin, acting
from headwater.control.overrides.actions import approve_override, reject_override, revoke_override
from headwater.control.overrides.models import Override
from headwater.control.reviews.admin import each


@admin.register(Override)
class OverrideAdmin(ConsoleModelAdmin):
    """Overrides with who asked, who decided, and when they end."""

    view_permission: ClassVar[str | None] = "override.read"
    list_display = (
        "__str__",
        "environment",
        "phase",
        "valid_until",
        "requested_by_label",
        "decided_by_label",
        "reason",
    )
    list_select_related = ("environment__project",)
    list_filter = ("state", "target")
    search_fields = ("target", "output", "reason", "requested_by_label")
    ordering = ("-id",)
    actions: Any = ("approve_chosen", "reject_chosen", "revoke_chosen")

    @admin.action(description="Approve: serve them")
    def approve_chosen(self, request: HttpRequest, rows: QuerySet[Override]) -> None:
        """Approve the chosen overrides, but for one's own."""
        each(request, rows, lambda row: approve_override(actor=acting(request), override=row), "approved")

    @admin.action(description="Reject")
    def reject_chosen(self, request: HttpRequest, rows: QuerySet[Override]) -> None:
        """Reject the chosen overrides."""
        each(request, rows, lambda row: reject_override(actor=acting(request), override=row), "rejected")

    @admin.action(description="Revoke: end them")
    def revoke_chosen(self, request: HttpRequest, rows: QuerySet[Override]) -> None:
        """End the chosen overrides."""
        each(request, rows, lambda row: revoke_override(actor=acting(request), override=row), "ended")
