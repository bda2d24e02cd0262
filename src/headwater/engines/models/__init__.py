"""Models: what a directory says about one, what runs one, how its predictions are logged."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.contracts.model import Field
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import OutputSpec
from headwater.engines.models.protocol import Executor


def open_executor(framework: str, artifact: bytes, fields: Sequence[Field], outputs: Sequence[OutputSpec]) -> Executor:
    """Load an artifact, check it against its signature and warm it up.

    Raises:
        HeadwaterError: ``model_unavailable`` naming what does not fit, or the extra that is not installed.
    """
    if framework != "onnx":
        raise HeadwaterError("model_unavailable", f"this version cannot run {framework!r}", hint="export it to ONNX")
    try:
        # Here and not above: who only reads manifests or log schemas needs no engine.
        from headwater.engines.models.onnx import OnnxExecutor  # noqa: PLC0415
    except ImportError as error:
        raise HeadwaterError(
            "model_unavailable", f"onnxruntime cannot be imported: {error}", hint="install headwater[onnx]"
        ) from error
    return OnnxExecutor(artifact, fields, outputs)
