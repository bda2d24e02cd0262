"""Models and their versions in the admin."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from django import forms
from django.contrib import admin
from django.db.models import Count, Prefetch, prefetch_related_objects
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString

from headwater.control.console.model_admin import ActionForm, ConsoleModelAdmin, ReasonForm, acting
from headwater.control.kit.actions import Actor
from headwater.control.monitoring.admin import ReportPages
from headwater.control.monitoring.queries import standing, standing_of
from headwater.control.orgs.models import Environment, slug_validator
from headwater.control.registry.actions import (
    approve_version,
    archive_version,
    change_serving,
    deploy_version,
    move_alias,
    promote_version,
    record_checks,
    roll_back,
)
from headwater.control.registry.models import Deployment, Model, ModelAlias, ModelVersion
from headwater.control.registry.pages import model_page, traffic_text, version_page
from headwater.control.registry.queries import newest_rollout, rules_of
from headwater.core.errors import HeadwaterError

Do = Callable[[Actor, ModelVersion, dict[str, Any]], str]


class PlaceForm(ReasonForm):
    """Where something is done."""

    environment = forms.ModelChoiceField(Environment.unscoped.none())
    field_order: tuple[str, ...] = ("environment", "reason")

    def __init__(self, *args: Any, model: Model, **kwargs: Any) -> None:
        """Offer the environments of the model's project."""
        super().__init__(*args, **kwargs)
        environments = Environment.objects.for_org(model.org_id).filter(project_id=model.project_id)
        self.fields["environment"].queryset = environments.select_related("project")  # type: ignore[attr-defined]


class PromoteForm(PlaceForm):
    """Where a version is to take all traffic."""


class RouteForm(PlaceForm):
    """What a version is to do beside the champion."""

    role = forms.ChoiceField(
        choices=[
            ("canary", "Canary: answers a share of the requests"),
            ("shadow", "Shadow: sees a share, answers nobody"),
            ("pinned", "Pinned: answers where the path names it"),
        ]
    )
    percent = forms.FloatField(
        min_value=0.01, max_value=100, initial=10, label="Share in percent", help_text="Pinned versions have none."
    )
    field_order = ("environment", "role", "percent", "reason")


class ApproveForm(ReasonForm):
    """Why a version may be served in protected environments."""

    override = forms.BooleanField(
        required=False, label="In spite of failed checks", help_text="It is kept which ones were overridden."
    )
    field_order = ("override", "reason")


class AliasForm(ReasonForm):
    """What a version is to be called."""

    alias = forms.CharField(max_length=63, validators=[slug_validator], initial="challenger")
    field_order = ("alias", "reason")


class RulesForm(PlaceForm):
    """The rules by which a model is served."""

    rules = forms.JSONField(
        widget=forms.Textarea, help_text="As under serving in model.yaml; what is left out has its default."
    )
    field_order = ("environment", "rules", "reason")


def _promote(actor: Actor, version: ModelVersion, values: dict[str, Any]) -> str:
    environment = values["environment"]
    promote_version(actor=actor, version=version, environment=environment, reason=values["reason"])
    return f"{version} takes all traffic in {environment}."


def _route(actor: Actor, version: ModelVersion, values: dict[str, Any]) -> str:
    environment, role = values["environment"], values["role"]
    deploy_version(
        actor=actor, version=version, environment=environment, role=role, weight_bps=round(values["percent"] * 100),
        reason=values["reason"],
    )  # fmt: skip
    return f"{version} is {role} in {environment}."


def _approve(actor: Actor, version: ModelVersion, values: dict[str, Any]) -> str:
    approve_version(actor=actor, version=version, reason=values["reason"], override=values["override"])
    return f"{version} may be served in protected environments."


def _archive(actor: Actor, version: ModelVersion, values: dict[str, Any]) -> str:
    archive_version(actor=actor, version=version, reason=values["reason"])
    return f"{version} is archived."


