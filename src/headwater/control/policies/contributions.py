"""What policies put into the snapshot of an environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.control.kit.contributions import EnvironmentRef, contribute
from headwater.control.policies.models import AccessPolicy


def contribute_policies(environment: EnvironmentRef) -> Mapping[str, Any]:
    """Return every policy that was not archived, those that ended too: they still close what nobody else opens."""
    rows = AccessPolicy.objects.for_org(environment.org_id).filter(environment_id=environment.id, archived_at=None)
    return {policy.name: policy.to_spec() for policy in rows}


contribute("policies", contribute_policies, models=(AccessPolicy,))
