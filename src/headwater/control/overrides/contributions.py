"""What overrides put into the snapshot of an environment: the approved ones whose time is not over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils import timezone

from headwater.control.kit.contributions import EnvironmentRef, contribute
from headwater.control.overrides.models import Override
from headwater.core.overrides import OverrideSpec


def contribute_overrides(environment: EnvironmentRef) -> Mapping[str, Any]:
    """Return the overrides in force and those that will be; the data plane holds each against its own clock."""
    rows = Override.objects.for_org(environment.org_id).filter(
        environment_id=environment.id, state=Override.State.APPROVED, valid_until__gt=timezone.now()
    )
    return {row.public_id: _spec(row) for row in rows.order_by("id")}


def _spec(row: Override) -> OverrideSpec:
    return OverrideSpec(
        id=row.public_id,
        model=row.target,
        output=row.output,
        by="entity" if row.by == Override.By.ENTITY else "inputs",
        key=row.key,
        value=row.value,
        reason=row.reason,
        requested_by=row.requested_by_label,
        approved_by=row.decided_by_label,
        valid_from=row.valid_from,
        valid_until=row.valid_until,
    )


contribute("overrides", contribute_overrides, models=(Override,))
