"""Raising and clearing alerts. Both are the system's own; the events tell webhooks and logs what people will ask."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from django.utils import timezone

from headwater.control.kit.actions import Actor, action
from headwater.control.kit.outbox import put
from headwater.control.monitoring.links import report_link
from headwater.control.monitoring.models import ModelAlert
from headwater.control.orgs.models import Environment
from headwater.control.registry.models import ModelVersion
from headwater.core.logging import get_logger
from headwater.engines.monitoring.alerts import Reading

RAISED_EVENT: Final = "model.alert.raised"
CLEARED_EVENT: Final = "model.alert.cleared"
MONITOR: Final = Actor("system", "monitoring", "Headwater, watching models")
_log = get_logger(__name__)


@action("monitoring.alert.raised", permission=None)
def raise_alert(
    *,
    actor: Actor,
    environment: Environment,
    version: ModelVersion,
    reading: Reading,
    since: datetime,
    window_minutes: int,
    evidence: dict[str, Any],
) -> ModelAlert:
    """Write down that a number is beyond its threshold; ``conflict`` while it is written down already."""
    alert = ModelAlert(
        org_id=version.org_id,
        environment=environment,
        version=version,
        metric=reading.metric,
        side=reading.side or "",
        field=reading.field or "",
        value=reading.value,
        threshold=reading.threshold,
        since=since,
        window_minutes=window_minutes,
        evidence=evidence,
        latest=reading.value,
        worst=reading.value,
    )
    alert.save()
    _tell(RAISED_EVENT, alert, value=reading.value, threshold=reading.threshold)
    return alert


@action("monitoring.alert.cleared", permission=None)
def clear_alert(*, actor: Actor, alert: ModelAlert, reason: str = "", value: float | None = None) -> ModelAlert:
    """Write down that an alert does not stand any more; one that was cleared before stays as it is."""
    if alert.stands:
        latest = alert.latest if value is None else value
        if alert.change(cleared_at=timezone.now(), cleared_because=reason[:300], latest=latest):
            _tell(CLEARED_EVENT, alert, value=latest, threshold=alert.threshold, reason=reason)
    return alert


def _tell(topic: str, alert: ModelAlert, **numbers: Any) -> None:
    version, environment = alert.version, alert.environment
    facts = {
        "alert": alert.public_id,
        "model": version.model.name,
        "version": version.number,
        "environment": environment.public_id,
        "environment_key": environment.key,
        "metric": alert.metric,
        "side": alert.side or None,
        "field": alert.field or None,
        "since": alert.since.isoformat(),
        "link": report_link(version, environment, absolute=True),
        "rows": alert.evidence,
        **numbers,
    }
    put(topic=topic, key=alert.public_id, payload=facts)
    _log.warning("model_alert", topic=topic, **{name: facts[name] for name in facts if name not in ("rows", "topic")})
