"""What an environment says about a flag as a text that people edit, and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import yaml
from pydantic import ValidationError

from headwater.contracts.yamltree import YamlFault, load
from headwater.control.flags.document import ConfigDocument, listed, show_rule
from headwater.control.flags.models import FlagConfig
from headwater.core.errors import HeadwaterError


def text_of(config: FlagConfig) -> str:
    """Return default, rules, prerequisites and schedule as in a flag file; whether it is on is a switch of its own."""
    shown: dict[str, Any] = {
        "default": config.default_variant,
        "rules": [show_rule(rule) for rule in config.rules],
        "prerequisites": [
            {"flag": item["flag"], "variant": item["variants"][0] if len(item["variants"]) == 1 else item["variants"]}
            for item in config.prerequisites
        ],
        "from": _instant(config.enabled_from),
        "until": _instant(config.enabled_until),
    }
    return yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)


def changes_in(text: str) -> dict[str, Any]:
    """Return the fields of ``FlagConfig`` that a text says.

    Raises:
        HeadwaterError: ``flag_invalid`` naming every line that cannot be read.
    """
    try:
        tree = load(text)
    except YamlFault as fault:
        raise HeadwaterError("flag_invalid", f"line {fault.line}: {fault}") from fault
    if not isinstance(tree.data, dict) or "enabled" in tree.data:
        raise HeadwaterError("flag_invalid", "write lines such as 'default: off'; the switch is not among them")
    try:
        document = ConfigDocument.model_validate(tree.data)
    except ValidationError as error:
        found = listed(error)
        places = [f"line {tree.line_of(item['path'])}: {item['path']}: {item['message']}" for item in found]
        raise HeadwaterError("flag_invalid", "; ".join(places)) from error
    return document.changes()


def _instant(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
