"""The audit log in the admin: to be searched and verified, never changed."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString

from headwater.control.audit.checkpoints import current_archive
from headwater.control.audit.models import AuditEvent
from headwater.control.audit.verify import verify_all, verify_chain
from headwater.control.console.long_lists import LongListAdmin, RecentValuesFilter
from headwater.control.console.model_admin import button, readable_orgs
from headwater.control.orgs.models import Organization


@admin.register(AuditEvent)
class AuditEventAdmin(LongListAdmin):
    """What happened."""

    view_permission: ClassVar[str | None] = "audit.read"
    list_display = ("at", "action", "who", "what", "reason", "number")
    list_filter = (("actor_kind", RecentValuesFilter), ("target_kind", RecentValuesFilter))
    list_defer = ("before_json", "after_json", "related_json")
    search_fields = ("action", "actor_label", "target_label", "target_id", "reason", "request_id", "group_id")
    actions_list = ("verify",)
    fields = (
        "at", "action", "actor", "on_behalf_of", "target", "change", "also", "reason", "request_id", "group_id", "ip",
        "chain",
    )  # fmt: skip
    readonly_fields = ("actor", "target", "change", "also", "chain")

    @admin.display(description="who", ordering="actor_label")
    def who(self, row: AuditEvent) -> str:
        """Return who acted, in short."""
        return row.actor_label

    @admin.display(description="what")
    def what(self, row: AuditEvent) -> str:
        """Return what was acted upon, in short."""
        return row.target_label

    @admin.display(description="number")
    def number(self, row: AuditEvent) -> int:
        """Return the event's place in its chain."""
        return row.n

    @admin.display(description="actor")
    def actor(self, row: AuditEvent) -> str:
        """Return who acted."""
        return f"{row.actor_label} ({row.actor_kind} {row.actor_id})"

    @admin.display(description="target")
    def target(self, row: AuditEvent) -> str:
        """Return what was acted upon."""
        return f"{row.target_label} ({row.target_kind} {row.target_id})"

    @admin.display(description="change")
    def change(self, row: AuditEvent) -> SafeString:
        """Return the fields before and after."""
        return _document({"before": row.before, "after": row.after})

    @admin.display(description="also touched")
    def also(self, row: AuditEvent) -> SafeString | str:
        """Return what else the action touched."""
        return _document(row.related) if row.related else "nothing"

    @admin.display(description="chain")
    def chain(self, row: AuditEvent) -> SafeString:
        """Return the event's place in its organisation's chain."""
        return format_html(
            '<span class="hw-mono">{} after {} is {}</span>', row.n, row.prev_hash[:16] or "nothing", row.hash
        )

    @button("Verify chain", path="verify", icon="verified")
    def verify(self, request: HttpRequest) -> HttpResponse:
        """Recompute every chain that the reader may see."""
        if getattr(request.user, "is_superuser", False):
            reports = verify_all(current_archive())
        else:
            reports = [verify_chain(org, current_archive()) for org in readable_orgs(request, self.view_permission)]
        names = {org.pk: org.slug for org in Organization.unscoped.all()}
        for report in reports:
            name = names.get(report.org_id, "the platform")
            if report.is_whole:
                messages.success(request, f"{name}: {report.events} events, the chain is whole.")
            else:
                messages.error(request, f"{name}: {report.problem}.")
        return HttpResponseRedirect(self.link("changelist"))


def _document(value: Any) -> SafeString:
    return format_html('<pre class="hw-raw">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))
