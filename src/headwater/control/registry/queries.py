"""How models are served and what they depend on, read from what was written down."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import QuerySet

from headwater.control.orgs.models import Environment, Project
from headwater.control.registry.models import Deployment, LineageEdge, Model, ModelVersion, Rollout
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ServingSpec

Role = Deployment.Role
_ANSWERS = (Role.PRIMARY, Role.CANARY)
_WAYS_BACK = (Rollout.Cause.ROLLED_BACK, Rollout.Cause.DEPLOYED)
"""A champion that becomes a canary leaves its place to the one before, as in a rollback."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a version does in an environment. Pinned versions have no weight."""

    version: ModelVersion
    role: str = Role.PRIMARY
    weight_bps: int = 10_000

    @property
    def answers(self) -> bool:
        """Return whether requests that name no version reach it, so that its weight counts."""
        return self.role in _ANSWERS

    @property
    def percent(self) -> str:
        """Return the weight for people."""
        return f"{self.weight_bps / 100:g} %"

    def plain(self) -> dict[str, object]:
        """Return it as rollouts keep it."""
        return {"version": self.version.number, "role": str(self.role), "weight_bps": self.weight_bps}


def list_shares(model: Model, environment: Environment) -> list[Share]:
    """Return how a model is served in an environment now."""
    rows = Deployment.objects.for_org(model.org_id).filter(model=model, environment=environment)
    return [
        Share(row.version, row.role, row.weight_bps)
        for row in rows.select_related("version__model__project").order_by("version__number")
    ]


def find_champion(shares: Iterable[Share]) -> ModelVersion | None:
    """Return the primary version, of several the one that answers most."""
    primaries = [share for share in shares if share.role == Role.PRIMARY]
    return max(primaries, key=lambda share: share.weight_bps).version if primaries else None


def newest_rollout(model: Model, environment_id: uuid.UUID) -> Rollout | None:
    """Return the rollout that is in force."""
    rollouts = Rollout.objects.for_org(model.org_id).filter(model=model, environment_id=environment_id)
    found: Rollout | None = rollouts.select_related("champion").order_by("-number").first()
    return found


def rules_of(rollout: Rollout | None) -> ServingSpec:
    """Return the serving rules in force."""
    return ServingSpec.model_validate(rollout.rules if rollout else {})


def list_champions(model: Model, environment_id: uuid.UUID) -> list[ModelVersion]:
    """Return the versions that were promoted over each other, oldest first, the present champion last.

    A rollback takes what it left off the pile: rolling back twice goes two promotions back, not to and fro.
    """
    rollouts = Rollout.objects.for_org(model.org_id).filter(model=model, environment_id=environment_id)
    pile: list[ModelVersion] = []
    for rollout in rollouts.exclude(champion=None).select_related("champion__model__project").order_by("number"):
        champion = rollout.champion
        assert champion is not None
        if rollout.cause in _WAYS_BACK:
            while champion in pile and pile[-1] != champion:
                pile.pop()
        if not pile or pile[-1] != champion:
            pile.append(champion)
    return pile


def find_fallback(model: Model, environment_id: uuid.UUID, *, protected: bool) -> ModelVersion | None:
    """Return the version that a rollback of the champion leads to, None where there is none to go back to."""
    pile = list_champions(model, environment_id)
    earlier = [version for version in reversed(pile[:-1]) if version != pile[-1]]
    return next((version for version in earlier if may_serve(version, protected=protected)), None)


def may_serve(version: ModelVersion, *, protected: bool) -> bool:
    """Return whether a version may be served in an environment that is, or is not, protected."""
    if protected:
        return version.state == ModelVersion.State.APPROVED
    return version.state != ModelVersion.State.ARCHIVED


def get_version(model: Model, reference: str) -> ModelVersion:
    """Return the version that a number or an alias names; ``newest`` is the newest that is not archived.

    Raises:
        HeadwaterError: ``not_found`` with what there is.
    """
    versions = ModelVersion.objects.for_org(model.org_id).filter(model=model).select_related("model__project")
    if reference.isdecimal():
        found = versions.filter(number=int(reference[:9])).first()
    elif reference == "newest":
        found = versions.exclude(state=ModelVersion.State.ARCHIVED).order_by("-number").first()
    else:
        found = versions.filter(aliases__name=reference).first()
    if found is None:
        names = sorted(model.aliases.values_list("name", flat=True))
        raise HeadwaterError(
            "not_found",
            f"{model.name!r} has no version {reference[:64]!r}",
            hint=f"give a number, or one of: {', '.join(names)}" if names else "give a number",
        )
    version: ModelVersion = found
    return version


def list_dependents(project: Project, *, dataset: str | None = None, view: str | None = None) -> QuerySet[LineageEdge]:
    """Return the edges of versions that were trained on a dataset or read a view."""
    edges: QuerySet[LineageEdge] = LineageEdge.objects.for_org(project.org_id).filter(version__model__project=project)
    if dataset is not None:
        edges = edges.filter(kind=LineageEdge.Kind.TRAINED_ON, name=dataset)
    if view is not None:
        edges = edges.filter(kind=LineageEdge.Kind.READS_VIEW, name=view)
    return edges.select_related("version__model").order_by("-id")
