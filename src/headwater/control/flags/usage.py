"""How often flags are evaluated: what services report, counted by day, each batch once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from django.db import models, transaction
from django.utils import timezone
from pydantic import BaseModel, ConfigDict, Field

from headwater.control.flags.models import EVERY_FLAG, Flag, FlagReporter, FlagUsage
from headwater.control.kit.context import bookkeeping
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError

KEPT: Final = timedelta(days=180)


class EnvironmentCounts(BaseModel):
    """What was asked in one environment: all flags at once, and single ones by variant."""

    model_config = ConfigDict(extra="ignore")

    bulk: int = Field(0, ge=0, le=1 << 50)
    flags: dict[str, dict[str, int]] = {}


class UsageReport(BaseModel):
    """A batch of counts. ``batch`` grows within a ``node``, which is one life of one process."""

    model_config = ConfigDict(extra="ignore")

    node: str = Field(min_length=1, max_length=100)
    batch: int = Field(ge=1, le=1 << 50)
    environments: dict[str, EnvironmentCounts]


def record_usage(report: UsageReport) -> bool:
    """Count a batch; return False where it was counted before. Environments and flags that are gone are left out."""
    with transaction.atomic(), bookkeeping():
        if not _is_new(report):
            return False
        today = timezone.now().date()
        for environment_id, counts in report.environments.items():
            environment = _environment(environment_id)
            if environment is not None:
                _count(environment, counts, today)
    return True


def last_evaluated(environment: Environment) -> Mapping[str, date]:
    """Return by key on which day each flag was last asked for by itself, or all at once under ``*``."""
    rows = FlagUsage.objects.for_org(environment.org_id).filter(environment=environment)
    return dict(rows.values_list("key").annotate(day=models.Max("day")))


def counts_by_day(environment: Environment, key: str, *, days: int = 30) -> list[dict[str, Any]]:
    """Return how often a flag was evaluated on each of the last days, by variant."""
    since = timezone.now().date() - timedelta(days=days)
    rows = FlagUsage.objects.for_org(environment.org_id).filter(environment=environment, key=key, day__gte=since)
    return list(rows.order_by("day", "variant").values("day", "variant", "count"))


def forget_old_usage() -> int:
    """Delete counts, and reporters, that are older than anybody asks about; return how many rows."""
    before = timezone.now() - KEPT
    with bookkeeping():
        deleted, _ = FlagUsage.unscoped.filter(day__lt=before.date()).delete()
        gone, _ = FlagReporter.objects.filter(heard_at__lt=before).delete()
    return deleted + gone


def _is_new(report: UsageReport) -> bool:
    now = timezone.now()
    reporters = FlagReporter.objects.select_for_update()
    reporter, made = reporters.get_or_create(node=report.node, defaults={"batch": report.batch, "heard_at": now})
    if made:
        return True
    if report.batch <= reporter.batch:
        return False
    FlagReporter.objects.filter(pk=reporter.pk).update(batch=report.batch, heard_at=now)
    return True


def _environment(environment_id: str) -> Environment | None:
    try:
        key = Environment.parse_id(environment_id)
    except HeadwaterError:
        return None
    found: Environment | None = Environment.unscoped.filter(pk=key).first()
    return found


def _count(environment: Environment, counts: EnvironmentCounts, day: date) -> None:
    flags = Flag.objects.for_org(environment.org_id).filter(project_id=environment.project_id)
    variants = dict(flags.filter(key__in=counts.flags).values_list("key", "variants"))
    found = {(EVERY_FLAG, ""): counts.bulk} if counts.bulk else {}
    for key, by_variant in counts.flags.items():
        found |= {(key, name): count for name, count in by_variant.items() if name in variants.get(key, ())}
    for (key, variant), count in found.items():
        row, _ = FlagUsage.unscoped.get_or_create(
            environment=environment, key=key, variant=variant, day=day, defaults={"org_id": environment.org_id}
        )
        FlagUsage.unscoped.filter(pk=row.pk).update(count=models.F("count") + max(count, 0), heard_at=timezone.now())
