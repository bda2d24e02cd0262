"""Asking for overrides, approving, rejecting and revoking them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone

from headwater.control.kit.actions import Actor, action
from headwater.control.orgs.models import Environment
from headwater.control.overrides.checks import check_key, check_output, find_model, served_versions
from headwater.control.overrides.models import Override
from headwater.core.errors import HeadwaterError

State = Override.State
LONGEST: Final = timedelta(days=366)
"""What is to hold for longer is no exception: it belongs into the model, or a rule."""


@action("overrides.override.requested", permission="override.write", on="environment")
def request_override(
    *,
    actor: Actor,
    environment: Environment,
    target: str,
    output: str,
    key: Mapping[str, Any],
    value: Any,
    valid_until: datetime,
    reason: str,
    valid_from: datetime | None = None,
    by: str = "inputs",
    origin: str = "",
) -> Override:
    """Ask for an output of a model to be ``value`` wherever ``key`` fits; somebody else has to approve it.

    Args:
        actor: who asks.
        environment: where.
        target: the model's name.
        output: which of its outputs.
        key: what a row's inputs, or the entity that a request names, must be equal to.
        value: of the output's type.
        valid_until: when it ends, at most a year from its start.
        reason: why; callers of the model read it.
        valid_from: when it begins; default: now.
        by: ``inputs`` or ``entity``.
        origin: the review task that it came of.

    Raises:
        HeadwaterError: ``model_not_found``; ``invalid_parameter`` naming what does not fit the model's signature;
            ``conflict`` where an approved one holds for the same in a part of that time.
    """
    now = timezone.now()
    starts = valid_from or now
    _check_window(starts, valid_until, now)
    if by not in Override.By.values:
        raise HeadwaterError("invalid_parameter", f"by: {by[:40]!r} is neither inputs nor entity")
    if not reason.strip():
        raise HeadwaterError("invalid_parameter", "reason: it is needed", hint="say why; callers of the model read it")
    model = find_model(environment, target)
    versions = served_versions(environment, model)
    check_output(versions, output, value)
    override = Override(
        org_id=environment.org_id,
        environment=environment,
        target=model.name,
        output=output,
        by=by,
        key=dict(key),
        key_text=check_key(versions, by, key),
        value=value,
        reason=reason.strip(),
        valid_from=starts,
        valid_until=valid_until,
        requested_by_id=actor.on_behalf_of or actor.id,
        requested_by_label=actor.label,
        origin=origin,
    )
    _check_overlap(override)
    override.save()
    return override


@action("overrides.override.approved", permission="override.approve", on="override")
def approve_override(*, actor: Actor, override: Override, reason: str = "") -> Override:
    """Serve an override from now, or its start, on; not by whoever asked for it.

    Raises:
        HeadwaterError: ``forbidden`` for whoever asked; ``conflict`` when it was decided, its time is over, or another
            one holds for the same in a part of that time.
    """
    _lock(override)
    if actor.id == override.requested_by_id:
        raise HeadwaterError("forbidden", "nobody approves what they asked for", hint="ask a colleague to approve it")
    if override.state == State.APPROVED and override.decided_by_id == actor.id:
        return override
    _need_requested(override)
    if override.valid_until <= timezone.now():
        raise HeadwaterError("conflict", "the time of this override is over", hint="ask for another one")
    _check_overlap(override)
    _decide(override, State.APPROVED, actor, reason)
    return override


@action("overrides.override.rejected", permission="override.approve", on="override")
def reject_override(*, actor: Actor, override: Override, reason: str = "") -> Override:
    """Refuse an override that was asked for; raises ``conflict`` when it was decided."""
    _lock(override)
    if override.state == State.REJECTED:
        return override
    _need_requested(override)
    _decide(override, State.REJECTED, actor, reason)
    return override


@action("overrides.override.revoked", permission="override.write", on="override")
def revoke_override(*, actor: Actor, override: Override, reason: str = "") -> Override:
    """End an override, or withdraw one that was asked for; answers are the model's own again within a second.

    Raises:
        HeadwaterError: ``conflict`` when it was rejected.
    """
    _lock(override)
    if override.state == State.REVOKED:
        return override
    if override.state == State.REJECTED:
        raise HeadwaterError("conflict", "it was rejected, so there is nothing to revoke")
    was_requested = override.state == State.REQUESTED
    override.change(
        state=State.REJECTED if was_requested else State.REVOKED,
        revoked_at=timezone.now(),
        revoked_by_label=actor.label,
        decision_reason=reason[:500] or override.decision_reason,
    )
    return override


def _decide(override: Override, state: Override.State, actor: Actor, reason: str) -> None:
    override.change(
        state=state,
        decided_by_id=actor.id,
        decided_by_label=actor.label,
        decided_at=timezone.now(),
        decision_reason=reason[:500],
    )


def _lock(override: Override) -> None:
    """Hold the environment's overrides until the transaction ends, and look at this one as it is now.

    SQLite lets one transaction write at a time anyway.
    """
    Environment.unscoped.select_for_update().get(pk=override.environment_id)
    override.refresh_from_db()


def _need_requested(override: Override) -> None:
    if override.state != State.REQUESTED:
        raise HeadwaterError("conflict", f"this override is {override.phase} already", hint="load it again")


def _check_window(starts: datetime, ends: datetime, now: datetime) -> None:
    if ends <= max(starts, now):
        raise HeadwaterError("invalid_parameter", "valid_until: it must lie after the start, and in the future")
    if ends - starts > LONGEST:
        raise HeadwaterError(
            "invalid_parameter", f"valid_until: at most {LONGEST.days} days after the start",
            hint="what holds for longer belongs into the model",
        )  # fmt: skip


def _check_overlap(override: Override) -> None:
    """Raise ``conflict`` where an approved override of the same output, for the same key, holds at the same time."""
    others = Override.objects.for_org(override.org_id).filter(
        environment_id=override.environment_id,
        target_kind=override.target_kind,
        target=override.target,
        output=override.output,
        key_text=override.key_text,
        state=State.APPROVED,
        valid_from__lt=override.valid_until,
        valid_until__gt=override.valid_from,
    )
    other = others.exclude(pk=override.pk).first()
    if other is not None:
        raise HeadwaterError(
            "conflict",
            f"{other.public_id} overrides the same from {other.valid_from:%Y-%m-%d %H:%M} "
            f"to {other.valid_until:%Y-%m-%d %H:%M} UTC",
            hint="revoke that one first, or choose another time",
        )
