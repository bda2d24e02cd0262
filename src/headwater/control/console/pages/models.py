"""Models: what each does here, its versions and their checks, and how a version does."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.db.models import Count, Max, Q
from django.http import Http404, HttpRequest, HttpResponse

from headwater.contracts.model import Field
from headwater.contracts.spec import contract_from_spec
from headwater.control.console.examples import example_of
from headwater.control.console.forms import ReasonForm, perform
from headwater.control.console.pages import Entry, page
from headwater.control.console.place import Place
from headwater.control.console.snippets import predict_snippets
from headwater.control.console.tables import keyset
from headwater.control.monitoring.links import DEFAULT_WINDOW, WINDOWS
from headwater.control.monitoring.models import ModelAlert
from headwater.control.monitoring.page import blocks, quality, thresholds, tiles
from headwater.control.monitoring.queries import gather_report
from headwater.control.registry.actions import approve_version, move_alias, promote_version, roll_back
from headwater.control.registry.models import Deployment, Model, ModelVersion, Rollout
from headwater.control.registry.pages import find_place
from headwater.control.registry.queries import Share

_VERSION: Final = "models/<slug:name>/versions/<int:number>/"
_POST: Final = ("POST",)
_ROLES: Final = {"primary": "good", "canary": "warn", "shadow": "note"}


@page("models/", name="models", permission="model.read", entry=Entry("Models", "model", "Models", order=10))
def models(request: HttpRequest, here: Place) -> HttpResponse:
    """List the project's models with what is served here."""
    rows = Model.objects.for_org(here.org).filter(project=here.project)
    if not here.holds("model.read"):
        rows = rows.filter(name__in=here.named("model.read"))
    q = request.GET.get("q", "").strip()[:100]
    if q:
        rows = rows.filter(Q(name__icontains=q) | Q(description__icontains=q))
    rows = rows.annotate(newest=Max("versions__number"), alerts=_standing(here))
    table = keyset(rows, request, by="name")
    served = _served(here, table.rows)
    return here.render(
        "console/pages/models/list.html", title="Models", table=table, q=q,
        lines=[(row, served.get(row.pk, [])) for row in table.rows],
        lead="What predicts here, and with which share of the traffic.",
    )  # fmt: skip


@page("models/<slug:name>/", name="model", permission="model.read", section="models")
def model(request: HttpRequest, here: Place, name: str) -> HttpResponse:  # noqa: ARG001 - the registry's signature
    """Show a model: routes here and the way back, aliases, versions, rollouts, how to ask it."""
    row = _model(here, name)
    versions: list[Any] = list(
        ModelVersion.objects.for_org(here.org)
        .filter(model=row)
        .annotate(failed=Count("checks", filter=Q(checks__status="failed")))
        .defer("source", "card", "training")
        .order_by("-number")[:50]
    )
    rollouts = Rollout.objects.for_org(here.org).filter(model=row, environment=here.env).select_related("champion")
    fields = contract_from_spec(versions[0].inputs).fields if versions else ()
    return here.render(
        "console/pages/models/detail.html", title=row.name, lead=row.description, model=row, versions=versions,
        shares=_served(here, [row]).get(row.pk, []), aliases=list(row.aliases.select_related("version")),
        rollouts=rollouts.order_by("-number")[:10], snippets=predict_snippets(row.name, example_of(fields)),
        standing=find_place(row, here.env) if here.may("model.write", row) else None,
        back=here.url("models"), back_title="Models", toolbar="console/pages/models/toolbar.html",
    )  # fmt: skip


@page("models/<slug:name>/rollback/", name="model-rollback", permission="model.write", section="models", methods=_POST)
def rollback(request: HttpRequest, here: Place, name: str) -> HttpResponse:
    """Take back what was rolled out here last."""
    row = _model(here, name)

    def run(values: dict[str, Any]) -> str:
        rollout = roll_back(actor=here.actor, model=row, environment=here.env, reason=values["reason"])
        assert rollout.champion is not None, "a rollback leaves a champion"
        return f"Version {rollout.champion.number} of {row.name} answers in {here.env.key} again."

    return perform(request, run, back=here.url("model", name))


