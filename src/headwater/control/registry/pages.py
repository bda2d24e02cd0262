"""What the admin's pages about models and versions show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.db.models import Q

from headwater.contracts.spec import contract_from_spec
from headwater.control.catalog.models import Dataset
from headwater.control.features.models import FeatureView
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import AliasMove, Deployment, Model, ModelVersion, Rollout, VersionCheck
from headwater.control.registry.queries import Share, find_fallback, list_shares, newest_rollout, rules_of
from headwater.core.snapshot import ServingSpec

SHOWN: Final = 30


@dataclass(frozen=True, slots=True)
class Place:
    """How a model is served in one environment."""

    environment: Environment
    shares: list[Share]
    fallback: ModelVersion | None
    rules: list[str]
    rollout: Rollout | None

    @property
    def has_canaries(self) -> bool:
        """Return whether versions are tried with a share of the traffic."""
        return any(share.role == Deployment.Role.CANARY for share in self.shares)

    @property
    def can_roll_back(self) -> bool:
        """Return whether there is something to take back."""
        return self.has_canaries or (bool(self.shares) and self.fallback is not None)

    @property
    def way_back(self) -> str:
        """Return what a rollback would do."""
        if self.has_canaries:
            return "A rollback ends the canaries."
        if self.fallback is None:
            return "There is nothing to roll back to: no version that may be served was champion here before."
        return f"A rollback leads to version {self.fallback.number}."


def list_places(model: Model) -> list[Place]:
    """Return how a model is served, in each environment where it is."""
    rows = Deployment.objects.for_org(model.org_id).filter(model=model).values("environment")
    environments = Environment.objects.for_org(model.org_id).filter(pk__in=rows).select_related("project__org")
    return [find_place(model, environment) for environment in environments]


def model_page(model: Model) -> dict[str, Any]:
    """Return the context of a model's page."""
    org = model.org_id
    versions = ModelVersion.objects.for_org(org).filter(model=model).prefetch_related("checks", "aliases")
    rollouts = Rollout.objects.for_org(org).filter(model=model).select_related("environment__project", "champion")
    return {
        "model": model,
        "places": list_places(model),
        "versions": [{"row": row, "checks": _counted(row), "aliases": row.aliases.all()} for row in versions],
        "aliases": model.aliases.select_related("version"),
        "rollouts": [
            {"row": row, "routes": ", ".join(map(_route_text, row.routes)) or "nothing"}
            for row in rollouts.order_by("-created_at")[:SHOWN]
        ],
        "moves": _moves(model, Q()),
    }


def version_page(version: ModelVersion) -> dict[str, Any]:
    """Return the context of a version's page."""
    deployments = Deployment.objects.for_org(version.org_id).filter(version=version)
    return {
        "version": version,
        "model": version.model,
        "inputs": list(_inputs(version)),
        "checks": version.checks.all(),
        "approvals": version.approvals.all(),
        "lineage": list(_lineage(version)),
        "aliases": version.aliases.all(),
        "deployments": deployments.select_related("environment__project"),
        "moves": _moves(version.model, Q(version=version) | Q(before=version)),
        "size": f"{version.artifact_bytes / (1 << 20):,.2f} MB" if version.artifact_bytes else "unknown",
        "memory": f"{version.memory_bytes >> 20:,} MB",
    }


def traffic_text(rows: Iterable[Deployment]) -> str:
    """Return how a model is served everywhere, on one line; ``rows`` are all its routes."""
    places: dict[str, list[str]] = {}
    for row in sorted(rows, key=lambda row: (row.environment.key, -row.weight_bps)):
        share = Share(row.version, row.role, row.weight_bps)
        places.setdefault(row.environment.key, []).append(_route_text(share.plain()))
    return "; ".join(f"{key}: {', '.join(routes)}" for key, routes in places.items())


def rule_texts(rules: ServingSpec) -> list[str]:
    """Return the rules that differ from the defaults, a line each."""
    return [
        f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in rules.model_dump(exclude_defaults=True).items()
    ]


def find_place(model: Model, environment: Environment) -> Place:
    """Return how a model is served in one environment, and what a rollback would do there."""
    rollout = newest_rollout(model, environment.pk)
    fallback = find_fallback(model, environment.pk, protected=environment.protected)
    shares = sorted(list_shares(model, environment), key=lambda share: (not share.answers, -share.weight_bps))
    return Place(environment, shares, fallback, rule_texts(rules_of(rollout)), rollout)


def _counted(version: ModelVersion) -> list[tuple[str, int]]:
    counted = Counter(check.status for check in version.checks.all())
    return [(status, counted[status]) for status in VersionCheck.Status.values if counted[status]]


def _moves(model: Model, about: Q) -> Any:
    moves = AliasMove.objects.for_org(model.org_id).filter(about, model=model).select_related("version", "before")
    return moves.order_by("-created_at")[:SHOWN]


def _inputs(version: ModelVersion) -> Iterator[dict[str, Any]]:
    filled = {reference["field"]: reference for reference in version.features}
    for field in contract_from_spec(version.inputs).fields:
        reference = filled.get(field.name)
        limits = {
            name: value for name, value in asdict(field.constraints).items() if value is not None and value is not False
        }
        yield {
            "field": field,
            "constraints": _plain(limits),
            "feature": f"{reference['view']}.{reference['feature']}" if reference else "",
        }


def _lineage(version: ModelVersion) -> Iterator[dict[str, Any]]:
    project = version.model.project_id
    datasets = Dataset.objects.for_org(version.org_id).filter(project_id=project)
    views = FeatureView.objects.for_org(version.org_id).filter(environment__project_id=project)
    for edge in version.lineage.all():
        is_dataset = edge.kind == edge.Kind.TRAINED_ON
        yield {
            "edge": edge,
            "way": "trained on" if is_dataset else "reads",
            "dataset": datasets.filter(name=edge.name).first() if is_dataset else None,
            "view": None if is_dataset else views.filter(name=edge.name).first(),
        }


def _route_text(route: Mapping[str, Any]) -> str:
    if route["role"] == Deployment.Role.PINNED:
        return f"{route['version']} pinned"
    return f"{route['version']} {route['role']} {route['weight_bps'] / 100:g} %"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_plain(member)}" for name, member in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
