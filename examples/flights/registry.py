"""The model's versions, as control keeps them for the project of this directory."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from headwater.client import Registry
from headwater.core.ids import parse_id

HERE: Final = Path(__file__).parent
MODEL: Final = "departure_delay"
CHAMPION: Final = HERE / "models" / MODEL
CHALLENGER: Final = HERE / "challengers" / MODEL


def target() -> dict[str, str]:
    """Return organisation, project and environment."""
    read: dict[str, str] = tomllib.loads((HERE / "headwater.toml").read_text())["target"]
    return read


def open_registry() -> Registry:
    """Connect to control where `up` says, as who it says."""
    place = target()
    return Registry(organization=place["organization"], project=place["project"], environment=place["environment"])


def versions(registry: Registry) -> list[dict[str, Any]]:
    """Return the model's versions, none if there is no such model yet."""
    if MODEL not in {model["name"] for model in registry.models()}:
        return []
    return registry.versions(MODEL)


def report_url(version: dict[str, Any]) -> str:
    """Return where a version's report is read."""
    base = os.environ.get("HEADWATER_CONTROL__URL", "http://127.0.0.1:8000")
    query = urlencode({"environment": target()["environment"], "window": "24h"})
    return f"{base}/admin/registry/modelversion/{parse_id('mv', version['id'])}/report/?{query}"
