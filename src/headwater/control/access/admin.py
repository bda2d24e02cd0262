"""Grants and service accounts in the admin; groups, roles and keys have modules of their own."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.access.actions import (
    create_service_account,
    disable_service_account,
    enable_service_account,
    grant,
    revoke_grant,
)
from headwater.control.access.group_admin import GroupAdmin, GroupMemberAdmin
from headwater.control.access.key_admin import ApiKeyAdmin
from headwater.control.access.models import Grant, Group, Role, ServiceAccount
from headwater.control.access.role_admin import RoleAdmin
from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, acting, button
from headwater.control.orgs.models import Environment, Membership, Project
from headwater.core.setting_sections import SLUG

__all__ = ["ApiKeyAdmin", "GroupAdmin", "GroupMemberAdmin", "RoleAdmin"]


class AccountForm(ActionForm):
    """A service account."""

    project = forms.ModelChoiceField(Project.unscoped.select_related("org"))
    name = forms.RegexField(SLUG, help_text="For instance checkout-producer.")
    description = forms.CharField(max_length=500, required=False)
    role = forms.ModelChoiceField(Role.standing.all(), required=False, help_text="Given on the whole project.")


class GrantForm(ActionForm):
    """A role for somebody, somewhere."""

    role = forms.ModelChoiceField(Role.standing.all())
    member = forms.ModelChoiceField(Membership.unscoped.select_related("user", "org"), required=False)
    service_account = forms.ModelChoiceField(ServiceAccount.unscoped.all(), required=False)
    group = forms.ModelChoiceField(Group.unscoped.all(), required=False)
    project = forms.ModelChoiceField(Project.unscoped.all(), required=False)
    environment = forms.ModelChoiceField(
        Environment.unscoped.select_related("project"),
        required=False,
        help_text="Neither project nor environment: the whole organisation.",
    )
    resource = forms.CharField(max_length=200, required=False, help_text="One resource only, such as dataset:flights.")
    valid_days = forms.IntegerField(
        min_value=1, max_value=3_650, required=False, widget=forms.TextInput, label="Valid for days",
        help_text="Empty: until it is revoked.",
    )  # fmt: skip
    reason = forms.CharField(max_length=500, required=False, widget=forms.Textarea)

    def clean(self) -> dict[str, Any]:
        """Take one principal and at most one place."""
        values: dict[str, Any] = super().clean() or {}
        if len([name for name in ("member", "service_account", "group") if values.get(name)]) != 1:
            raise forms.ValidationError("Choose a member, a service account or a group.")
        if values.get("project") and values.get("environment"):
            raise forms.ValidationError("Choose a project or an environment, not both.")
        return values


@admin.register(Grant)
class GrantAdmin(ConsoleModelAdmin):
    """Who holds which role where."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("role", "principal", "scope", "org", "granted_by", "expires_at", "revoked_at")
    list_select_related = (
        "role", "membership__user", "membership__org", "service_account", "group", "org", "project",
        "environment__project",
    )  # fmt: skip
    list_filter = (("role", admin.RelatedOnlyFieldListFilter),)
    actions_list = ("create",)
    actions_detail = ("revoke",)

    @admin.display(description="for")
    def principal(self, row: Grant) -> str:
        """Return who holds it."""
        return str(row.membership.user) if row.membership else row.principal

    @button("New grant", path="new", icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Give a role."""

        def run(values: dict[str, Any]) -> str:
            principal = values["member"] or values["service_account"] or values["group"]
            days = values["valid_days"]
            given = grant(
                actor=acting(request),
                scope=values["environment"] or values["project"] or principal.org,
                role=values["role"],
                membership=values["member"],
                service_account=values["service_account"],
                group=values["group"],
                resource=values["resource"],
                expires_at=timezone.now() + timedelta(days=days) if days else None,
                reason=values["reason"],
            )
            return f"{given}."

        form = GrantForm(request.POST or None).offered_to(request, "member.write")
        return self.act(request, run, title="New grant", submit="Give", back=self.link("changelist"), form=form)

    @button("Revoke", path="revoke", icon="remove_moderator")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Take a grant back."""
        given = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            revoke_grant(actor=acting(request), given=given, reason=values["reason"])
            return "The grant was revoked."

        return self.act(
            request, run, title="Revoke grant", submit="Revoke", back=self.link("changelist"), danger=True,
            explanation=f"{given}. Keys feel it within a second.", original=given,
        )  # fmt: skip


@admin.register(ServiceAccount)
class ServiceAccountAdmin(ConsoleModelAdmin):
    """Programs' identities."""

    view_permission: ClassVar[str | None] = "key.read"
    list_display = ("name", "project", "org", "description", "disabled_at")
    list_select_related = ("project", "org")
    search_fields = ("name", "description")
    actions_list = ("create",)
    actions_detail = ("disable", "enable")

    @button("New service account", path="new", icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Make a service account."""

        def run(values: dict[str, Any]) -> str:
            project, role, actor = values["project"], values["role"], acting(request)
            with transaction.atomic():
                account = create_service_account(
                    actor=actor, project=project, name=values["name"], description=values["description"]
                )
                if role is not None:
                    grant(actor=actor, scope=project, role=role, service_account=account)
            return f"{account} was made."

        form = AccountForm(request.POST or None).offered_to(request, "key.write")
        return self.act(
            request, run, title="New service account", submit="Create", back=self.link("changelist"), form=form
        )

    @button("Disable", path="disable", icon="block")
    def disable(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Close an account."""
        account = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            disable_service_account(actor=acting(request), account=account, reason=values["reason"])
            return f"{account} is disabled."

        return self.act(
            request, run, title=f"Disable {account}", submit="Disable", back=self.link("change", object_id),
            explanation="None of its keys opens anything any more.", danger=True, original=account,
        )  # fmt: skip

    @button("Enable", path="enable", icon="check")
    def enable(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Open an account again."""
        account = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            enable_service_account(actor=acting(request), account=account, reason=values["reason"])
            return f"{account} is enabled."

        return self.act(
            request, run, title=f"Enable {account}", submit="Enable", back=self.link("change", object_id),
            explanation="Its keys that were neither revoked nor expired open again what it was granted.",
            original=account,
        )  # fmt: skip
