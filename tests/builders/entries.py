"""What the hot path tells of predictions, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
from tests.builders.models import SCORE, make_model, numbers
from tests.builders.snapshots import make_key, make_snapshot

from headwater.contracts.model import Contract, Field
from headwater.contracts.spec import contract_to_spec
from headwater.core.ids import new_ids
from headwater.core.snapshot import FeatureRefSpec, LogSpec, ModelVersionSpec, OutputSpec, ServingSpec
from headwater.services.inference.observations import Entry, Failure
from headwater.services.kit.service import Caller, Environment

NOON_US = 1_790_000_000_000_000


class Told:
    """A version, its environment, and entries of predictions that it never made."""

    def __init__(
        self,
        *,
        fields: Sequence[Field] = numbers("a", "b"),
        outputs: Sequence[OutputSpec] = (SCORE,),
        log: LogSpec | None = None,
        number: int = 1,
        features: Sequence[FeatureRefSpec] = (),
        profile_sha256: str | None = None,
    ) -> None:
        contract = Contract("model", "1.0.0", tuple(fields), on_unknown="quarantine", on_error="reject_batch")
        spec = ModelVersionSpec(
            id=f"mdv_{number}",
            number=number,
            framework="onnx",
            artifact_uri="blob:0",
            artifact_sha256="0" * 64,
            inputs=contract_to_spec(contract),
            outputs=tuple(outputs),
            features=tuple(features),
            profile_sha256=profile_sha256,
        )
        model = make_model(spec).model_copy(update={"serving": ServingSpec(log=log or LogSpec())})
        self.version: Any = SimpleNamespace(model=model.name, number=number, spec=spec)
        compiled = SimpleNamespace(models={model.name: SimpleNamespace(versions={number: self.version})})
        snapshot = make_snapshot(1, models=[model])
        self.environment = Environment(snapshot, MappingProxyType({"inference": compiled}))
        self.caller = Caller(make_key("*"), self.environment)

    def environments(self) -> Mapping[str, Environment]:
        return {self.environment.id: self.environment}

    def entry(self, inputs: Any, *outputs: Any, at_us: int = NOON_US, route: str = "champion", **more: Any) -> Entry:
        """Return an entry: ``inputs`` a matrix, or a list of tuples; ``outputs`` an array each."""
        is_matrix = isinstance(inputs, np.ndarray)
        batch: Any = SimpleNamespace(
            matrix=inputs if is_matrix else None,
            rows=() if is_matrix else inputs,
            outputs=[np.asarray(o) for o in outputs],
        )
        share: Any = SimpleNamespace(batch=batch, start=0, stop=len(inputs))
        ids = new_ids("prd", len(inputs))
        return Entry(self.version, self.caller, "req_1", route, ids, share, at_us, 1_500, **more)

    def rows(self, count: int, *, at_us: int = NOON_US, shift: float = 0.0) -> Entry:
        """Return an entry of random rows with their sums as output."""
        matrix = np.random.default_rng(count).normal(shift, 1, size=(count, 2))
        return self.entry(matrix, matrix.sum(axis=1).astype(np.float32), at_us=at_us)

    def failure(self, code: str, at_us: int = NOON_US) -> Failure:
        return Failure(self.version, "champion", code, 0, at_us, 900)
