"""What loading and running an artifact shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.engines.models.manifest import ModelManifest


@dataclass(frozen=True, slots=True)
class Inspection:
    """Facts about an artifact. ``latency_us`` is by rows of a run, None where it was not run here."""

    size_bytes: int
    latency_us: Mapping[int, float] | None = None
    mismatches: tuple[str, ...] = ()
    holds_pickle: bool = False


def inspect_artifact(manifest: ModelManifest, artifact: Path | None) -> Inspection:
    """Load an artifact once, so that what cannot be served is refused now rather than in production.

    Raises:
        HeadwaterError: ``model_unavailable`` naming what does not fit the signature.
    """
    from headwater.engines.models.onnx import OnnxExecutor  # noqa: PLC0415 - loads the model runtime

    if artifact is None:
        return Inspection(size_bytes=0)
    OnnxExecutor(artifact.read_bytes(), manifest.inputs.fields, manifest.outputs)
    return Inspection(size_bytes=artifact.stat().st_size)
