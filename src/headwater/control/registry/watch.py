"""Making durable what the data plane did at once: a version that it tripped is rolled back by an audited action."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from django.utils import timezone

from headwater.control.catalog.data_plane import ModelHealth
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import Model
from headwater.control.registry.queries import list_shares, newest_rollout
from headwater.control.registry.rollouts import WATCH, roll_back
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger

SETTLING: Final = timedelta(seconds=5)
"""For so long after a rollout a trip may still speak of what was served before; if it stands, it is reported again."""
_log = get_logger(__name__)


def take_back(environment: Environment, health: Iterable[ModelHealth]) -> int:
    """Roll back every tripped version that requests still go to by what is written down; return how many.

    Told twice, it acts once: a version that was taken out has no share any more.
    """
    tripped = {
        report.model: {version.version: version.tripped for version in report.versions if version.tripped}
        for report in health
    }
    names = [name for name, versions in tripped.items() if versions]
    models = Model.objects.for_org(environment.org_id).filter(project_id=environment.project_id, name__in=names)
    return sum(
        _take_back(environment, model, number, reason or "")
        for model in models.select_related("project")
        for number, reason in tripped[model.name].items()
    )


def _take_back(environment: Environment, model: Model, number: int, reason: str) -> bool:
    share = next(
        (share for share in list_shares(model, environment) if share.answers and share.version.number == number), None
    )
    rollout = newest_rollout(model, environment.pk)
    if share is None or (rollout is not None and timezone.now() - rollout.created_at < SETTLING):
        return False
    try:
        roll_back(actor=WATCH, model=model, environment=environment, version=share.version, reason=f"tripped: {reason}")
    except HeadwaterError as error:
        # Nothing to go back to, or somebody acts at this moment; the next report tells.
        _log.warning(
            "tripped_version_stays", model=model.name, version=number, environment=environment.public_id,
            tripped=reason, problem=error.detail,
        )  # fmt: skip
        return False
    return True
