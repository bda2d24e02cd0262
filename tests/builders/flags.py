"""Flags with sensible defaults."""

from __future__ import annotations

from datetime import date
from typing import Any

from headwater.core.flags import FlagSpec


def make_flag(key: str = "new-home", **fields: Any) -> FlagSpec:
    """Return a flag that is on and answers ``off`` until told otherwise."""
    defaults: dict[str, Any] = {
        "id": f"flg_{key}", "key": key, "type": "boolean", "variants": {"on": True, "off": False}, "enabled": True,
        "default_variant": "off", "off_variant": "off", "salt": key,
    }  # fmt: skip
    return FlagSpec(**(defaults | fields))


def make_saved_flag(owner: Any, project: Any, key: str = "new-home") -> Any:
    """Save a flag in the control plane, off everywhere."""
    # Not above: services under test have no Django.
    from headwater.control.flags.actions import create_flag

    content = {
        "type": "boolean", "variants": {"on": True, "off": False}, "off_variant": "off", "kind": "release",
        "owner": "a team", "remove_by": date(2126, 1, 1),
    }  # fmt: skip
    return create_flag(actor=owner, project=project, key=key, content=content)
