"""Models and their versions in the admin."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from headwater.control.console.model_admin import ConsoleModelAdmin, ReasonForm, acting
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import approve_version, archive_version, promote_version
from headwater.control.registry.models import Deployment, Model, ModelAlias, ModelVersion


class PromoteForm(ReasonForm):
    """Where a version is to take all traffic."""

    environment = forms.ModelChoiceField(Environment.unscoped.none())
    field_order = ("environment", "reason")

    def __init__(self, *args: Any, model: Model, **kwargs: Any) -> None:
        """Offer the environments of the model's project."""
        super().__init__(*args, **kwargs)
        environments = Environment.objects.for_org(model.org_id).filter(project_id=model.project_id)
        self.fields["environment"].queryset = environments.select_related("project")  # type: ignore[attr-defined]


class ApproveForm(ReasonForm):
    """Why a version may be served in protected environments."""

    override = forms.BooleanField(
        required=False, label="In spite of failed checks", help_text="It is kept which ones were overridden."
    )
    field_order = ("override", "reason")


@admin.register(Model)
class ModelAdmin(ConsoleModelAdmin):
    """Models, each with its versions and traffic."""

    view_permission: ClassVar[str | None] = "model.read"
    list_display = ("name", "project", "org", "description", "versions_count")
    list_select_related = ("project", "org")
    list_filter = (("project", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("name", "description")

    @admin.display(description="versions")
    def versions_count(self, row: Model) -> int:
        """Return how many versions there are."""
        return row.versions.count()

    def get_urls(self) -> list[URLPattern]:
        """Add the address of decisions."""
        return [self.address("<uuid:pk>/<int:number>/<str:verb>/", self.decide, "decide"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a model with its versions."""
        del form_url
        model = self.row(request, object_id)
        org = model.org_id
        deployments = list(
            Deployment.objects.for_org(org).filter(model=model).select_related("environment__project", "version")
        )
        return self.page(
            request,
            "console/admin/model.html",
            model.name,
            original=model,
            model=model,
            versions=ModelVersion.objects.for_org(org).filter(model=model),
            aliases=ModelAlias.objects.for_org(org).filter(model=model).select_related("version"),
            deployments=[
                {
                    "environment": item.environment,
                    "version": item.version,
                    "role": item.role,
                    "share": f"{item.weight_bps / 100:g} %",
                }
                for item in deployments
            ],
            **(extra_context or {}),
        )

    def decide(self, request: HttpRequest, pk: Any, number: int, verb: str) -> HttpResponse:
        """Promote, approve or archive a version."""
        model = self.row(request, pk)
        version = model.versions.filter(number=number).select_related("model").first()
        if version is None or verb not in ("promote", "approve", "archive"):
            raise Http404
        form = _form(verb, model, request.POST or None)

        def run(values: dict[str, Any]) -> str:
            actor, reason = acting(request), values["reason"]
            if verb == "promote":
                environment = values["environment"]
                promote_version(actor=actor, version=version, environment=environment, reason=reason)
                return f"{version} takes all traffic in {environment}."
            if verb == "approve":
                approve_version(actor=actor, version=version, reason=reason, override=values["override"])
            else:
                archive_version(actor=actor, version=version, reason=reason)
            return f"{version} is {version.state}."

        return self.act(
            request, run, title=f"{verb.capitalize()} {version}", submit=verb.capitalize(), form=form,
            back=self.link("change", pk), danger=verb == "archive", original=model,
        )  # fmt: skip


@admin.register(ModelVersion)
class ModelVersionAdmin(ConsoleModelAdmin):
    """Sealed versions."""

    view_permission: ClassVar[str | None] = "model.read"
    list_display = ("model", "number", "framework", "state", "created_at")
    list_select_related = ("model",)
    list_filter = ("state", "framework")
    search_fields = ("model__name", "artifact_sha256")
    fields = (
        "model", "number", "framework", "state", "artifact_sha256", "created_at", "takes", "gives", "manifest",
    )  # fmt: skip
    readonly_fields = ("created_at", "takes", "gives", "manifest")

    @admin.display(description="inputs")
    def takes(self, row: ModelVersion) -> SafeString:
        """Return the input fields."""
        return _document(row.inputs)

    @admin.display(description="outputs")
    def gives(self, row: ModelVersion) -> SafeString:
        """Return the outputs."""
        return _document(row.outputs)

    @admin.display(description="manifest")
    def manifest(self, row: ModelVersion) -> SafeString:
        """Return the manifest as it was written."""
        return format_html('<pre class="hw-code">{}</pre>', row.source)


def _form(verb: str, model: Model, data: Any) -> ReasonForm:
    if verb == "promote":
        return PromoteForm(data, model=model)
    return ApproveForm(data) if verb == "approve" else ReasonForm(data)


def _document(value: Any) -> SafeString:
    return format_html('<pre class="hw-raw">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))
