"""Features: read online by entity, and joined with labels for training."""

from __future__ import annotations

from headwater.services.features.service import FeatureService
from headwater.services.kit.service import Runtime


def create(runtime: Runtime) -> FeatureService:
    """Return the feature service of a process."""
    return FeatureService(runtime)
