"""Alerts about models, and the reports of versions as JSON, as one HTML file and as an image."""

# ruff: noqa: PLR0917 - ninja passes the parts of the path by name

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema

from headwater.control.access.authority import has_permission
from headwater.control.api.auth import caller_of
from headwater.control.api.caller import Caller
from headwater.control.api.pages import Page, PageQuery, take_page
from headwater.control.api.registry import VERSION, find_numbered
from headwater.control.monitoring.export import document, respond, show_alert
from headwater.control.monitoring.links import DEFAULT_WINDOW
from headwater.control.monitoring.models import ModelAlert
from headwater.control.monitoring.queries import ReportView, environments_of, gather_report
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import ModelVersion
from headwater.core.errors import HeadwaterError

router = Router(tags=["Monitoring"])
own = Router(tags=["Monitoring"])
"""Addresses that name no organisation: what the caller's key is for, or what a session can see."""
_HTML: Final = {"responses": {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}}
_PNG: Final = {"responses": {200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}}}
SHORT = "/models/{model}/versions/{int:number}/report"


class AlertOut(Schema):
    """That a number of a version is, or was, beyond its threshold; `rows` says which predictions to look at."""

    id: str
    organization: str
    project: str
    environment: str
    model: str
    version: int
    metric: str
    side: str | None
    field: str | None
    state: Literal["raised", "cleared"]
    value: float
    latest: float
    worst: float
    threshold: float
    since: datetime
    raised_at: datetime
    judged_at: datetime
    cleared_at: datetime | None
    cleared_because: str
    rows: dict[str, Any]

    @classmethod
    def show(cls, alert: ModelAlert) -> AlertOut:
        """Return what the API says about an alert."""
        project = alert.environment.project
        return cls(organization=project.org.slug, project=project.slug, **show_alert(alert))


class AlertQuery(PageQuery):
    """Which alerts."""

    state: Literal["raised", "cleared", "all"] = "raised"
    organization: str | None = None
    project: str | None = None
    environment: str | None = None
    model: str | None = None


class ReportQuery(Schema):
    """Where, and over how long."""

    environment: str | None = Field(None, description="By default the key's own, else one that serves the version")
    window: Literal["1h", "24h", "7d"] = DEFAULT_WINDOW


class OwnReportQuery(ReportQuery):
    """Whose model it is; a key knows."""

    organization: str | None = None
    project: str | None = None


Reporting = Annotated[ReportQuery, Query(...)]
OwnReporting = Annotated[OwnReportQuery, Query(...)]


@own.get("/alerts", response=Page[AlertOut])
def list_alerts(request: HttpRequest, query: Annotated[AlertQuery, Query(...)]) -> Page[AlertOut]:
    """List the alerts of every environment whose models the caller may read, newest first."""
    caller = caller_of(request)
    environments = [one.pk for one in _environments(caller, query)]
    alerts = ModelAlert.unscoped.filter(environment_id__in=environments)
    if query.state != "all":
        alerts = alerts.filter(cleared_at__isnull=query.state == "raised")
    if query.model is not None:
        alerts = alerts.filter(version__model__name=query.model)
    related = alerts.select_related("version__model", "environment__project__org")
    return take_page(related, query, AlertOut.show, newest_first=True)


@router.get(VERSION + "/report", response=dict[str, Any])
def get_report(
    request: HttpRequest, org: str, project: str, model: str, number: int, query: Reporting
) -> dict[str, Any]:
    """Show what a version saw and said: traffic, drift, performance, shadow, alerts."""
    return document(_view(request, org, project, model, number, query))


@router.get(VERSION + "/report.html", openapi_extra=_HTML)
def get_report_html(
    request: HttpRequest, org: str, project: str, model: str, number: int, query: Reporting
) -> HttpResponse:
    """Download the report as one HTML file that loads nothing."""
    return respond(_view(request, org, project, model, number, query), "html")


@router.get(VERSION + "/report.png", openapi_extra=_PNG)
def get_report_png(
    request: HttpRequest, org: str, project: str, model: str, number: int, query: Reporting
) -> HttpResponse:
    """Download the report as an image."""
    return respond(_view(request, org, project, model, number, query), "png")


@own.get(SHORT, response=dict[str, Any])
def get_own_report(request: HttpRequest, model: str, number: int, query: OwnReporting) -> dict[str, Any]:
    """Show the report of a version of the key's project; without a key, `organization` and `project` say whose."""
    return document(_view(request, *_home(caller_of(request), query), model, number, query))


@own.get(SHORT + ".html", openapi_extra=_HTML)
def get_own_report_html(request: HttpRequest, model: str, number: int, query: OwnReporting) -> HttpResponse:
    """Download the report as one HTML file that loads nothing."""
    return respond(_view(request, *_home(caller_of(request), query), model, number, query), "html")


@own.get(SHORT + ".png", openapi_extra=_PNG)
def get_own_report_png(request: HttpRequest, model: str, number: int, query: OwnReporting) -> HttpResponse:
    """Download the report as an image."""
    return respond(_view(request, *_home(caller_of(request), query), model, number, query), "png")


def _view(request: HttpRequest, org: str, project: str, model: str, number: int, query: ReportQuery) -> ReportView:
    caller = caller_of(request)
    version = find_numbered(caller, org, project, model, number)
    return gather_report(version, _environment(caller, version, org, project, query.environment), query.window)


def _environment(caller: Caller, version: ModelVersion, org: str, project: str, key: str | None) -> Environment:
    """Return the environment that is asked for; those of others do not exist."""
    if key is not None:
        environment = caller.environment(org, project, key)
    elif caller.key is not None:
        environment = caller.key.environment
    else:
        environments = environments_of(version)
        if not environments:
            raise HeadwaterError("not_found", f"{project!r} has no environment")
        environment = environments[0][0]
    return environment


def _home(caller: Caller, query: OwnReportQuery) -> tuple[str, str]:
    """Return the organisation and the project that an address without them means."""
    if caller.key is not None:
        own_project = caller.key.environment.project
        return query.organization or own_project.org.slug, query.project or own_project.slug
    if query.organization is None or query.project is None:
        raise HeadwaterError(
            "invalid_parameter",
            "organization and project are needed, because a session may see several",
            hint="add ?organization=…&project=…, or send a key, which has one project",
        )
    return query.organization, query.project


def _environments(caller: Caller, query: AlertQuery) -> list[Environment]:
    found = Environment.unscoped.filter(org__in=caller.organizations()).select_related("project__org")
    if caller.key is not None:
        found = found.filter(pk=caller.key.environment_id)
    asked = {"org__slug": query.organization, "project__slug": query.project, "key": query.environment}
    found = found.filter(**{name: value for name, value in asked.items() if value is not None})
    return [environment for environment in found if has_permission(caller.actor.subject, "model.read", environment)]
