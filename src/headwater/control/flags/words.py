"""Flags in words: what a rule does, and what a change would change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone

from headwater.control.flags.document import show_percent
from headwater.control.flags.models import Flag, FlagConfig
from headwater.core.flags import WHOLE_BPS

_NAMES = {
    "default_variant": "default", "off_variant": "off", "enabled_from": "from", "enabled_until": "until",
}  # fmt: skip


def rule_in_words(rule: Mapping[str, Any], at: datetime | None = None) -> str:
    """Return what a rule does at an instant (default: now) as a sentence without its end."""
    at = at or timezone.now()
    share = rule.get("share_bps", WHOLE_BPS)
    later = []
    for step in rule.get("steps") or ():
        instant = datetime.fromisoformat(str(step["at"]))
        if instant <= at:
            share = step["share_bps"]
        else:
            later.append(f"{show_percent(step['share_bps'])} from {instant:%Y-%m-%d %H:%M} UTC")
    who = f"those where {rule['when']}" if rule.get("when") else "everybody"
    part = who if share == WHOLE_BPS else f"{show_percent(share)} of {who}"
    if rule.get("split"):
        weights = ", ".join(f"{item['variant']} {show_percent(item['weight_bps'])}" for item in rule["split"])
        gets = f"is split: {weights}"
    else:
        gets = f"gets {rule.get('variant')}"
    words = f"{part} {gets}"
    return f"{words}; {', then '.join(later)}" if later else words


def differences(row: Flag | FlagConfig, changes: Mapping[str, Any]) -> list[str]:
    """Return what ``changes`` would change of a row, one line each."""
    lines: list[str] = []
    for name, new in changes.items():
        old = getattr(row, name)
        if old == new:
            continue
        if name == "rules":
            lines += _rules(old, new)
        elif name == "variants":
            lines += _variants(old, new)
        elif name == "description":
            lines.append("description")
        else:
            lines.append(f"{_NAMES.get(name, name)}: {_show(old)} → {_show(new)}")
    return lines


def _rules(old: list[Any], new: list[Any]) -> list[str]:
    before, after = [rule_in_words(rule) for rule in old], [rule_in_words(rule) for rule in new]
    lines = []
    for number in range(max(len(before), len(after))):
        was = before[number] if number < len(before) else None
        becomes = after[number] if number < len(after) else None
        if was == becomes:
            if number < min(len(old), len(new)) and old[number] != new[number]:
                lines.append(f"rule {number + 1}: its description")
        elif was is None:
            lines.append(f"rule {number + 1} added: {becomes}")
        elif becomes is None:
            lines.append(f"rule {number + 1} removed: {was}")
        else:
            lines.append(f"rule {number + 1}: {was} → {becomes}")
    return lines


def _variants(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    lines = [f"variant {name} added: {_show(value)}" for name, value in new.items() if name not in old]
    lines += [f"variant {name} removed" for name in old if name not in new]
    lines += [
        f"variant {name}: {_show(old[name])} → {_show(value)}"
        for name, value in new.items()
        if name in old and old[name] != value
    ]
    return lines


def _show(value: Any) -> str:
    match value:
        case None | "" | [] | ():
            return "none"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.strftime("%Y-%m-%d %H:%M UTC")
        case list():
            return ", ".join(f"{item['flag']} is {' or '.join(item['variants'])}" for item in value)
        case _:
            return str(value)[:80]
