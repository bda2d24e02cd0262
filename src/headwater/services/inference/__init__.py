"""Inference: typed predictions from ONNX models, routed, micro-batched and logged."""

from __future__ import annotations

from headwater.services.inference.service import InferenceService
from headwater.services.kit.service import Runtime


def create(runtime: Runtime) -> InferenceService:
    """Return the inference service of a process."""
    return InferenceService(runtime)