def _call(actor: Actor, version: ModelVersion, values: dict[str, Any]) -> str:
    move_alias(actor=actor, version=version, name=values["alias"], reason=values["reason"])
    return f"{version} is @{values['alias']}."


def _check(actor: Actor, version: ModelVersion, values: dict[str, Any]) -> str:
    from headwater.control.catalog.push import check_again  # noqa: PLC0415 - loads what idle processes do not hold

    del values
    failed = [check.name for check in record_checks(actor=actor, version=version, results=check_again(version))
              if check.status == "failed"]  # fmt: skip
    return f"{version} fails {', '.join(failed)}." if failed else f"{version} passes its checks."


VERBS: Final[Mapping[str, tuple[str, type[ActionForm], Do, str]]] = {
    "promote": ("Promote", PromoteForm, _promote, "It answers every request there; canaries end, shadows stay."),
    "route": ("Try", RouteForm, _route, "The champion answers the rest."),
    "approve": ("Approve", ApproveForm, _approve, "Protected environments may serve it. Not by whoever pushed it."),
    "alias": ("Name", AliasForm, _call, "The alias means this version from now on."),
    "check": ("Check", ActionForm, _check, "Loads and runs the artifact again, and holds it against what is served."),
    "archive": ("Archive", ReasonForm, _archive, "It is served nowhere from now on. Refused while it is in use."),
}


