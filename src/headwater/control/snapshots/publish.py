"""Publishing: a new signed snapshot in the very transaction that made it necessary.

Writing it there, rather than after the commit, means that no crash can leave the data plane obeying an old state:
either both exist or neither. Contents that did not change get no new number.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.db import models, transaction
from django.utils import timezone
from pydantic import ValidationError

from headwater.control import configuration
from headwater.control.kit.context import bookkeeping
from headwater.control.kit.contributions import CONTRIBUTIONS
from headwater.control.orgs.models import Environment, Membership, Organization, Project
from headwater.control.snapshots.compiler import Compiled, compile_environment
from headwater.control.snapshots.models import Snapshot
from headwater.control.snapshots.signing import signing_key
from headwater.core import snapshot as core
from headwater.core.logging import get_logger
from headwater.core.sealed_snapshot import SignedSnapshot

_log = get_logger(__name__)
_NUMBER: Final = re.compile(r"[0-9]{1,15}")
KEPT: Final = 50
"""How many snapshots of an environment are kept."""


def publish_touched(touched: Sequence[Any]) -> None:
    """Publish the environments whose snapshots may differ now that ``touched`` rows changed."""
    watched: tuple[type[models.Model], ...] = (
        Organization,
        Project,
        Environment,
        *(m for c in CONTRIBUTIONS.values() for m in c.models),
    )
    concerned = [row for row in touched if isinstance(row, watched)]
    if concerned:
        for environment_id in sorted(affected_environments(concerned)):
            publish(environment_id)


def affected_environments(rows: Iterable[Any]) -> set[uuid.UUID]:
    """Return the environments that ``rows`` belong to: their own, their project's, their organisation's, or all."""
    affected: set[uuid.UUID] = set()
    for row in rows:
        environments = Environment.unscoped.all()
        if isinstance(row, Environment):
            affected.add(row.id)
            continue
        if getattr(row, "environment_id", None):
            affected.add(row.environment_id)
            continue
        if isinstance(row, Project):
            environments = environments.filter(project=row)
        elif getattr(row, "project_id", None):
            environments = environments.filter(project_id=row.project_id)
        elif isinstance(row, get_user_model()):
            orgs = Membership.unscoped.filter(user=row).values("org_id")
            environments = environments.filter(org_id__in=orgs)
        elif row.tenant_id is not None:
            environments = environments.filter(org_id=row.tenant_id)
        affected.update(environments.values_list("id", flat=True))
    return affected


def publish(environment_id: uuid.UUID) -> Snapshot | None:
    """Compile and sign one environment; return the new snapshot, or None when services have nothing to learn.

    Raises:
        HeadwaterError: ``snapshot_invalid`` when the home has no signing key.
    """
    with transaction.atomic():
        # The lock comes before the reading: of two changes at once, the later snapshot must hold both.
        Environment.unscoped.select_for_update().filter(pk=environment_id).first()
        environment: Environment = Environment.unscoped.select_related("project", "org").get(pk=environment_id)
        newest = Snapshot.unscoped.filter(environment_id=environment_id).order_by("-number").first()
        compiled = compile_environment(environment, _contents(newest))
        content = compiled.content_sha256()
        number = newest.number if newest else 0
        seen = _seen_number(environment)
        is_same = newest is not None and newest.content_sha256 == content and newest.problems == compiled.problems
        if is_same and seen <= number:
            return None
        return _store(environment, max(number, seen) + 1, compiled, content)


def _seen_number(environment: Environment) -> int:
    """Return the highest number that services of this home have in force, 0 where they are elsewhere.

    It is higher than ours when our database is a backup's. Services take nothing with a number that is not new to them.
    """
    kept = configuration.home().snapshots / environment.public_id
    return max((int(path.stem) for path in kept.glob("*.json") if _NUMBER.fullmatch(path.stem)), default=0)


def publish_all() -> list[Snapshot]:
    """Compile every environment and publish those that differ, for instance because a grant ran out."""
    ids = Environment.unscoped.order_by("id").values_list("id", flat=True)
    return [snapshot for environment_id in ids if (snapshot := publish(environment_id)) is not None]


def _contents(row: Snapshot | None) -> core.Snapshot | None:
    """Return what stands in for a broken part; nothing when an older release wrote what this one cannot read."""
    try:
        return core.Snapshot.model_validate_json(row.payload) if row else None
    except ValidationError as error:
        _log.error("previous_snapshot_unreadable", number=row and row.number, error=str(error)[:1_000])
        return None


def _store(environment: Environment, number: int, compiled: Compiled, content: str) -> Snapshot:
    now = timezone.now()
    signed = SignedSnapshot.sign(
        core.Snapshot(number=number, compiled_at=now, environment=compiled.environment, **compiled.sections),
        signing_key(),
    )
    snapshot = Snapshot(
        org_id=environment.org_id,
        environment=environment,
        number=number,
        created_at=now,
        schema_version=core.SCHEMA_VERSION,
        payload=signed.payload,
        sha256=signed.sha256,
        signature=signed.signature,
        content_sha256=content,
        problems=compiled.problems,
    )
    snapshot.save(force_insert=True)
    with bookkeeping():
        Snapshot.unscoped.filter(environment=environment, number__lte=number - KEPT).delete()
    return snapshot
