"""Which executor runs which framework."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headwater.contracts.model import Field
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.models.isolated.executor import IsolatedExecutor
from headwater.engines.models.protocol import AsyncExecutor, Executor


def open_by_framework(
    spec: ModelVersionSpec, artifact: Path | None, fields: Sequence[Field], *, settings: InferenceSettings
) -> Executor | AsyncExecutor:
    """Do what ``open_executor`` promises."""
    if spec.framework == "remote":
        return open_remote(spec, fields, settings=settings)
    if artifact is None:
        raise HeadwaterError("model_unavailable", f"a {spec.framework} model needs an artifact", hint="push it again")
    if spec.framework == "onnx":
        return _open_onnx(spec, artifact, fields)
    require_allowed(spec.framework, settings)
    return IsolatedExecutor(spec, artifact, fields, allow_pickle=settings.allow_pickle)


def require_allowed(framework: str, settings: InferenceSettings) -> None:
    """Raise ``model_unavailable`` for a framework that the operator does not want here."""
    if framework == "python" and not settings.allow_python:
        raise HeadwaterError(
            "model_unavailable",
            "models that are Python classes are not run here",
            hint="let the operator set inference.allow_python = true, or export the model to ONNX",
        )


def open_remote(spec: ModelVersionSpec, fields: Sequence[Field], *, settings: InferenceSettings) -> AsyncExecutor:
    """Return what asks another server; raises ``model_unavailable`` when it does not answer or fit."""
    from headwater.engines.models.remote.executor import RemoteExecutor  # noqa: PLC0415 - brings an HTTP client

    return RemoteExecutor(
        spec,
        fields,
        networks=settings.remote_networks,
        variables=settings.remote_variables,
        reply_bytes=settings.remote_reply_bytes,
    )


def _open_onnx(spec: ModelVersionSpec, artifact: Path, fields: Sequence[Field]) -> Executor:
    try:
        from headwater.engines.models.onnx import OnnxExecutor  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise HeadwaterError(
            "model_unavailable", f"onnxruntime cannot be imported: {error}", hint="install headwater[onnx]"
        ) from error
    return OnnxExecutor(artifact.read_bytes(), fields, spec.outputs, spec.examples)
