"""Alerts and reports, read for pages, exports and the API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import QuerySet

from headwater.control.catalog.data_plane import connect
from headwater.control.monitoring.links import WINDOWS
from headwater.control.monitoring.models import ModelAlert, VersionWatch
from headwater.control.monitoring.report import Report, ask_report
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import Deployment, Model, ModelVersion
from headwater.control.registry.queries import newest_rollout, rules_of
from headwater.core.errors import HeadwaterError
from headwater.core.monitoring_specs import MonitorSpec

HISTORY: Final = 30
_RELATED: Final = ("version__model__project__org", "environment__project")


@dataclass(frozen=True, slots=True)
class ReportView:
    """A version in an environment as its report shows it.

    Without a ``report``, ``problem`` says why there is none; ``is_away`` whether that is because services are.
    """

    version: ModelVersion
    environment: Environment
    window: str
    monitor: MonitorSpec
    role: str
    alerts: list[ModelAlert]
    history: list[ModelAlert]
    watch: VersionWatch | None
    report: Report | None = None
    problem: str = ""
    is_away: bool = False

    @property
    def model(self) -> Model:
        """Return the model."""
        return self.version.model

    @property
    def judged_at(self) -> datetime | None:
        """Return when the version was last judged."""
        return self.watch.judged_at if self.watch else None

    @property
    def title(self) -> str:
        """Return what it is a report of."""
        return f"{self.model.name} version {self.version.number} in {self.environment.key}"


def gather_report(version: ModelVersion, environment: Environment, window: str) -> ReportView:
    """Ask for the report of a version and put beside it what is known here; services may be away."""
    alerts = of_version(version, environment)
    deployment = Deployment.objects.for_org(version.org_id).filter(version=version, environment=environment).first()
    report, problem, is_away = None, "", False
    try:
        with connect() as services:
            report = ask_report(
                services, environment.public_id, version.model.name, version.number, minutes=WINDOWS[window]
            )
    except HeadwaterError as error:
        problem, is_away = error.detail, error.code == "services_unavailable"
    return ReportView(
        version=version,
        environment=environment,
        window=window,
        monitor=rules_of(newest_rollout(version.model, environment.pk)).monitor,
        role=deployment.role if deployment else "",
        alerts=list(alerts.filter(cleared_at=None)),
        history=list(alerts.exclude(cleared_at=None)[:HISTORY]),
        watch=VersionWatch.objects.filter(version=version, environment=environment).first(),
        report=report,
        problem=problem,
        is_away=is_away,
    )


def of_version(version: ModelVersion, environment: Environment) -> QuerySet[ModelAlert]:
    """Return the alerts of a version in an environment, newest first."""
    alerts: QuerySet[ModelAlert] = ModelAlert.objects.for_org(version.org_id).filter(
        version=version, environment=environment
    )
    return alerts.select_related(*_RELATED).order_by("-raised_at")


def standing_in(environments: Iterable[Environment]) -> list[ModelAlert]:
    """Return the alerts that stand in environments that the caller has chosen to be those the reader may see."""
    ids = [environment.pk for environment in environments]
    alerts = ModelAlert.unscoped.filter(environment_id__in=ids, cleared_at=None)
    return list(alerts.select_related(*_RELATED).order_by("-raised_at"))


def standing_of(model: Model) -> QuerySet[ModelAlert]:
    """Return the alerts about the versions of a model that stand, newest first."""
    alerts: QuerySet[ModelAlert] = ModelAlert.objects.for_org(model.org_id).filter(
        version__model=model, cleared_at=None
    )
    return alerts.select_related(*_RELATED).order_by("-raised_at")


def standing(models: Iterable[Model]) -> QuerySet[ModelAlert]:
    """Return the alerts that stand about any of ``models``, in no order."""
    alerts: QuerySet[ModelAlert] = ModelAlert.unscoped.filter(version__model__in=list(models), cleared_at=None)
    return alerts.order_by()


def environments_of(version: ModelVersion) -> list[tuple[Environment, str]]:
    """Return the environments of a version's project with the version's role there, those that serve it first."""
    environments = Environment.objects.for_org(version.org_id).filter(project_id=version.model.project_id)
    roles = dict(
        Deployment.objects.for_org(version.org_id).filter(version=version).values_list("environment_id", "role")
    )
    found = [(environment, roles.get(environment.pk, "")) for environment in environments.select_related("project")]
    return sorted(found, key=lambda pair: (not pair[1], pair[0].key))
