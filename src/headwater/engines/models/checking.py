"""Looking at an artifact before anybody serves it: it is loaded and run in a process of its own, as a stranger."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from headwater.contracts.spec import contract_to_spec
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import ModelVersionSpec, OutputSpec
from headwater.engines.models.isolated.asking import AskedWorker
from headwater.engines.models.manifest import Example, ModelManifest
from headwater.engines.models.opening import open_remote, require_allowed
from headwater.engines.models.protocol import AsyncExecutor
from headwater.engines.models.samples import SampleRows

MEASURED_ROWS: Final = (1, 100)


@dataclass(frozen=True, slots=True)
class ArtifactReport:
    """What an artifact showed.

    Attributes:
        size_bytes: of the file; 0 for a remote model.
        pickle: where it holds a pickle, None where it holds none.
        load_ms: how long loading and trying it took, once its framework was there.
        memory_bytes: what it takes beyond its framework.
        latency_us: by rows of a run, how long one takes, without the service around it; None if it was not run here.
        mismatches: a sentence for each golden row that came out otherwise.
    """

    size_bytes: int
    pickle: str | None = None
    load_ms: float = 0.0
    memory_bytes: int = 0
    latency_us: Mapping[int, float] | None = None
    mismatches: tuple[str, ...] = field(default=())

    @property
    def holds_pickle(self) -> bool:
        """Return whether there is a pickle in it."""
        return self.pickle is not None


def check_artifact(manifest: ModelManifest, artifact: Path | None, *, settings: InferenceSettings) -> ArtifactReport:
    """Load an artifact within its limits, run its golden rows, and measure. Blocks for seconds.

    Args:
        manifest: what it should be.
        artifact: the file; None for a remote model, whose server is asked for the golden rows.
        settings: what may be loaded.

    Raises:
        HeadwaterError: ``model_unavailable`` when it cannot be loaded or does not fit, ``model_timeout`` or
            ``model_failed`` when it cannot be run.
    """
    spec = _spec(manifest)
    fields = manifest.inputs.fields
    if manifest.framework == "remote":
        executor = open_remote(spec, fields, settings=settings)
        answers = asyncio.run(_ask_remote(executor, manifest))
        return ArtifactReport(0, mismatches=tuple(_mismatches(manifest, answers)))
    if artifact is None:
        raise HeadwaterError("model_unavailable", f"a {manifest.framework} model needs an artifact")
    require_allowed(manifest.framework, settings)
    with AskedWorker(spec, artifact, fields, allow_pickle=settings.allow_pickle) as worker:
        golden = [worker.run(example.inputs) for example in _golden(manifest)]
        return ArtifactReport(
            size_bytes=artifact.stat().st_size,
            pickle=worker.ready.pickle,
            load_ms=worker.ready.load_ms,
            memory_bytes=worker.ready.model_bytes,
            latency_us={rows: worker.measure(rows) for rows in MEASURED_ROWS},
            mismatches=tuple(_mismatches(manifest, golden)),
        )


def _spec(manifest: ModelManifest) -> ModelVersionSpec:
    return ModelVersionSpec(
        id="",
        number=0,
        framework=manifest.framework,
        artifact_uri="",
        artifact_sha256="",
        inputs=contract_to_spec(manifest.inputs),
        outputs=manifest.outputs,
        options=dict(manifest.options),
        examples=tuple(dict(example.inputs) for example in manifest.examples),
        memory_bytes=manifest.memory_bytes,
        timeout_seconds=manifest.timeout_seconds,
    )


def _golden(manifest: ModelManifest) -> list[Example]:
    return [example for example in manifest.examples if example.outputs]


async def _ask_remote(executor: AsyncExecutor, manifest: ModelManifest) -> list[list[NDArray[Any]]]:
    answers: list[list[NDArray[Any]]] = []
    try:
        for example in _golden(manifest):
            rows = SampleRows(manifest.inputs.fields, [example.inputs])
            if executor.takes_matrix:
                answers.append(await executor.run_matrix(rows.matrix(1, executor.dtype)))
            else:
                answers.append(await executor.run_columns(rows.columns(1)))
    finally:
        executor.close()
    return answers


def _mismatches(manifest: ModelManifest, answers: Sequence[Sequence[NDArray[Any]]]) -> Iterator[str]:
    """Yield a sentence for each output of a golden row that is not what it must be."""
    numbers = [number for number, example in enumerate(manifest.examples) if example.outputs]
    for number, example, arrays in zip(numbers, _golden(manifest), answers, strict=True):
        expected = example.outputs or {}
        for output, array in zip(manifest.outputs, arrays, strict=True):
            if output.name in expected and not _is_close(output, array[0], expected[output.name], example.tolerance):
                got = np.asarray(array[0]).tolist()
                yield f"examples[{number}]: {output.name} is {got!r} and should be {expected[output.name]!r}"


def _is_close(output: OutputSpec, found: Any, expected: Any, tolerance: float) -> bool:
    if output.type in ("string", "boolean"):
        return bool(np.array_equal(np.asarray(found).tolist(), expected))
    try:
        wanted = np.asarray(expected, dtype=np.float64)
    except (TypeError, ValueError):
        return False
    if wanted.shape != np.shape(found):
        return False
    return bool(np.allclose(np.asarray(found, np.float64), wanted, rtol=tolerance, atol=tolerance, equal_nan=True))
