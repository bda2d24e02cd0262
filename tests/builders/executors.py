"""Model versions to be opened straight from a file, without a registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.contracts.model import Contract, Field
from headwater.contracts.spec import contract_to_spec
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import ModelVersionSpec, OutputSpec
from headwater.engines.models import open_executor
from headwater.engines.models.protocol import AsyncExecutor, Executor


def spec_of(
    framework: str,
    fields: Sequence[Field],
    outputs: Sequence[OutputSpec],
    *,
    options: Mapping[str, Any] | None = None,
    examples: Sequence[Mapping[str, Any]] = (),
    **members: Any,
) -> ModelVersionSpec:
    """Return a version whose artifact is told apart by nobody."""
    contract = Contract("delay", "1.0", tuple(fields), on_unknown="quarantine", on_error="reject_batch")
    return ModelVersionSpec.model_validate(
        {
            "id": "mdv_1",
            "number": 1,
            "framework": framework,
            "artifact_uri": "",
            "artifact_sha256": "",
            "inputs": contract_to_spec(contract),
            "outputs": [output.model_dump() for output in outputs],
            "options": dict(options or {}),
            "examples": [dict(example) for example in examples],
            **members,
        }
    )


def open_file(
    spec: ModelVersionSpec, artifact: Path | None, fields: Sequence[Field], settings: InferenceSettings | None = None
) -> Executor | AsyncExecutor:
    return open_executor(
        spec, artifact, fields, settings=settings or InferenceSettings(remote_networks=("127.0.0.0/8",))
    )
