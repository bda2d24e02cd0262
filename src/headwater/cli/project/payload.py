"""What travels between a project directory and control."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

_STYLES = {"create": "green", "update": "yellow", "unchanged": "dim"}
_SIGNS = {"create": "+", "update": "~", "unchanged": "="}


@dataclass(slots=True)
class Project:
    """The files of a project directory.

    Attributes:
        resources: the ``resources`` of an apply request.
        artifacts: files of models by their sha256.
        unbuilt: manifests of models whose artifact does not exist; they are not among the resources.
    """

    resources: dict[str, list[dict[str, str]]] = field(
        default_factory=lambda: {
            "dashboards": [],
            "datasets": [],
            "endpoints": [],
            "features": [],
            "flags": [],
            "models": [],
            "policies": [],
            "reviews": [],
        }
    )
    artifacts: dict[str, Path] = field(default_factory=dict)
    unbuilt: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What applying changed, or would change; ``plain`` is control's own answer."""

    plain: Mapping[str, Any]

    def about(self, kind: str, name: str) -> Outcome:
        """Return the part about one resource."""
        changes = [one for one in self.plain["changes"] if (one["kind"], one["name"]) == (kind, name)]
        return Outcome({**self.plain, "changes": changes})

    def tally(self) -> dict[str, int]:
        """Return how many resources were created, updated and left unchanged."""
        counted = Counter(str(change["action"]) for change in self.plain["changes"])
        return {name: counted[name] for name in _SIGNS}

    def draw(self, console: Console) -> None:
        """Write the changes as a diff and the sum below it."""
        for change in self.plain["changes"]:
            action = str(change["action"])
            style = _STYLES.get(action, "")
            console.print(f"{_SIGNS.get(action, '?')} {change['kind']} {change['name']}", style=style)
            for detail in change.get("details", ()):
                console.print(f"    {detail}", style=style)
        words = {"create": "to create", "update": "to update"} if self.plain["dry_run"] else {}
        tally = ", ".join(f"{count} {words.get(name, _past(name))}" for name, count in self.tally().items())
        snapshot = self.plain.get("snapshot")
        console.print(tally + (f"; configuration {snapshot}" if snapshot and not self.plain["dry_run"] else ""))


def _past(action: str) -> str:
    return {"create": "created", "update": "updated"}.get(action, action)
