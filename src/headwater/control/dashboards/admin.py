"""Dashboards in the admin: read, archived and restored. They are made in the console or by a project's files."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from headwater.control.console.model_admin import ConsoleModelAdmin, acting, button
from headwater.control.dashboards.actions import archive_dashboard, restore_dashboard
from headwater.control.dashboards.models import Dashboard, DashboardRevision


@admin.register(Dashboard)
class DashboardAdmin(ConsoleModelAdmin):
    """Dashboards."""

    view_permission: ClassVar[str | None] = "dashboard.read"
    list_display = ("name", "title", "environment", "org", "number", "archived_at")
    list_select_related = ("environment__project", "org")
    list_filter = (("environment", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("name", "title", "description")
    actions_detail = ("archive",)

    @button("Archive or restore", path="archive", icon="archive")
    def archive(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take a dashboard away from its readers, or show it again."""
        dashboard = self.row(request, object_id)
        is_archived = dashboard.archived_at is not None

        def run(values: dict[str, Any]) -> str:
            act = restore_dashboard if is_archived else archive_dashboard
            act(actor=acting(request), dashboard=dashboard, reason=values["reason"])
            return f"{dashboard} is {'shown again' if is_archived else 'archived'}."

        word = "Restore" if is_archived else "Archive"
        return self.act(
            request, run, title=f"{word} {dashboard}", submit=word, back=self.link("change", object_id),
            danger=not is_archived,
            explanation="Its readers see it as it was." if is_archived
            else "Nobody sees it any more; every revision stays, and it can be restored.",
            original=dashboard,
        )  # fmt: skip


@admin.register(DashboardRevision)
class DashboardRevisionAdmin(ConsoleModelAdmin):
    """What was saved, by whom and when."""

    view_permission: ClassVar[str | None] = "dashboard.read"
    list_display = ("dashboard", "number", "saved_by", "note", "created_at")
    list_select_related = ("dashboard__environment__project",)
    search_fields = ("dashboard__name", "saved_by", "note")
    ordering = ("-created_at",)
