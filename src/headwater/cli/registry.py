"""What people write about models: names with a version or an alias behind them, shares of traffic in percent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from headwater.client.registry import WHOLE, Registry
from headwater.core.errors import HeadwaterError

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


def number_of(registry: Registry, reference: Reference) -> int:
    """Return the number behind a reference; without one, the newest version's.

    Raises:
        HeadwaterError: ``not_found`` with the aliases there are.
    """
    if reference.number is not None:
        return reference.number
    model = registry.model(reference.name)
    found = model["newest"] if reference.alias is None else model["aliases"].get(reference.alias)
    if found is None:
        what = f"alias {reference.alias!r}" if reference.alias else "version that is not archived"
        known = ", ".join(f"@{alias}" for alias in model["aliases"]) or "none"
        raise HeadwaterError("not_found", f"{reference.name!r} has no {what}", hint=f"its aliases: {known}")
    return int(found)
