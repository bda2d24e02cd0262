"""The keys that an environment's snapshot holds, with what each allows compiled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.utils import timezone

from headwater.control.access.authority import compile_allowances, limit
from headwater.control.access.models import ApiKey, Grant, Role, ServiceAccount
from headwater.control.kit.contributions import EnvironmentRef, contribute
from headwater.control.orgs.models import Membership, Organization
from headwater.core.snapshot import KeySpec


def contribute_keys(environment: EnvironmentRef) -> Mapping[str, KeySpec]:
    """Return every live key of ``environment`` by the digest of its text."""
    now = timezone.now()
    keys = (
        ApiKey.objects.for_org(environment.org_id)
        .filter(environment_id=environment.id, revoked_at=None, expires_at__gt=now)
        .select_related("service_account", "user")
    )
    grants = _live_grants(environment)
    specs = {}
    for key in keys:
        principal = key.service_account or key.user
        allowances = limit(compile_allowances(grants[principal.pk], environment, now), key.scopes)
        specs[key.secret_sha256] = KeySpec(
            id=key.public_id,
            prefix=key.key_prefix,
            principal_id=principal.public_id,
            principal_label=str(principal),
            allowances=allowances.allowed,
            roles=allowances.roles,
            expires_at=key.expires_at,
        )
    return specs


def _live_grants(environment: EnvironmentRef) -> Mapping[object, list[Grant]]:
    """Return the grants of every principal that may act, by the principal's primary key."""
    grants: defaultdict[object, list[Grant]] = defaultdict(list)
    rows = Grant.objects.for_org(environment.org_id).filter(
        Q(service_account__disabled_at=None, service_account__isnull=False)
        | Q(membership__status=Membership.Status.ACTIVE, membership__user__is_active=True),
        revoked_at=None,
        org__status=Organization.Status.ACTIVE,
    )
    for grant in rows.select_related("role", "membership"):
        principal = grant.service_account_id or (grant.membership and grant.membership.user_id)
        grants[principal].append(grant)
    return grants


contribute(
    "keys",
    contribute_keys,
    models=(ApiKey, Grant, Role, ServiceAccount, Membership, Organization, get_user_model()),
)
