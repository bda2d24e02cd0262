"""The keys that an environment's snapshot holds, with what each allows compiled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.utils import timezone

from headwater.control.access.authority import compile_phases, limit
from headwater.control.access.models import ApiKey, Grant, Group, GroupMember, Role, ServiceAccount
from headwater.control.kit.contributions import EnvironmentRef, contribute
from headwater.control.orgs.models import Membership, Organization
from headwater.core.key_limits import NO_LIMITS, KeyLimitsSpec
from headwater.core.snapshot import KeyPhase, KeySpec

_MAY_ACT = Q(service_account__disabled_at=None, service_account__isnull=False) | Q(
    membership__status=Membership.Status.ACTIVE, membership__user__is_active=True
)


@dataclass(slots=True)
class Holdings:
    """What one principal holds: grants of its own and of its groups, and the groups' names."""

    grants: list[Grant] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)


def contribute_keys(environment: EnvironmentRef) -> Mapping[str, KeySpec]:
    """Return every live key of ``environment`` by the digest of its text."""
    now = timezone.now()
    keys = (
        ApiKey.objects.for_org(environment.org_id)
        .filter(environment_id=environment.id, revoked_at=None, expires_at__gt=now)
        .select_related("service_account", "user")
    )
    holdings = holdings_in(environment)
    return {key.secret_sha256: _to_spec(key, holdings, environment, now) for key in keys}


def _to_spec(key: ApiKey, holdings: Mapping[object, Holdings], environment: EnvironmentRef, now: datetime) -> KeySpec:
    principal = key.service_account or key.user
    assert principal is not None
    held = holdings.get(principal.pk) or Holdings()
    allowances, phases = compile_phases(held.grants, environment, now)
    limited = limit(allowances, key.scopes)
    later = [(phase.starts_at, limit(phase.allowances, key.scopes)) for phase in phases]
    return KeySpec(
        id=key.public_id,
        prefix=key.key_prefix,
        principal_id=principal.public_id,
        principal_label=str(principal),
        allowances=limited.allowed,
        roles=limited.roles,
        expires_at=key.expires_at,
        later=tuple(
            KeyPhase(starts_at=at, allowances=tuple(sorted(then.allowed)), roles=then.roles) for at, then in later
        ),
        groups=tuple(sorted(held.groups)),
        email=key.user.email if key.user is not None else None,
        cidrs=tuple(key.cidrs),
        attributes=key.attributes,
        limits=KeyLimitsSpec.model_validate(key.limits) if key.limits else NO_LIMITS,
    )


def holdings_in(environment: EnvironmentRef) -> Mapping[object, Holdings]:
    """Return what every principal that may act holds, by the principal's primary key."""
    holdings: defaultdict[object, Holdings] = defaultdict(Holdings)
    live = Grant.objects.for_org(environment.org_id).filter(revoked_at=None, org__status=Organization.Status.ACTIVE)
    for grant in live.filter(_MAY_ACT).select_related("role", "membership"):
        holdings[_principal(grant)].grants.append(grant)
    given: defaultdict[object, list[Grant]] = defaultdict(list)
    for grant in live.filter(group__isnull=False).select_related("role"):
        given[grant.group_id].append(grant)
    for place in _places(environment):
        held = holdings[_principal(place)]
        held.groups.append(place.group.name)
        held.grants += given[place.group_id]
    return holdings


def _places(environment: EnvironmentRef) -> Iterable[GroupMember]:
    rows = GroupMember.objects.for_org(environment.org_id).filter(_MAY_ACT)
    return rows.select_related("group", "membership")


def _principal(row: Grant | GroupMember) -> object:
    return row.service_account_id or (row.membership and row.membership.user_id)


contribute(
    "keys",
    contribute_keys,
    models=(ApiKey, Grant, Group, GroupMember, Role, ServiceAccount, Membership, Organization, get_user_model()),
)
