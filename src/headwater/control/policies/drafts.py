"""Policies as somebody has just written them: found out whom they are for, and held against the columns."""

from __future__ import annotations

from typing import Any

import yaml

from headwater.control.orgs.models import Environment
from headwater.control.policies.actions import require_sound
from headwater.control.policies.document import PolicyDocument
from headwater.control.policies.fit import find_principals, show_principals
from headwater.control.policies.models import AccessPolicy
from headwater.control.policies.resources import Resources
from headwater.core.errors import HeadwaterError
from headwater.engines.query.rules import Columns


def policy_content(environment: Environment, document: PolicyDocument) -> tuple[dict[str, Any], Columns]:
    """Return a document's fields as ``publish_policy`` takes them, and the columns of its resource.

    Raises:
        HeadwaterError: ``not_found`` for a resource that there is not, ``policy_invalid`` for unknown principals.
    """
    columns = Resources(environment).columns(document.resource)
    if columns is None:
        raise HeadwaterError("not_found", f"there is no {document.resource.replace(':', ' ')} here")
    principals, problems = find_principals(environment, document.principals)
    if problems:
        errors = [{"path": "principals", "message": problem} for problem in problems]
        raise HeadwaterError("policy_invalid", problems[0], extra={"errors": errors})
    return document.content(principals), columns


def draft_policy(environment: Environment, name: str, document: PolicyDocument) -> AccessPolicy:
    """Return the policy that would be published, which is not kept; raises as publishing it would."""
    content, columns = policy_content(environment, document)
    require_sound(name, content, columns)
    return AccessPolicy(org_id=environment.org_id, environment=environment, name=name, **content)


def policy_text(policy: AccessPolicy) -> str:
    """Return a policy as its file would have it."""
    names = show_principals(policy.environment, policy.principals)
    members = {
        policy.resource_kind: policy.resource_name,
        "priority": policy.priority,
        "principals": [names[one] for one in policy.principals],
        "rows": policy.row_filter,
        "attributes": policy.attributes,
        "columns": policy.columns,
        "purpose": policy.purpose,
        "expires": policy.expires_at.isoformat() if policy.expires_at else None,
    }
    written = {name: value for name, value in members.items() if value not in ("", {}, None)}
    return yaml.safe_dump(written, sort_keys=False, allow_unicode=True, width=100)
