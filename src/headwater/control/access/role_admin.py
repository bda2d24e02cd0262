"""Roles in the admin."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Self

from django import forms
from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponse

from headwater.control.access.models import Role
from headwater.control.access.roles import change_role_permissions, create_role, remove_role, uses_of
from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, acting, button
from headwater.control.orgs.models import Organization
from headwater.core.permissions import PERMISSIONS
from headwater.core.setting_sections import SLUG

_CHOICES = [(name, f"{name}: {text}") for name, text in sorted(PERMISSIONS.items())]


class RoleForm(ActionForm):
    """A role of an organisation's own."""

    organization = forms.ModelChoiceField(Organization.unscoped.all())
    name = forms.RegexField(SLUG, help_text="For instance auditor. It stays: policies know the role by it.")
    permissions = forms.MultipleChoiceField(choices=_CHOICES, widget=forms.CheckboxSelectMultiple)


class PermissionsForm(ActionForm):
    """What a role allows."""

    permissions = forms.MultipleChoiceField(choices=_CHOICES, widget=forms.CheckboxSelectMultiple, required=False)
    reason = forms.CharField(max_length=500, required=False, widget=forms.Textarea)


class RemoveRoleForm(ActionForm):
    """What takes a role's place."""

    instead = forms.ModelChoiceField(
        Role.standing.all(), required=False, help_text="Its holders get this role; needed while it is in use."
    )
    reason = forms.CharField(max_length=500, required=False, widget=forms.Textarea)

    def without(self, role: Role) -> Self:
        """Offer the built-in roles and the organisation's other ones; return the form."""
        field: Any = self.fields["instead"]
        field.queryset = Role.standing.of(role.org_id).exclude(pk=role.pk)
        return self


@admin.register(Role)
class RoleAdmin(ConsoleModelAdmin):
    """Roles, built in and an organisation's own."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("name", "owner", "what", "is_sealed", "archived_at")
    list_select_related = ("org",)
    fields = ("name", "owner", "what", "is_sealed", "archived_at")
    readonly_fields = ("owner", "what", "archived_at")
    search_fields = ("name",)
    actions_list = ("create",)
    actions_detail = ("change_permissions", "remove")

    def belongs_to(self, orgs: list[uuid.UUID]) -> Q:
        """Return built-in roles and the organisations' own."""
        return Q(org=None) | Q(org__in=orgs)

    @admin.display(description="organisation")
    def owner(self, row: Role) -> str:
        """Return whose role it is."""
        return str(row.org) if row.org else "built in"

    @admin.display(description="permissions")
    def what(self, row: Role) -> str:
        """Return the permissions in words."""
        return ", ".join(row.permissions)

    @button("New role", path="new", icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Make a role of an organisation's own."""

        def run(values: dict[str, Any]) -> str:
            made = create_role(
                actor=acting(request), org=values["organization"], name=values["name"],
                permissions=values["permissions"],
            )  # fmt: skip
            return f"The role {made} can be given now."

        form = RoleForm(request.POST or None).offered_to(request, "member.write")
        return self.act(request, run, title="New role", submit="Create", back=self.link("changelist"), form=form)

    @button("Change permissions", path="permissions", icon="edit")
    def change_permissions(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let a role allow something else."""
        role = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            change_role_permissions(
                actor=acting(request), role=role, permissions=values["permissions"], reason=values["reason"]
            )
            return f"{role} allows {len(role.permissions)} things now."

        form = PermissionsForm(request.POST or None, initial={"permissions": role.permissions})
        return self.act(
            request, run, title=f"Permissions of {role}", submit="Change", back=self.link("change", object_id),
            explanation="Everybody who holds the role feels it within a second.", original=role, form=form,
        )  # fmt: skip

    @button("Remove", path="remove", icon="delete")
    def remove(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let a role be given no more, and say what takes its place."""
        role = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            remove_role(actor=acting(request), role=role, instead=values["instead"], reason=values["reason"])
            return f"The role {role} was removed."

        uses = [use.label for use in uses_of(role)] if role.org_id else []
        return self.act(
            request, run, title=f"Remove {role}", submit="Remove", back=self.link("changelist"), original=role,
            explanation=f"It is in use: {', '.join(uses[:20])}." if uses else "It is not in use.", danger=True,
            form=RemoveRoleForm(request.POST or None).without(role),
        )  # fmt: skip
