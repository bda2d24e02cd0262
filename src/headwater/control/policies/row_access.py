"""Which policy decides what a principal sees of a dataset's rows, or of an endpoint's and those of what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.utils import timezone

from headwater.control.access.authority import allowances_for, groups_of
from headwater.control.access.models import ApiKey, ServiceAccount
from headwater.control.catalog.models import Activation, EndpointRevision
from headwater.control.orgs.models import Environment
from headwater.control.policies.models import AccessPolicy
from headwater.core.policies import (
    BUILT_IN_ATTRIBUTES,
    Choice,
    PolicySpec,
    Viewer,
    attribute_value,
    attributes_in,
    choose,
    make_viewer,
)

Shows = Literal["all", "some", "none"]


@dataclass(frozen=True, slots=True)
class RowAccess:
    """What is shown of one resource.

    Attributes:
        resource: such as ``dataset:flights``.
        shows: all, some or none of its rows.
        policy: the policy that decides.
        reason: that, and what follows, in a sentence.
    """

    resource: str
    shows: Shows
    policy: PolicySpec | None
    reason: str


def viewer_for(who: Any, environment: Environment) -> Viewer:
    """Return a user, service account or key as policies see them in ``environment``."""
    principal: Any = (who.service_account or who.user) if isinstance(who, ApiKey) else who
    is_program = isinstance(principal, ServiceAccount)
    return make_viewer(
        id=principal.public_id,
        kind="service_account" if is_program else "user",
        roles=allowances_for(principal, environment).roles,
        groups=groups_of(principal, environment.org_id),
        email=None if is_program else principal.email,
        attributes=who.attributes if isinstance(who, ApiKey) else {},
    )


def choice_for(who: Any, environment: Environment, resource: str, at: datetime | None = None) -> Choice:
    """Return what decides what a user, service account or key sees of ``resource`` in ``environment``."""
    return _choose(viewer_for(who, environment), environment, resource, at or timezone.now())


def explain_rows(who: Any, environment: Environment, resource: str, at: datetime) -> tuple[RowAccess, ...]:
    """Return what is shown of ``resource`` and, for an endpoint, of every dataset that it reads."""
    viewer = viewer_for(who, environment)
    resources = [resource, *_read_by(environment, resource)]
    found = [(one, _choose(viewer, environment, one, at)) for one in resources]
    return tuple(
        _describe(one, choice, viewer) for one, choice in found if one.startswith("dataset:") or not choice.is_open
    )


def explain_draft(who: Any, environment: Environment, draft: PolicySpec, at: datetime) -> RowAccess:
    """Return what would be shown of a draft's resource once it is published, in place of the policy of its name."""
    viewer = viewer_for(who, environment)
    others = [one for one in _policies_on(environment, draft.resource) if one.name != draft.name]
    protected = _is_protected(environment, draft.resource)
    return _describe(draft.resource, choose([*others, draft], viewer, at, protected=protected), viewer)


def _read_by(environment: Environment, resource: str) -> Sequence[str]:
    kind, _, name = resource.partition(":")
    if kind != "endpoint":
        return ()
    revisions = EndpointRevision.objects.for_org(environment.org_id).filter(
        endpoint__environment=environment, endpoint__name=name
    )
    newest = revisions.order_by("-number").first()
    return [f"dataset:{table}" for table in newest.spec["tables"]] if newest is not None else ()


def _choose(viewer: Viewer, environment: Environment, resource: str, at: datetime) -> Choice:
    policies = _policies_on(environment, resource)
    return choose(policies, viewer, at, protected=_is_protected(environment, resource))


def _policies_on(environment: Environment, resource: str) -> list[PolicySpec]:
    rows = AccessPolicy.objects.for_org(environment.org_id).filter(
        environment=environment, resource=resource, archived_at=None
    )
    return [row.to_spec() for row in rows]


def _is_protected(environment: Environment, resource: str) -> bool:
    kind, _, name = resource.partition(":")
    if kind != "dataset":
        return False
    active = Activation.objects.for_org(environment.org_id).filter(environment=environment, dataset__name=name)
    activation = active.select_related("contract").first()
    return activation is not None and bool(activation.contract.spec.get("protected", False))


def _describe(resource: str, choice: Choice, viewer: Viewer) -> RowAccess:
    policy = choice.policy
    if choice.is_open:
        return RowAccess(resource, "all", None, f"{resource} is not protected and has no policy: every row is shown")
    if policy is None:
        return RowAccess(
            resource, "none", None, f"{resource} is protected and no policy on it matches: no rows are shown"
        )
    missing = _missing(policy, viewer)
    if missing:
        reason = (
            f"the policy {policy.name} decides and filters by caller.{missing[0]}, which they lack: no rows are shown"
        )
        return RowAccess(resource, "none", policy, reason)
    rows = f"rows where {policy.row_filter}" if policy.row_filter else "every row"
    masks = "".join(f", {column} {_MASK_WORDS[mask]}" for column, mask in policy.columns.items())
    reason = f"the policy {policy.name} (priority {policy.priority}, {policy.purpose}) decides: {rows}{masks}"
    return RowAccess(resource, "some" if policy.row_filter else "all", policy, reason)


_MASK_WORDS = {"hide": "hidden", "null": "shown as null", "hash": "shown as a hash", "last4": "shown by its last four"}


def _missing(policy: PolicySpec, viewer: Viewer) -> list[str]:
    """Return the attributes that the policy's filter uses and the viewer lacks."""
    if not policy.row_filter:
        return []
    known = {**viewer.attributes, "id": viewer.id, "email": viewer.email, "groups": viewer.groups}
    kinds = {**policy.attributes, **BUILT_IN_ATTRIBUTES}
    return sorted(
        name
        for name in attributes_in(policy.row_filter)
        if name not in kinds or attribute_value(known.get(name), kinds[name]) is None
    )
