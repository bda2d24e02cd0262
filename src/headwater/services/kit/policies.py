"""Rows that come out otherwise than by a query: whole or not at all, as the policies on their dataset say.

A view's online state, a job that scores rows and a refused row as it came cannot be filtered or masked. They are for
those whom the deciding policy shows every row, and the columns concerned as they are.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from headwater.core.errors import HeadwaterError
from headwater.core.policies import Choice, choose, policies_on
from headwater.services.kit.service import Caller


def choice_for(caller: Caller, dataset: str, now: datetime, *, protected: bool) -> Choice:
    """Return what decides what ``caller`` sees of a dataset."""
    policies = policies_on(f"dataset:{dataset}", caller.environment.snapshot.policies.values())
    return choose(policies, caller.key.viewer, now, protected=protected)


def lacking(
    caller: Caller, dataset: str, now: datetime, *, protected: bool, columns: Collection[str] | None = None
) -> str | None:
    """Return what keeps ``caller`` from seeing every row, and ``columns`` (None: all), as they are; None: nothing."""
    choice = choice_for(caller, dataset, now, protected=protected)
    if choice.is_open:
        return None
    policy = choice.policy
    if policy is None:
        return "which is protected: no policy allows rows"
    if policy.row_filter:
        return f"of which the policy {policy.name} shows this key some rows only"
    masked = [name for name in policy.columns if columns is None or name in columns]
    return f"of which the policy {policy.name} hides or masks {', '.join(masked)}" if masked else None


def require_whole_rows(
    caller: Caller, dataset: str, now: datetime, *, protected: bool, columns: Collection[str] | None = None, what: str
) -> None:
    """Raise ``forbidden`` when something is ``lacking``; ``what`` begins the sentence: "view x is computed from"."""
    found = lacking(caller, dataset, now, protected=protected, columns=columns)
    if found is not None:
        raise HeadwaterError(
            "forbidden", f"{what} {dataset!r}, {found}", hint="ask for a policy that shows this key the rows whole"
        )
