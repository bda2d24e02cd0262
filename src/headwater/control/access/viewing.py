"""People and keys as the data plane knows callers: for asking it as somebody, under their own grants and policies."""

from __future__ import annotations

from typing import Any

from headwater.control.access.authority import allowances_for, groups_of
from headwater.control.access.models import ApiKey
from headwater.control.orgs.models import Environment
from headwater.core.permissions import PERMISSIONS
from headwater.core.snapshot import KeySpec


def viewer_spec(subject: Any, environment: Environment) -> KeySpec:
    """Return a user or an API key as a snapshot of ``environment`` would hold a key of theirs."""
    held = allowances_for(subject, environment)
    if isinstance(subject, ApiKey):
        principal: Any = subject.service_account or subject.user
        return KeySpec(
            id=subject.public_id, prefix=subject.key_prefix, principal_id=principal.public_id,
            principal_label=str(principal), allowances=held.allowed, roles=held.roles,
            groups=groups_of(principal, environment.org_id), email=subject.user.email if subject.user else None,
            attributes=subject.attributes,
        )  # fmt: skip
    everything = frozenset(f"{permission}:*" for permission in PERMISSIONS)
    return KeySpec(
        id=subject.public_id, prefix="console", principal_id=subject.public_id, principal_label=subject.email,
        allowances=everything if subject.is_superuser else held.allowed, roles=held.roles,
        groups=groups_of(subject, environment.org_id), email=subject.email,
    )  # fmt: skip
