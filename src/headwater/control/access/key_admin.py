"""API keys in the admin."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from headwater.control.access.actions import create_key, revoke_key, rotate_key
from headwater.control.access.models import ApiKey, ServiceAccount
from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, acting, button
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError


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
    attributes = forms.JSONField(
        required=False,
        widget=forms.Textarea,
        help_text='What row filters know of the key as caller.<name>, such as {"carriers": ["UA"]}. '
        "It takes policy.write.",
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
                attributes=values["attributes"],
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
