"""Models as a snapshot names them, with their artifacts put where services find them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.builders.onnx_models import linear

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.contracts.spec import contract_to_spec
from headwater.core.settings import Settings
from headwater.core.snapshot import ModelSpec, ModelVersionSpec, OutputSpec, RouteSpec
from headwater.engines.blobs import open_blobs

SCORE = OutputSpec(name="score", type="number")


def numbers(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, LogicalType.NUMBER) for name in names)


def make_version(
    settings: Settings,
    number: int = 1,
    *,
    artifact: bytes | None = None,
    fields: Sequence[Field] = numbers("a", "b"),
    outputs: Sequence[OutputSpec] = (SCORE,),
    keep: bool = True,
) -> ModelVersionSpec:
    """Return a version; the default answers ``number * (a + 10 * b)``. ``keep=False`` leaves its artifact missing."""
    artifact = linear([number, 10 * number]) if artifact is None else artifact
    blobs = open_blobs(settings)
    sha256 = blobs.put(artifact)
    if not keep:
        blobs.path(sha256).unlink()
    contract = Contract("model", "1.0.0", tuple(fields), on_unknown="quarantine", on_error="reject_batch")
    return ModelVersionSpec(
        id=f"mdv_{number}",
        number=number,
        framework="onnx",
        artifact_uri=f"blob:{sha256}",
        artifact_sha256=sha256,
        inputs=contract_to_spec(contract),
        outputs=tuple(outputs),
    )


def make_model(*versions: ModelVersionSpec, name: str = "delay", routes: Mapping[int, int] | None = None) -> ModelSpec:
    """Return a model; ``routes`` gives weights in basis points by version, the first being the primary one."""
    weights = routes if routes is not None else {versions[-1].number: 10_000}
    return ModelSpec(
        id=f"mdl_{name}",
        name=name,
        versions={version.number: version for version in versions},
        routes=tuple(
            RouteSpec(version=number, role="canary" if position else "primary", weight_bps=weight)
            for position, (number, weight) in enumerate(weights.items())
        ),
    )
