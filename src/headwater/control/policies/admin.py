"""Policies in the admin: read, written as they are in files, and taken out of force."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, acting, button
from headwater.control.orgs.models import Environment
from headwater.control.policies.actions import archive_policy, publish_policy
from headwater.control.policies.document import parse_policy
from headwater.control.policies.drafts import policy_content, policy_text
from headwater.control.policies.fit import show_principals
from headwater.control.policies.models import NAME, AccessPolicy
from headwater.core.errors import HeadwaterError

_EXAMPLE: Final = """dataset: flights
priority: 10
principals: [role:consumer]
rows: carrier = 'UA'
columns: {tailnum: hide}
purpose: Why these see this
"""


class PolicyForm(ActionForm):
    """A policy as its file would have it."""

    text = forms.CharField(
        max_length=50_000, strip=False, label="Policy",
        widget=forms.Textarea, help_text="As in policies/<name>.yaml of a project.",
    )  # fmt: skip
    reason = forms.CharField(max_length=500, required=False, widget=forms.Textarea)


class NewPolicyForm(PolicyForm):
    """Where a policy is to hold, under which name."""

    environment = forms.ModelChoiceField(Environment.unscoped.select_related("project"))
    name = forms.CharField(max_length=63, validators=[NAME], help_text="It stays.")
    field_order = ("environment", "name", "text", "reason")


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
    actions_list = ("create",)
    actions_detail = ("rewrite", "archive")

    @admin.display(description="for")
    def whom(self, row: AccessPolicy) -> str:
        """Return the principals."""
        names = show_principals(row.environment, row.principals)
        return ", ".join(names[one] for one in row.principals)

    @admin.display(description="rows")
    def shown_rows(self, row: AccessPolicy) -> str:
        """Return the condition on rows."""
        return row.row_filter or "every row"

    @button("New policy", path="new", icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Put a policy in force."""

        def run(values: dict[str, Any]) -> str:
            return _publish(request, values["environment"], values["name"], values)

        form = NewPolicyForm(request.POST or None, initial={"text": _EXAMPLE}).offered_to(request, "policy.write")
        return self.act(
            request, run, title="New policy", submit="Put in force", back=self.link("changelist"), form=form
        )

    @button("Change", path="rewrite", icon="edit")
    def rewrite(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change a policy."""
        policy = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            if policy.archived_at is not None:
                raise HeadwaterError("conflict", f"{policy} is out of force", hint="make a new one")
            return _publish(request, policy.environment, policy.name, values)

        form = PolicyForm(request.POST or None, initial={"text": policy_text(policy)})
        return self.act(
            request, run, title=f"Change {policy}", submit="Put in force", back=self.link("change", object_id),
            explanation="Services follow within a second.", original=policy, form=form,
        )  # fmt: skip

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


def _publish(request: HttpRequest, environment: Environment, name: str, values: dict[str, Any]) -> str:
    document = parse_policy(values["text"], source=f"policies/{name}.yaml").document
    content, columns = policy_content(environment, document)
    publish_policy(
        actor=acting(request), environment=environment, name=name, content=content, columns=columns,
        reason=values["reason"],
    )  # fmt: skip
    return f"{name} is in force in {environment}."
