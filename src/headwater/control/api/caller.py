"""What a caller may see. Whatever lies in somebody else's organisation does not exist: 404, never 403."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from headwater.control.access.authority import authorize, has_permission
from headwater.control.access.models import ApiKey
from headwater.control.access.queries import actor_for_key, actor_for_user
from headwater.control.catalog.models import Dataset, Endpoint
from headwater.control.features.models import FeatureView
from headwater.control.kit.actions import Actor
from headwater.control.orgs.models import Environment, Membership, Organization, Project
from headwater.control.registry.models import Model
from headwater.core.errors import HeadwaterError


@dataclass(frozen=True, slots=True)
class Caller:
    """A signed-in user or the holder of an API key."""

    actor: Actor
    key: ApiKey | None = None

    @classmethod
    def with_user(cls, user: Any) -> Caller:
        """Return the caller behind a session."""
        return cls(actor_for_user(user))

    @classmethod
    def with_key(cls, key: ApiKey) -> Caller:
        """Return the caller behind a key: it sees its own project and environment alone."""
        return cls(actor_for_key(key), key)

    def need(self, permission: str, target: Any) -> None:
        """Raise ``forbidden`` unless the caller holds ``permission`` on ``target``."""
        authorize(self.actor, permission, target)

    def may(self, permission: str, target: Any) -> bool:
        """Return whether the caller holds ``permission`` on ``target``."""
        return has_permission(self.actor.subject, permission, target)

    def organizations(self) -> QuerySet[Organization]:
        """Return the organisations that exist for the caller."""
        rows: QuerySet[Organization] = Organization.unscoped.all()
        if self.key is not None:
            return rows.filter(pk=self.key.org_id)
        user = self.actor.subject
        if user.is_superuser:
            return rows
        memberships = Membership.unscoped.filter(user=user, status=Membership.Status.ACTIVE)
        return rows.filter(pk__in=memberships.values("org"))

    def projects(self, org: Organization) -> QuerySet[Project]:
        """Return the projects of ``org`` that exist for the caller."""
        rows: QuerySet[Project] = Project.objects.for_org(org).select_related("org")
        return rows if self.key is None else rows.filter(pk=self.key.environment.project_id)

    def environments(self, project: Project) -> QuerySet[Environment]:
        """Return the environments of ``project`` that exist for the caller."""
        rows: QuerySet[Environment] = (
            Environment.objects.for_org(project.org_id).filter(project=project).select_related("project", "org")
        )
        return rows if self.key is None else rows.filter(pk=self.key.environment_id)

    def organization(self, org: str) -> Organization:
        """Return an organisation by slug."""
        found: Organization = _found(self.organizations().filter(slug=org).first(), "organization", org)
        return found

    def project(self, org: str, project: str) -> Project:
        """Return a project by slugs."""
        found: Project = _found(self.projects(self.organization(org)).filter(slug=project).first(), "project", project)
        return found

    def environment(self, org: str, project: str, environment: str) -> Environment:
        """Return an environment by slugs."""
        rows = self.environments(self.project(org, project))
        found: Environment = _found(rows.filter(key=environment).first(), "environment", environment)
        return found

    def dataset(self, org: str, project: str, name: str) -> Dataset:
        """Return a dataset by name; the caller needs ``dataset.read``."""
        home = self.project(org, project)
        rows = Dataset.objects.for_org(home.org_id).filter(project=home, name=name).select_related("project__org")
        found: Dataset = _found(rows.first(), "dataset", name, code="dataset_not_found")
        self.need("dataset.read", found)
        return found

    def endpoint(self, environment: Environment, name: str) -> Endpoint:
        """Return an endpoint by name; the caller needs ``endpoint.read``."""
        rows = Endpoint.objects.for_org(environment.org_id).filter(environment=environment, name=name)
        found: Endpoint = _found(
            rows.select_related("environment").first(), "endpoint", name, code="endpoint_not_found"
        )
        self.need("endpoint.read", found)
        return found

    def feature_view(self, environment: Environment, name: str) -> FeatureView:
        """Return a feature view by name; the caller needs ``feature.read``."""
        rows = FeatureView.objects.for_org(environment.org_id).filter(environment=environment, name=name)
        found: FeatureView = _found(
            rows.select_related("environment", "dataset").first(), "feature view", name, code="feature_view_not_found"
        )
        self.need("feature.read", found)
        return found

    def model(self, org: str, project: str, name: str) -> Model:
        """Return a model by name; the caller needs ``model.read``."""
        home = self.project(org, project)
        rows = Model.objects.for_org(home.org_id).filter(project=home, name=name).select_related("project__org")
        found: Model = _found(rows.first(), "model", name, code="model_not_found")
        self.need("model.read", found)
        return found


def _found(row: Any, kind: str, name: str, *, code: str = "not_found") -> Any:
    if row is None:
        raise HeadwaterError(code, f"there is no {kind} {name[:100]!r}")
    return row
