"""Flags in the admin: what each environment says, trying a flag out, switching and archiving it."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern

from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, ReasonForm, acting
from headwater.control.flags.actions import archive_flag, config_of, restore_flag, toggle_flag
from headwater.control.flags.models import Flag, FlagConfig, FlagUsage
from headwater.control.flags.preview import preview
from headwater.control.flags.words import rule_in_words
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError


class TryForm(ActionForm):
    """Whom to ask about, and where."""

    environment = forms.ModelChoiceField(queryset=Environment.unscoped.none())
    context = forms.JSONField(
        required=False,
        widget=forms.Textarea,
        initial={"targetingKey": "user-1"},
        help_text="A JSON object with a targetingKey.",
    )

    def __init__(self, flag: Flag, *args: Any, **kwargs: Any) -> None:
        """Offer the environments of the flag's project."""
        super().__init__(*args, **kwargs)
        rows = Environment.objects.for_org(flag.org_id).filter(project_id=flag.project_id)
        self.fields["environment"].queryset = rows.select_related("project")  # type: ignore[attr-defined]


@admin.register(Flag)
class FlagAdmin(ConsoleModelAdmin):
    """Flags; what environments say about each is on its page."""

    view_permission: ClassVar[str | None] = "flag.read"
    list_display = ("key", "project", "org", "type", "kind", "owner", "remove_by", "archived_at")
    list_select_related = ("project", "org")
    list_filter = ("type", "kind", ("project", admin.RelatedOnlyFieldListFilter))
    search_fields = ("key", "description", "owner")

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of actions."""
        return [
            self.address("<uuid:pk>/archive/", self.archive, "archive"),
            self.address("<uuid:pk>/<uuid:environment>/toggle/", self.toggle, "toggle"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a flag with what each environment says, and answer the box that tries it out."""
        del form_url
        flag = self.row(request, object_id)
        rows = Environment.objects.for_org(flag.org_id).filter(project_id=flag.project_id).select_related("project")
        form = TryForm(flag, request.GET if "context" in request.GET else None)
        return self.page(
            request, "console/admin/flag.html", flag.key, original=flag, flag=flag,
            form=form, answer=_answer(flag, form),
            configs=[(config, list(map(rule_in_words, config.rules))) for config in _configs(flag, list(rows))],
            variants=[(name, json.dumps(value, ensure_ascii=False)) for name, value in flag.variants.items()],
            **(extra_context or {}),
        )  # fmt: skip

    def toggle(self, request: HttpRequest, pk: Any, environment: Any) -> HttpResponse:
        """Switch a flag on or off in an environment."""
        flag = self.row(request, pk)
        home = Environment.objects.for_org(flag.org_id).select_related("project").get(pk=environment)
        config = config_of(flag, home)
        word = "off" if config.enabled else "on"

        def run(values: dict[str, Any]) -> str:
            toggle_flag(actor=acting(request), config=config, enabled=not config.enabled, reason=values["reason"])
            return f"{flag} is {word} in {home}."

        return self.act(
            request, run, title=f"Switch {flag} {word} in {home}", submit=f"Switch {word}",
            form=ReasonForm(request.POST if request.method == "POST" else None), back=self.link("change", pk),
            danger=config.enabled, explanation="Services answer so within a second.", original=flag,
        )  # fmt: skip

    def archive(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Stop serving a flag everywhere, or serve it again."""
        flag = self.row(request, pk)
        is_archived = flag.archived_at is not None

        def run(values: dict[str, Any]) -> str:
            act = restore_flag if is_archived else archive_flag
            act(actor=acting(request), flag=flag, reason=values["reason"])
            return f"{flag} is {'served again' if is_archived else 'archived'}."

        word = "Restore" if is_archived else "Archive"
        return self.act(
            request, run, title=f"{word} {flag}", submit=word, back=self.link("change", pk), danger=not is_archived,
            explanation="It answers as it did before." if is_archived
            else "Applications get the default that is in their code, in every environment.",
            original=flag,
        )  # fmt: skip


@admin.register(FlagUsage)
class FlagUsageAdmin(ConsoleModelAdmin):
    """How often flags were evaluated, by day; ``*`` are requests for all flags at once."""

    view_permission: ClassVar[str | None] = "flag.read"
    list_display = ("day", "environment", "key", "variant", "count")
    list_select_related = ("environment__project",)
    list_filter = (("environment", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("key",)
    ordering = ("-day", "key")


def _configs(flag: Flag, environments: list[Environment]) -> list[FlagConfig]:
    found = []
    for environment in environments:
        config = config_of(flag, environment)
        config.environment = environment
        found.append(config)
    return found


def _answer(flag: Flag, form: TryForm) -> dict[str, Any] | None:
    """Return what the flag answers for the context in a form that was sent."""
    if not form.is_bound or not form.is_valid():
        return None
    context = form.cleaned_data["context"] or {}
    if not isinstance(context, dict):
        form.add_error("context", "Write a JSON object.")
        return None
    try:
        found = preview(form.cleaned_data["environment"], flag.key, context)
    except HeadwaterError as error:
        form.add_error(None, error.detail)
        return None
    value = json.dumps(found.outcome.value, ensure_ascii=False)
    return {"outcome": found.outcome, "value": value, "passages": found.passages}