@admin.register(Model)
class ModelAdmin(ConsoleModelAdmin):
    """Models, each with its versions, traffic and history."""

    view_permission: ClassVar[str | None] = "model.read"
    list_display = ("name", "alerts", "project", "org", "description", "champion", "traffic", "versions_count")
    list_select_related = ("project", "org")
    list_filter = (("project", admin.RelatedOnlyFieldListFilter),)
    search_fields = ("name", "description")

    @admin.display(description="aliases", empty_value="none")
    def champion(self, row: Model) -> str | None:
        """Return what the aliases mean."""
        aliases = row.aliases.all()
        return ", ".join(f"@{alias.name} {alias.version.number}" for alias in aliases) or None

    @admin.display(description="alerts", empty_value="none")
    def alerts(self, row: Any) -> SafeString | None:
        """Return how many alerts stand."""
        count = row.alert_count
        return format_html('<span class="hw-badge hw-bad">{}</span>', count) if count else None

    @admin.display(description="traffic", empty_value="none")
    def traffic(self, row: Model) -> str | None:
        """Return what is served where."""
        return traffic_text(row.deployments.all()) or None

    @admin.display(description="versions")
    def versions_count(self, row: Any) -> int:
        """Return how many versions there are."""
        return int(row.version_count)

    def fill(self, rows: list[Any]) -> None:
        """Fetch aliases and traffic, count versions and alerts."""
        served = Deployment.unscoped.select_related("environment", "version")
        named = ModelAlias.unscoped.select_related("version")
        prefetch_related_objects(rows, Prefetch("deployments", served), Prefetch("aliases", named))
        versions = ModelVersion.unscoped.filter(model__in=rows).order_by().values_list("model")
        counts = dict(versions.annotate(count=Count("pk")))
        alerts = dict(standing(rows).values_list("version__model").annotate(count=Count("pk")))
        for row in rows:
            row.version_count, row.alert_count = counts.get(row.pk, 0), alerts.get(row.pk, 0)

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses of decisions."""
        return [
            self.address("<uuid:pk>/<int:number>/<str:verb>/", self.decide, "decide"),
            self.address("<uuid:pk>/rollback/", self.rollback, "rollback"),
            self.address("<uuid:pk>/rules/", self.rules, "rules"),
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show a model with its versions."""
        del form_url
        model = self.row(request, object_id)
        context = model_page(model) | {"alerts": standing_of(model)} | (extra_context or {})
        return self.page(request, "console/admin/model.html", model.name, original=model, **context)

    def decide(self, request: HttpRequest, pk: Any, number: int, verb: str) -> HttpResponse:
        """Do something about a version."""
        model = self.row(request, pk)
        version = model.versions.filter(number=number).select_related("model__project").first()
        if version is None or verb not in VERBS:
            raise Http404
        word, kind, do, explanation = VERBS[verb]
        extra = {"model": model} if issubclass(kind, PlaceForm) else {}
        return self.act(
            request, lambda values: do(acting(request), version, values), title=f"{word} {version}", submit=word,
            form=kind(request.POST if request.method == "POST" else None, **extra), explanation=explanation,
            back=self.link("change", pk), danger=verb == "archive", original=model,
        )  # fmt: skip

    def rollback(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Take back what was rolled out last."""
        model = self.row(request, pk)

        def run(values: dict[str, Any]) -> str:
            environment = values["environment"]
            rollout = roll_back(actor=acting(request), model=model, environment=environment, reason=values["reason"])
            return f"{rollout.champion} answers in {environment} again."

        return self.act(
            request, run, title=f"Roll back {model}", submit="Roll back", form=self._placed(request, model, PlaceForm),
            explanation="Ends the canaries if there are any; else the champion before answers every request again.",
            back=self.link("change", pk), danger=True, original=model,
        )  # fmt: skip

    def rules(self, request: HttpRequest, pk: Any) -> HttpResponse:
        """Change the rules by which a model is served."""
        from headwater.control.catalog.push import read_rules  # noqa: PLC0415 - loads what idle processes do not hold

        model = self.row(request, pk)

        def run(values: dict[str, Any]) -> str:
            if not isinstance(values["rules"], dict):
                raise HeadwaterError("invalid_parameter", "rules are a JSON object")
            rules, environment = read_rules(values["rules"]), values["environment"]
            change_serving(
                actor=acting(request), model=model, environment=environment, rules=rules, reason=values["reason"]
            )
            return f"{model} is served by these rules in {environment}."

        return self.act(
            request, run, title=f"Serving rules of {model}", submit="Change",
            form=self._placed(request, model, RulesForm), back=self.link("change", pk), original=model,
        )  # fmt: skip

    def _placed(self, request: HttpRequest, model: Model, kind: type[PlaceForm]) -> PlaceForm:
        """Return a form, filled with the environment that the link came from."""
        asked = request.GET.get("environment", "")
        environments = Environment.objects.for_org(model.org_id).filter(project_id=model.project_id)
        environment = environments.filter(key=asked).first()
        initial: dict[str, Any] = {"environment": environment}
        if kind is RulesForm and environment is not None:
            rules = rules_of(newest_rollout(model, environment.pk))
            initial["rules"] = rules.model_dump(mode="json", exclude_defaults=True)
        return kind(request.POST if request.method == "POST" else None, model=model, initial=initial)


@admin.register(ModelVersion)
class ModelVersionAdmin(ReportPages):
    """Sealed versions."""

    view_permission: ClassVar[str | None] = "model.read"
    list_display = ("model", "number", "framework", "state", "license", "pushed_by_label", "created_at")
    list_select_related = ("model",)
    list_filter = ("state", "framework")
    search_fields = ("model__name", "artifact_sha256")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show all about a version."""
        del form_url
        version = self.row(request, object_id)
        verbs = [(verb, word) for verb, (word, *_) in VERBS.items()]
        alerts = standing_of(version.model).filter(version=version)
        context = version_page(version) | {"verbs": verbs, "alerts": alerts} | (extra_context or {})
        context["documents"] = [
            (title, _document(value))
            for title, value in (("Options", version.options), ("Golden rows", version.examples))
            if value
        ]
        return self.page(request, "console/admin/model_version.html", str(version), original=version, **context)


def _document(value: Any) -> SafeString:
    return format_html('<pre class="hw-code">{}</pre>', json.dumps(value, indent=2, ensure_ascii=False))
