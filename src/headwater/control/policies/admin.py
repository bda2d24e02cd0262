"""Policies in the admin: read, and taken out of force. They are written by a project or over the API."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from headwater.control.console.model_admin import ConsoleModelAdmin, acting, button
from headwater.control.policies.actions import archive_policy
from headwater.control.policies.fit import show_principal
from headwater.control.policies.models import AccessPolicy


@admin.register(AccessPolicy)
class AccessPolicyAdmin(ConsoleModelAdmin):
    """Who sees which rows and columns, in the order in which it is asked."""

    view_permission: ClassVar[str | None] = "policy.read"
    list_display = ("name", "resource", "priority", "whom", "shown_rows", "environment", "expires_at", "archived_at")
    list_select_related = ("environment__project", "org")
    list_filter = (("environment", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("name", "resource", "purpose")
    fields = (
        "name", "resource", "priority", "whom", "shown_rows", "attributes", "columns", "purpose", "environment",
        "expires_at", "archived_at",
    )  # fmt: skip
    readonly_fields = ("whom", "shown_rows", "archived_at")
    actions_detail = ("archive",)

    @admin.display(description="for")
    def whom(self, row: AccessPolicy) -> str:
        """Return the principals."""
        return ", ".join(show_principal(row.environment, one) for one in row.principals)

    @admin.display(description="rows")
    def shown_rows(self, row: AccessPolicy) -> str:
        """Return the condition on rows."""
        return row.row_filter or "every row"

    @button("Archive", path="archive", icon="archive")
    def archive(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take a policy out of force."""
        policy = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            archive_policy(actor=acting(request), policy=policy, reason=values["reason"])
            return f"{policy} is out of force."

        return self.act(
            request, run, title=f"Archive {policy}", submit="Archive", back=self.link("change", object_id), danger=True,
            explanation="Whom it matched is decided about by the next policy. Without any, a dataset that is not "
            "protected is open again to those who may read it.",
            original=policy,
        )  # fmt: skip
