"""Flags with sensible defaults."""

from __future__ import annotations

from typing import Any

from headwater.core.flags import FlagSpec


def make_flag(key: str = "new-home", **fields: Any) -> FlagSpec:
    """Return a flag that is on and answers ``off`` until told otherwise."""
    defaults: dict[str, Any] = {
        "id": f"flg_{key}", "key": key, "type": "boolean", "variants": {"on": True, "off": False}, "enabled": True,
        "default_variant": "off", "off_variant": "off", "salt": key,
    }  # fmt: skip
    return FlagSpec(**(defaults | fields))
