"""Models: what a directory says about one, what runs one, how its predictions are logged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headwater.contracts.model import Field
from headwater.core.errors import HeadwaterError
from headwater.core.settings import InferenceSettings
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.models.protocol import AsyncExecutor, Executor


def open_executor(
    spec: ModelVersionSpec, artifact: Path | None, fields: Sequence[Field], *, settings: InferenceSettings
) -> Executor | AsyncExecutor:
    """Load a version, check it against its signature and warm it up. Blocks; call it in a thread.

    Args:
        spec: the version.
        artifact: a verified file that stays where it is while the executor lives; None for a remote model.
        fields: the inputs, in the order of the signature.
        settings: what may be loaded.

    Raises:
        HeadwaterError: ``model_unavailable`` naming what does not fit, or the extra that is not installed.
    """
    del settings  # what runs in this process asks nobody
    if spec.framework != "onnx" or artifact is None:
        raise HeadwaterError(
            "model_unavailable", f"this version cannot run {spec.framework!r}", hint="export it to ONNX"
        )
    try:
        # Here and not above: who only reads manifests or log schemas needs no engine.
        from headwater.engines.models.onnx import OnnxExecutor  # noqa: PLC0415
    except ImportError as error:
        raise HeadwaterError(
            "model_unavailable", f"onnxruntime cannot be imported: {error}", hint="install headwater[onnx]"
        ) from error
    return OnnxExecutor(artifact.read_bytes(), fields, spec.outputs, spec.examples)
