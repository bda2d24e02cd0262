"""Feature flags over the OpenFeature Remote Evaluation Protocol, for whom they were evaluated, and how often."""

from __future__ import annotations

from headwater.services.flags.service import FlagService
from headwater.services.kit.service import Runtime


def create(runtime: Runtime) -> FlagService:
    """Return the flag service of a process."""
    return FlagService(runtime)
