"""The model registry as commands ask it: names with a version or an alias behind them, shares of traffic in percent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from headwater.cli.control_api import ControlApi
from headwater.core.errors import HeadwaterError
from headwater.core.settings import TargetSettings

WHOLE: Final = 10_000
_REFERENCE: Final = re.compile(
    r"(?P<name>[a-z][a-z0-9_-]{0,62})(?:@(?P<alias>[a-z][a-z0-9_-]{0,62})|:(?P<number>\d{1,9}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A model, and perhaps which of its versions: ``delay``, ``delay@challenger``, ``delay:7``."""

    name: str
    alias: str | None = None
    number: int | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read what a person wrote; raises ``invalid_parameter``."""
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise HeadwaterError(
                "invalid_parameter", f"{text[:100]!r} names no model", hint="write NAME, NAME@alias or NAME:version"
            )
        return cls(found["name"], found["alias"], int(found["number"]) if found["number"] else None)

    @property
    def is_precise(self) -> bool:
        """Return whether it says which version."""
        return self.alias is not None or self.number is not None


def parse_share(text: str) -> int:
    """Return a share such as ``10%`` or ``2.5`` (percent) in basis points; raises ``invalid_parameter``."""
    try:
        bps = round(float(text.strip().removesuffix("%")) * 100)
    except ValueError:
        bps = -1
    if not 0 < bps <= WHOLE:
        raise HeadwaterError(
            "invalid_parameter", f"{text[:40]!r} is no share of the traffic", hint="write a percentage such as 10%"
        )
    return bps


@dataclass(frozen=True, slots=True)
class Registry:
    """A project's models through control's API; errors are control's own."""

    api: ControlApi
    target: TargetSettings

    def list_models(self) -> dict[str, Any]:
        """Return every model."""
        return self._all(self._address())

    def model(self, name: str) -> dict[str, Any]:
        """Return one model."""
        return self._get(self._address(name))

    def versions(self, name: str) -> list[dict[str, Any]]:
        """Return a model's newest versions."""
        found: list[dict[str, Any]] = self._get(f"{self._address(name)}/versions?limit=20")["items"]
        return found

    def deployments(self, name: str) -> list[dict[str, Any]]:
        """Return how a model is served, by environment."""
        found: list[dict[str, Any]] = self.api.request("GET", f"{self._address(name)}/deployments")
        return found

    def rollouts(self, name: str) -> list[dict[str, Any]]:
        """Return how a model was served in the target's environment, newest first."""
        query = f"environment={self.target.environment}&limit=10"
        found: list[dict[str, Any]] = self._get(f"{self._address(name)}/rollouts?{query}")["items"]
        return found

    def version(self, reference: Reference) -> dict[str, Any]:
        """Return all about a version."""
        return self._get(f"{self._address(reference.name)}/versions/{self.number(reference)}")

    def push(self, entry: dict[str, Any]) -> dict[str, Any]:
        """Register a version; ``entry`` is its manifest with the digests of what was put."""
        return self._post(self._address(), {"environment": self.target.environment, **entry})

    def promote(self, reference: Reference, *, role: str, weight_bps: int, reason: str) -> dict[str, Any]:
        """Let a version answer, or try it beside the champion."""
        body = {"environment": self.target.environment, "role": role, "weight_bps": weight_bps, "reason": reason}
        return self._post(f"{self._address(reference.name)}/versions/{self.number(reference)}/promote", body)

    def roll_back(self, reference: Reference, reason: str) -> dict[str, Any]:
        """Take back what was rolled out last, or take a version out."""
        version = self.number(reference) if reference.is_precise else None
        body = {"environment": self.target.environment, "version": version, "reason": reason}
        return self._post(f"{self._address(reference.name)}/rollback", body)

    def approve(self, reference: Reference, *, reason: str, override: bool) -> dict[str, Any]:
        """Allow a version in protected environments."""
        address = f"{self._address(reference.name)}/versions/{self.number(reference)}/approve"
        return self._post(address, {"reason": reason, "override": override})

    def number(self, reference: Reference) -> int:
        """Return the number behind a reference; without one, the newest version's.

        Raises:
            HeadwaterError: ``not_found`` with the aliases there are.
        """
        if reference.number is not None:
            return reference.number
        model = self.model(reference.name)
        found = model["newest"] if reference.alias is None else model["aliases"].get(reference.alias)
        if found is None:
            what = f"alias {reference.alias!r}" if reference.alias else "version that is not archived"
            known = ", ".join(f"@{alias}" for alias in model["aliases"]) or "none"
            raise HeadwaterError("not_found", f"{reference.name!r} has no {what}", hint=f"its aliases: {known}")
        return int(found)

    def _address(self, name: str = "") -> str:
        target = self.target
        path = f"/organizations/{target.organization}/projects/{target.project}/models"
        return f"{path}/{name}" if name else path

    def _get(self, path: str) -> dict[str, Any]:
        document: dict[str, Any] = self.api.request("GET", path)
        return document

    def _all(self, path: str) -> dict[str, Any]:
        """Return every page of a list as one."""
        items: list[Any] = []
        cursor = ""
        while True:
            page = self._get(f"{path}?limit=200{cursor}")
            items += page["items"]
            if not page.get("next"):
                return {"items": items}
            cursor = f"&cursor={page['next']}"

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        document: dict[str, Any] = self.api.request("POST", path, json=body)
        return document
