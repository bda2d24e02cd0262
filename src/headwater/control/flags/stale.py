"""Flags that have had their day: what should be taken out of the code, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

from django.utils import timezone

from headwater.control.flags.checks import configs_of
from headwater.control.flags.models import EVERY_FLAG, Flag, FlagConfig
from headwater.control.flags.usage import last_evaluated
from headwater.control.orgs.models import Environment
from headwater.core.flags import WHOLE_BPS, FlagSpec

DEFAULT_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class StaleFlag:
    """A flag and why it looks finished, one sentence each; ``evaluated_on`` is when it was last asked for."""

    flag: Flag
    reasons: tuple[str, ...]
    evaluated_on: date | None


def stale_flags(environment: Environment, *, days: int = DEFAULT_DAYS, now: datetime | None = None) -> list[StaleFlag]:
    """Return the flags of an environment that look finished, by key.

    Args:
        environment: whose answers and evaluations count.
        days: how long a flag must be unchanged and answer the same for everybody, or not be asked for.
        now: the instant to judge at.
    """
    now = now or timezone.now()
    days_asked = last_evaluated(environment)
    found = []
    for config in configs_of(environment).values():
        flag = config.flag
        reasons = _reasons(flag, config, days_asked, timedelta(days=days), now)
        if reasons:
            found.append(StaleFlag(flag, tuple(reasons), days_asked.get(flag.key)))
    return found


def _reasons(flag: Flag, config: FlagConfig, asked: Mapping[str, date], age: timedelta, now: datetime) -> list[str]:
    reasons = []
    if flag.remove_by is not None and flag.remove_by < now.date():
        reasons.append(f"it was to be removed by {flag.remove_by}")
    if flag.kind == Flag.Kind.RELEASE and not config._state.adding and config.changed_at < now - age:
        variant = sole_variant(config.to_spec(), now)
        if variant is not None:
            reasons.append(f"everybody gets {variant} since {config.changed_at:%Y-%m-%d}")
    last = asked.get(flag.key)
    if flag.created_at < now - age and (last is None or last < (now - age).date()):
        since = f"since {last}" if last is not None else "as far back as counts go"
        also = "; requests for all flags include it" if asked.get(EVERY_FLAG, date.min) >= (now - age).date() else ""
        reasons.append(f"nobody asked for it by itself {since}{also}")
    return reasons


def sole_variant(spec: FlagSpec, now: datetime) -> str | None:
    """Return the variant that everybody gets from now on, if it is one and no schedule will change that."""
    if not spec.enabled or spec.prerequisites or spec.enabled_until is not None:
        return None
    if spec.enabled_from is not None and spec.enabled_from > now:
        return None
    for rule in spec.rules:
        if any(step.at > now for step in rule.steps):
            return None
        share = rule.steps[-1].share_bps if rule.steps else rule.share_bps
        if share == 0:
            continue
        return rule.variant if not rule.when and share == WHOLE_BPS else None
    return spec.default_variant
