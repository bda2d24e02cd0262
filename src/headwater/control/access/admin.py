"""Roles, grants, service accounts and API keys in the admin."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.access.actions import (
    create_key,
    create_service_account,
    disable_service_account,
    grant,
    revoke_grant,
    revoke_key,
    rotate_key,
)
from headwater.control.access.group_admin import GroupAdmin, GroupMemberAdmin
from headwater.control.access.models import ApiKey, Grant, Group, Role, ServiceAccount
from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, acting, button
from headwater.control.orgs.models import Environment, Membership, Project
from headwater.core.errors import HeadwaterError
from headwater.core.settings import SLUG

__all__ = ["GroupAdmin", "GroupMemberAdmin"]


class AccountForm(ActionForm):
    """A service account."""

    project = forms.ModelChoiceField(Project.unscoped.select_related("org"))
    name = forms.RegexField(SLUG, help_text="For instance checkout-producer.")
    description = forms.CharField(max_length=500, required=False)
    role = forms.ModelChoiceField(Role.unscoped.all(), required=False, help_text="Given on the whole project.")


class KeyForm(ActionForm):
    """An API key."""

    name = forms.CharField(max_length=100, help_text="What the key is for; people see it in lists and logs.")
    environment = forms.ModelChoiceField(Environment.unscoped.select_related("project"))
    service_account = forms.ModelChoiceField(
        ServiceAccount.unscoped.all(), required=False, help_text="Empty: the key speaks for you."
    )
    scopes = forms.CharField(
        max_length=2_000,
        required=False,
        help_text="Permissions to limit the key to, separated by spaces, such as dataset.ingest:flights.",
    )
    cidrs = forms.CharField(
        max_length=2_000,
        required=False,
        label="Networks",
        help_text="Where it may be used from, separated by spaces, such as 10.1.0.0/16; empty: anywhere.",
    )
    valid_days = forms.IntegerField(
        min_value=1, max_value=1_095, initial=365, widget=forms.TextInput, label="Valid for days"
    )


class RotateForm(ActionForm):
    """How one key follows another."""

    overlap_hours = forms.IntegerField(
        min_value=0, max_value=90 * 24, initial=24, widget=forms.TextInput, label="Overlap in hours",
        help_text="How long the old key stays open.",
    )  # fmt: skip
    reason = forms.CharField(max_length=500, required=False, widget=forms.Textarea)


class GrantForm(ActionForm):
    """A role for somebody, somewhere."""

    role = forms.ModelChoiceField(Role.unscoped.all())
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


@admin.register(Role)
class RoleAdmin(ConsoleModelAdmin):
    """Roles, built in and an organisation's own."""

    view_permission: ClassVar[str | None] = "member.read"
    list_display = ("name", "owner", "what", "is_sealed")
    fields = ("name", "owner", "what", "is_sealed")
    readonly_fields = ("owner", "what")

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
    actions_detail = ("disable",)

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


class LiveFilter(admin.SimpleListFilter):
    """Keys by whether they open anything."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Return the states."""
        return [("live", "live"), ("revoked", "revoked"), ("expired", "expired")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:  # noqa: ARG002 - Django's signature
        """Return the keys in the chosen state."""
        match self.value():
            case "live":
                return queryset.filter(revoked_at=None, expires_at__gt=timezone.now())
            case "revoked":
                return queryset.exclude(revoked_at=None)
            case "expired":
                return queryset.filter(revoked_at=None, expires_at__lte=timezone.now())
            case _:
                return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(ConsoleModelAdmin):
    """API keys, without their secrets."""

    view_permission: ClassVar[str | None] = "key.read"
    list_display = ("name", "shown_prefix", "principal", "environment", "state", "expires_at", "last_used")
    list_select_related = ("environment__project", "service_account", "user", "use")
    list_filter = (LiveFilter,)
    search_fields = ("name", "key_prefix")
    fields = (
        "name", "shown_prefix", "principal", "environment", "scopes", "cidrs", "attributes", "state", "created_at",
        "expires_at", "last_used", "revoked_at", "rotated_from",
    )  # fmt: skip
    readonly_fields = ("shown_prefix", "principal", "state", "created_at", "revoked_at", "last_used")
    actions_list = ("create",)
    actions_detail = ("rotate", "revoke")

    @admin.display(description="key")
    def shown_prefix(self, row: ApiKey) -> str:
        """Return what may be shown of the key."""
        return f"hw_{row.key_prefix}_…"

    @admin.display(description="speaks for")
    def principal(self, row: ApiKey) -> str:
        """Return whose key it is."""
        return str(row.service_account or row.user)

    @admin.display(description="last used")
    def last_used(self, row: ApiKey) -> datetime | None:
        """Return when the key was last used, as services told."""
        return row.last_used_at

    @admin.display(description="state")
    def state(self, row: ApiKey) -> str:
        """Return whether the key opens anything."""
        if row.revoked_at is not None:
            return "revoked"
        return "live" if row.is_live(timezone.now()) else "expired"

    @button("New key", path="new", icon="add")
    def create(self, request: HttpRequest) -> HttpResponse:
        """Make a key and show its text, once."""

        def run(values: dict[str, Any]) -> HttpResponse:
            account = values["service_account"]
            key, text = create_key(
                actor=acting(request),
                environment=values["environment"],
                name=values["name"],
                service_account=account,
                user=None if account else request.user,
                scopes=values["scopes"].split(),
                expires_at=timezone.now() + timedelta(days=values["valid_days"]),
                cidrs=values["cidrs"].split(),
            )
            return self._secret(request, key, text)

        form = KeyForm(request.POST or None).offered_to(request, "key.write")
        return self.act(request, run, title="New API key", submit="Create key", back=self.link("changelist"), form=form)

    def _secret(self, request: HttpRequest, key: ApiKey, text: str) -> HttpResponse:
        reply = self.page(
            request, "console/admin/secret.html", "API key made", secret=text, key=key, back=self.link("changelist")
        )
        reply.headers["Cache-Control"] = "no-store"
        return reply

    @button("Rotate", path="rotate", icon="autorenew")
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make the key that follows one, and show its text, once."""
        key = self.row(request, object_id)

        def run(values: dict[str, Any]) -> HttpResponse:
            overlap = timedelta(hours=values["overlap_hours"])
            made, text = rotate_key(actor=acting(request), key=key, overlap=overlap, reason=values["reason"])
            return self._secret(request, made, text)

        return self.act(
            request, run, title=f"Rotate {key}", submit="Rotate", back=self.link("change", object_id),
            explanation="Both keys open until the overlap has passed, then the new one alone.", original=key,
            form=RotateForm(request.POST or None),
        )  # fmt: skip

    @button("Revoke", path="revoke", icon="key_off")
    def revoke(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Close a key for good."""
        key = self.row(request, object_id)

        def run(values: dict[str, Any]) -> str:
            if key.revoked_at is not None:
                raise HeadwaterError("conflict", "the key is revoked already")
            revoke_key(actor=acting(request), key=key, reason=values["reason"])
            return f"{key} opens nothing any more."

        return self.act(
            request, run, title=f"Revoke {key}", submit="Revoke", back=self.link("change", object_id), danger=True,
            explanation="Services refuse it within a second. This cannot be undone.", original=key,
        )  # fmt: skip
