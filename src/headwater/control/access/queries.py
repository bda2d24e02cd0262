"""Finding roles, principals and keys."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from headwater.control.access.models import ApiKey, Role
from headwater.control.access.secrets import digest
from headwater.control.kit.context import Actor
from headwater.control.orgs.models import Environment, Organization
from headwater.core.errors import HeadwaterError


def roles_of(org: Organization | None = None) -> dict[str, Role]:
    """Return the roles that can be given in an organisation, by name: the built-in ones first, then its own."""
    roles = sorted(Role.standing.of(org).order_by("name"), key=lambda role: role.org_id is not None)
    return {role.name: role for role in roles}


def get_role(name: str, org: Organization | None = None) -> Role:
    """Return an organisation's role of this name, else the built-in one; raises ``not_found`` with what there is."""
    found = roles_of(org)
    if name not in found:
        raise HeadwaterError("not_found", f"there is no role {name!r}", hint=f"one of: {', '.join(sorted(found))}")
    return found[name]


def get_environment(organization: str, project: str, environment: str) -> Environment:
    """Return an environment by slugs; raises ``not_found`` naming what is missing."""
    found: Environment | None = (
        Environment.unscoped.select_related("project", "org")
        .filter(org__slug=organization, project__slug=project, key=environment)
        .first()
    )
    if found is None:
        raise HeadwaterError(
            "not_found",
            f"there is no environment {organization}/{project}/{environment}",
            hint="check target.organization, target.project and target.environment in the settings",
        )
    return found


def find_live_key(text: str) -> ApiKey | None:
    """Return the key behind a secret if it opens anything now, from whichever network."""
    key: ApiKey | None = (
        ApiKey.unscoped.select_related("service_account", "user", "environment__project", "org", "use")
        .filter(secret_sha256=digest(text))
        .first()
    )
    if key is None or not key.is_live(timezone.now()) or key.org.status != Organization.Status.ACTIVE:
        return None
    if key.service_account is not None:
        return None if key.service_account.disabled_at else key
    return key if key.user is not None and key.user.is_active else None


def actor_for_user(user: Any) -> Actor:
    """Return ``user`` as somebody who acts."""
    return Actor("user", user.public_id, user.email, subject=user)


def actor_for_key(key: ApiKey) -> Actor:
    """Return the holder of ``key`` as somebody who acts, with no more than the key allows."""
    principal = key.service_account or key.user
    assert principal is not None
    kind = "service_account" if key.service_account else "user"
    return Actor(kind, principal.public_id, f"{principal} (key {key.key_prefix})", subject=key)  # type: ignore[arg-type]
