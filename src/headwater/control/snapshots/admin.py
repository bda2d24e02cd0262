"""Snapshots and what nodes say about them, in the admin."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin

from headwater.control.console.model_admin import ConsoleModelAdmin
from headwater.control.snapshots.models import Snapshot, SnapshotAck


@admin.register(Snapshot)
class SnapshotAdmin(ConsoleModelAdmin):
    """Published configurations."""

    view_permission: ClassVar[str | None] = "dataset.read"
    list_display = ("number", "environment", "created_at", "short_digest", "trouble")
    list_select_related = ("environment__project",)
    list_filter = (("environment", admin.RelatedOnlyFieldListFilter),)
    list_defer = ("payload",)
    ordering = ("-created_at",)
    fields = ("number", "environment", "created_at", "schema_version", "sha256", "content_sha256", "trouble")
    readonly_fields = ("trouble", "short_digest")

    @admin.display(description="sha256")
    def short_digest(self, row: Snapshot) -> str:
        """Return the beginning of the digest."""
        return row.sha256[:12]

    @admin.display(description="problems")
    def trouble(self, row: Snapshot) -> str:
        """Return what could not be compiled."""
        return "; ".join(f"{item['section']} {item['name']}: {item['problem']}" for item in row.problems) or "none"


@admin.register(SnapshotAck)
class SnapshotAckAdmin(ConsoleModelAdmin):
    """What each node runs."""

    view_permission: ClassVar[str | None] = "dataset.read"
    org_path: ClassVar[str] = "environment__org_id"
    list_display = ("node", "environment", "number", "applied_at", "heard_at", "error")
    list_select_related = ("environment__project",)
