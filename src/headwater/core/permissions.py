"""What can be done, and the built-in roles: the one registry for admin, control API and data plane.

A permission is ``object.verb``. An *allowance* is a permission on one resource or on all of its kind:
``dataset.ingest:flights`` or ``dataset.ingest:*``. Keys and grants compile to sets of allowances, so a check in
the data plane is at most two look-ups in a frozen set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from headwater.core.errors import HeadwaterError

PERMISSIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dataset.read": "See a dataset, its contract, counts and rows",
        "dataset.ingest": "Send rows to a dataset",
        "dataset.write": "Create and change datasets and their contracts",
        "quarantine.read": "See quarantined rows",
        "quarantine.resolve": "Replay and discard quarantined rows",
        "endpoint.read": "See an endpoint",
        "endpoint.invoke": "Call a SQL endpoint",
        "endpoint.write": "Create and change endpoints",
        "sql.run": "Run ad-hoc SQL",
        "dashboard.read": "See dashboards; what their tiles show is up to the endpoints",
        "dashboard.write": "Make and change dashboards",
        "model.read": "See a model and its versions",
        "model.invoke": "Ask a model for predictions",
        "model.write": "Push models, move aliases and traffic",
        "model.approve": "Approve model versions that others pushed, for protected environments",
        "route.invoke": "Call a project's own routes",
        "outcome.write": "Report what became of predictions",
        "feature.read": "Read features online and their history",
        "feature.write": "Create and change feature views",
        "flag.read": "See feature flags and their targeting",
        "flag.write": "Create and change feature flags",
        "flag.evaluate": "Ask for the values of feature flags",
        "policy.read": "See the policies on rows and columns",
        "policy.write": "Create and change policies on rows and columns",
        "review.read": "See review queues and their tasks",
        "review.decide": "Claim and decide review tasks",
        "review.write": "Create and change review queues",
        "override.read": "See overrides of answers",
        "override.write": "Ask for overrides of answers, and revoke them",
        "override.approve": "Approve overrides that others asked for",
        "key.read": "See API keys (never their secrets)",
        "key.write": "Create and revoke API keys",
        "member.read": "See members and grants",
        "member.write": "Invite members, change grants",
        "audit.read": "Read the audit log",
        "organization.write": "Change the organisation, its projects and environments",
        "project.apply": "Apply a project directory",
    }
)

_READ: Final = frozenset(
    {
        "dataset.read",
        "endpoint.read",
        "endpoint.invoke",
        "dashboard.read",
        "model.read",
        "quarantine.read",
        "feature.read",
        "flag.read",
        "flag.evaluate",
        "override.read",
    }
)
_DEVELOP: Final = _READ | {
    "dataset.ingest",
    "dataset.write",
    "quarantine.resolve",
    "endpoint.write",
    "dashboard.write",
    "model.invoke",
    "model.write",
    "model.approve",
    "route.invoke",
    "outcome.write",
    "feature.write",
    "flag.write",
    "policy.read",
    "review.read",
    "review.decide",
    "review.write",
    "override.write",
    "project.apply",
    "key.read",
}
BUILT_IN_ROLES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "owner": frozenset(PERMISSIONS),
        "admin": frozenset(PERMISSIONS) - {"organization.write", "sql.run"},
        "developer": _DEVELOP,
        "operator": _READ
        | {
            "quarantine.resolve",
            "review.read",
            "review.decide",
            "override.write",
            "override.approve",
            "policy.read",
            "key.read",
            "audit.read",
            "member.read",
        },
        "analyst": _READ | {"dashboard.write"},
        "producer": frozenset({"dataset.ingest"}),
        "consumer": frozenset(
            {
                "endpoint.invoke",
                "model.invoke",
                "route.invoke",
                "outcome.write",
                "feature.read",
                "flag.evaluate",
                "dataset.read",
            }
        ),
    }
)


_KINDS: Final[Mapping[str, str]] = MappingProxyType({"quarantine": "dataset"})


def resource_kind(permission: str) -> str:
    """Return the kind of resource that a permission is held on: refused rows are their dataset's."""
    kind = permission.partition(".")[0]
    return _KINDS.get(kind, kind)


def allowance(permission: str, resource: str = "*") -> str:
    """Return the allowance for ``permission`` on ``resource`` (``*``: every resource of its kind)."""
    if permission not in PERMISSIONS:
        raise HeadwaterError(
            "invalid_parameter",
            f"{permission!r} is not a permission",
            hint=f"one of: {', '.join(sorted(PERMISSIONS))}",
        )
    return f"{permission}:{resource}"


def is_allowed(allowances: Collection[str], permission: str, resource: str) -> bool:
    """Return whether ``allowances`` hold ``permission`` on ``resource``."""
    return f"{permission}:*" in allowances or f"{permission}:{resource}" in allowances