@page(_VERSION, name="model-version", permission="model.read", section="models")
def version(request: HttpRequest, here: Place, name: str, number: int) -> HttpResponse:
    """Show a version: inputs and outputs, checks, approvals, and how it does here."""
    row = _version(here, name, number)
    window = request.GET.get("window", DEFAULT_WINDOW)
    view = gather_report(row, here.env, window if window in WINDOWS else DEFAULT_WINDOW)
    context: dict[str, Any] = {
        "version": row,
        "model": row.model,
        "inputs": _inputs(row),
        "checks": list(row.checks.all()),
        "approvals": list(row.approvals.all()),
        "aliases": list(row.aliases.all()),
        "lineage": list(row.lineage.all()),
        "deployments": list(row.deployments.select_related("environment")),
        "size": f"{row.artifact_bytes / (1 << 20):,.2f} MB" if row.artifact_bytes else "size unknown",
        "view": view,
        "windows": WINDOWS,
        "tiles": tiles(view),
        "blocks": blocks(view.report, view.monitor, {}) if view.report is not None else [],
        "quality": quality(view.report.performance) if view.report is not None and view.report.performance else None,
        "thresholds": thresholds(view.monitor),
        "may_write": here.may("model.write", row),
        "may_approve": here.may("model.approve", row) and row.state in ("registered", "validated"),
    }
    return here.render(
        "console/pages/models/version.html", title=f"{row.model.name} version {row.number}", badge=row.state,
        back=here.url("model", row.model.name), back_title=row.model.name, **context,
    )  # fmt: skip


@page(f"{_VERSION}approve/", name="model-approve", permission="model.approve", section="models", methods=_POST)
def approve(request: HttpRequest, here: Place, name: str, number: int) -> HttpResponse:
    """Approve a version for protected environments."""
    row = _version(here, name, number)

    def run(values: dict[str, Any]) -> str:
        approve_version(actor=here.actor, version=row, reason=values["reason"])
        return f"{row} is approved."

    return perform(request, run, back=here.url("model-version", name, number))


@page(f"{_VERSION}promote/", name="model-promote", permission="model.write", section="models", methods=_POST)
def promote(request: HttpRequest, here: Place, name: str, number: int) -> HttpResponse:
    """Make a version the champion here."""
    row = _version(here, name, number)

    def run(values: dict[str, Any]) -> str:
        promote_version(actor=here.actor, version=row, environment=here.env, reason=values["reason"])
        return f"{row} answers in {here.env.key} now."

    return perform(request, run, back=here.url("model-version", name, number))


class AliasForm(ReasonForm):
    """Which alias is to name the version."""

    alias = forms.SlugField(max_length=63)


@page(f"{_VERSION}alias/", name="model-alias", permission="model.write", section="models", methods=_POST)
def alias(request: HttpRequest, here: Place, name: str, number: int) -> HttpResponse:
    """Let an alias name a version."""
    row = _version(here, name, number)

    def run(values: dict[str, Any]) -> str:
        move_alias(actor=here.actor, version=row, name=values["alias"], reason=values["reason"])
        return f"{row.model.name}@{values['alias']} names version {row.number} now."

    back = here.url("model-version", name, number)
    return perform(request, run, back=back, form=AliasForm(request.POST))


def _model(here: Place, name: str) -> Model:
    row: Model | None = (
        Model.objects.for_org(here.org).filter(project=here.project, name=name).select_related("project", "org").first()
    )
    if row is None:
        raise Http404
    here.need("model.read", row.grant_resource)
    return row


def _version(here: Place, name: str, number: int) -> ModelVersion:
    rows = ModelVersion.objects.for_org(here.org).filter(model=_model(here, name), number=number)
    row: ModelVersion | None = rows.select_related("model__project__org", "org").first()
    if row is None:
        raise Http404
    return row


def _inputs(row: ModelVersion) -> list[tuple[Field, str]]:
    """Return the fields of a row, each with the feature that fills it in unless a request gives it."""
    filled = {reference["field"]: f"{reference['view']}.{reference['feature']}" for reference in row.features}
    return [(field, filled.get(field.name, "")) for field in contract_from_spec(row.inputs).fields]


def _standing(here: Place) -> Count:
    standing = ModelAlert.objects.for_org(here.org).filter(environment=here.env, cleared_at=None).values("version")
    return Count("versions", filter=Q(versions__in=standing), distinct=True)


def _served(here: Place, rows: list[Any]) -> dict[Any, list[tuple[Share, str]]]:
    """Return what each model serves here: shares, what answers first, with their colours."""
    deployments = Deployment.objects.for_org(here.org).filter(environment=here.env, model__in=[row.pk for row in rows])
    found: dict[Any, list[tuple[Share, str]]] = {}
    for item in deployments.select_related("version").defer("version__source", "version__card").order_by("-weight_bps"):
        share = Share(item.version, item.role, item.weight_bps)
        found.setdefault(item.model_id, []).append((share, _ROLES.get(item.role, "")))
    return found
