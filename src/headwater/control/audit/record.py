"""Writing the audit row of a finished action."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC
from typing import Any, Final

from django.utils import timezone

from headwater.control.audit.models import AuditEvent, AuditHead
from headwater.control.kit.context import ActionContext, Change
from headwater.control.kit.plain import canonical
from headwater.control.kit.requests import current_request
from headwater.core.ids import new_uuid

PLATFORM: Final = uuid.UUID(int=0)
"""The chain of what concerns no organisation, such as a user's account."""

_HASHED: Final = tuple(
    field.attname for field in AuditEvent._meta.concrete_fields if field.attname not in ("id", "hash")
)


def record(context: ActionContext) -> dict[str, Any]:
    """Append one event for ``context`` to its organisation's chain; return the message for the outbox."""
    first, *others = context.changes
    org_id = next((change.tenant_id for change in context.changes if change.tenant_id), PLATFORM)
    request = current_request()
    head = _lock_head(org_id)
    event = AuditEvent(
        id=new_uuid(),
        org_id=org_id,
        n=head.n + 1,
        at=timezone.now(),
        actor_kind=context.actor.kind,
        actor_id=context.actor.id,
        actor_label=context.actor.label,
        on_behalf_of=context.actor.on_behalf_of,
        action=context.name,
        target_kind=first.kind,
        target_id=first.id,
        target_label=first.label,
        before_json=canonical(first.before),
        after_json=canonical(first.after),
        related_json=canonical([_related(change) for change in others]),
        reason=context.reason[:500],
        request_id=request.request_id,
        group_id=context.group_id,
        ip=request.ip,
        prev_hash=head.hash,
    )
    event.hash = event_hash(event)
    event.save(force_insert=True)
    head.n, head.hash = event.n, event.hash
    head.save(update_fields=["n", "hash"])
    return _message(event)


def event_hash(event: AuditEvent) -> str:
    """Return the sha256 that seals ``event``: over every field and the hash before it."""
    plain: dict[str, Any] = {name: getattr(event, name) for name in _HASHED}
    plain["org_id"] = str(event.org_id)
    plain["at"] = event.at.astimezone(UTC).isoformat()
    return hashlib.sha256(canonical(plain).encode()).hexdigest()


def _lock_head(org_id: uuid.UUID) -> AuditHead:
    """Return the end of the chain, held until the transaction ends: this is what keeps numbers contiguous."""
    heads = AuditHead.objects.select_for_update()
    head = heads.filter(org_id=org_id).first()
    if head is None:
        AuditHead.objects.get_or_create(org_id=org_id)
        head = heads.get(org_id=org_id)
    return head


def _related(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "id": change.id,
        "label": change.label,
        "verb": change.verb,
        "before": change.before,
        "after": change.after,
    }


def _message(event: AuditEvent) -> dict[str, Any]:
    return {
        "audit_event": event.public_id,
        "org": str(event.org_id),
        "n": event.n,
        "at": event.at.isoformat(),
        "actor": {"kind": event.actor_kind, "id": event.actor_id, "label": event.actor_label},
        "target": {"kind": event.target_kind, "id": event.target_id, "label": event.target_label},
        "request_id": event.request_id,
        "group_id": event.group_id,
    }
