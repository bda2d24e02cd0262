"""Inference: typed predictions, routed, micro-batched, logged and watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.services.inference.service import InferenceService
    from headwater.services.kit.service import Runtime


def create(runtime: Runtime) -> InferenceService:
    """Return the inference service of a process."""
    # Here and not above: the sidecar lies in this package and has no use for what serves.
    from headwater.services.inference.service import InferenceService  # noqa: PLC0415

    return InferenceService(runtime)
