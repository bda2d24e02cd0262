"""One model version as it is served: signature, executor, queue, and the shape of its replies and its log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from headwater.contracts.rows import FieldError
from headwater.contracts.spec import contract_from_spec
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import ModelVersionSpec, ServingSpec
from headwater.engines.blobs.protocol import BlobStore
from headwater.engines.models import open_executor
from headwater.engines.models.log_schema import log_schema
from headwater.services.inference.batch import Row
from headwater.services.inference.batcher import Batcher, is_async, make_batcher
from headwater.services.inference.cache import ResponseCache
from headwater.services.inference.faults import input_invalid
from headwater.services.inference.metrics import VersionMetrics
from headwater.services.inference.replies import JsonReplies, TensorReplies
from headwater.services.inference.signature import Signature
from headwater.services.inference.tabular import TableReader, beyond
from headwater.services.inference.window import Window

_WINDOW_SECONDS = 60.0


class ServedVersion:
    """A loaded version. What it is never changes; how it is served, and what it has done so far, does."""

    def __init__(
        self,
        model: str,
        spec: ModelVersionSpec,
        blobs: BlobStore,
        *,
        settings: InferenceSettings | None = None,
        serving: ServingSpec | None = None,
        metrics: VersionMetrics | None = None,
    ) -> None:
        """Load the version. Blocks; call it in a thread.

        Raises:
            HeadwaterError: ``model_unavailable`` when the artifact is missing, damaged or does not fit.
        """
        self.model = model
        self.spec = spec
        self.number = spec.number
        contract = contract_from_spec(spec.inputs)
        self.signature = Signature(contract)
        artifact = None if spec.framework == "remote" else blobs.path(spec.artifact_sha256)
        self.executor = open_executor(spec, artifact, contract.fields, settings=settings or InferenceSettings())
        self.is_async = is_async(self.executor)
        self.metrics = metrics or VersionMetrics()
        self.serving = serving or ServingSpec()
        self.batcher: Batcher = make_batcher(self.executor, self.serving, self.metrics.ran)
        self.cache: ResponseCache | None = None
        self.window = Window(_WINDOW_SECONDS, time.monotonic())
        self.serve(self.serving)
        self.tables = TableReader(self.signature, self.executor.limits, takes_matrix=self.executor.takes_matrix)
        self.replies = JsonReplies(model, spec.number, spec.outputs)
        self.tensor_replies = TensorReplies(model, spec.number, spec.outputs)
        self.log_schema: pa.Schema = log_schema(contract.fields, spec.outputs)
        self.feature_fields = frozenset(need.field for need in spec.features)

    @property
    def fault(self) -> str | None:
        """Return why it cannot answer now, None while it can."""
        return getattr(self.executor, "fault", None) if self.is_async else None

    def reads_like(self, other: ServedVersion) -> bool:
        """Return whether both make the same rows of a request."""
        return other is self or (
            self.signature.key == other.signature.key and self.spec.features == other.spec.features
        )

    def serve(self, serving: ServingSpec) -> None:
        """Serve by these rules from now on; the queue, and a cache whose size stays, are kept."""
        self.serving = serving
        self.batcher.serving = serving
        if serving.cache_entries != (self.cache.entries if self.cache is not None else 0):
            self.cache = ResponseCache(serving.cache_entries) if serving.cache_entries else None
        seconds = float(serving.rollback.window_seconds) if serving.rollback is not None else _WINDOW_SECONDS
        if seconds != self.window.seconds:
            self.window = Window(seconds, time.monotonic())

    def close(self) -> None:
        """Let go of what runs it. Blocks; runs under way end with ``model_unavailable``."""
        close: Any = getattr(self.executor, "close", None)
        if close is not None:
            close()

    def reread(self, body: bytes) -> Sequence[Row]:
        """Return the rows of a body with large numbers, held against their text and against what the model can take.

        Raises:
            HeadwaterError: ``input_invalid`` and the others of ``Signature.read_exactly``.
        """
        rows = self.signature.read_exactly(body)
        faults: dict[int, Sequence[FieldError]] = {
            index: errors for index, row in enumerate(rows) if (errors := self.beyond_limits(row))
        }
        if faults:
            raise input_invalid(faults)
        return rows

    def beyond_limits(self, row: Row) -> list[FieldError]:
        """Return an error for each number of a row that the model cannot hold."""
        return [
            beyond(name, limit)
            for name, value, limit in zip(self.signature.names, row, self.executor.limits, strict=True)
            if isinstance(value, int | float) and abs(value) > limit
        ]
