"""One model version as it is served: signature, executor, batcher, and the shape of its replies and its log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final, cast

import pyarrow as pa

from headwater.contracts.rows import FieldError
from headwater.contracts.spec import contract_from_spec
from headwater.core.settings import InferenceSettings
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.blobs.protocol import BlobStore
from headwater.engines.models import open_executor
from headwater.engines.models.log_schema import log_schema
from headwater.engines.models.protocol import Executor
from headwater.services.inference.batcher import MicroBatcher, Share
from headwater.services.inference.faults import input_invalid
from headwater.services.inference.signature import Row, Signature

_NULL_WARNING: Final = b'"an output is not a finite number and is shown as null"'


class ServedVersion:
    """A loaded version. Immutable but for its queue."""

    def __init__(self, model: str, spec: ModelVersionSpec, blobs: BlobStore) -> None:
        """Load the version.

        Raises:
            HeadwaterError: ``model_unavailable`` when the artifact is missing, damaged or does not fit.
        """
        self.model = model
        self.spec = spec
        contract = contract_from_spec(spec.inputs)
        self.signature = Signature(contract)
        artifact = None if spec.framework == "remote" else blobs.path(spec.artifact_sha256)
        loaded = open_executor(spec, artifact, contract.fields, settings=InferenceSettings())
        self.executor = cast("Executor", loaded)  # what runs in this process; no other kind is opened yet
        self.batcher = MicroBatcher(self.executor)
        self.log_schema: pa.Schema = log_schema(contract.fields, spec.outputs)
        members = ",".join(json.dumps(output.name).replace("%", "%%") + ":%b" for output in spec.outputs)
        self._prediction = ('{"id":"%b","outputs":{' + members + "}}").encode()
        self._head = f'{{"model":{json.dumps(model)},"version":{spec.number},"route":"'.encode()

    @property
    def number(self) -> int:
        """Return the version's number."""
        return self.spec.number

    def reread(self, body: bytes) -> Sequence[Row]:
        """Return the rows of a body with large numbers, held against their text and against what the model can take.

        Raises:
            HeadwaterError: ``input_invalid`` and the others of ``Signature.read_exactly``.
        """
        rows = self.signature.read_exactly(body)
        faults: dict[int, Sequence[FieldError]] = {}
        for index, row in enumerate(rows):
            errors = [
                FieldError("out_of_range", f"/{name}", f"must be within ±{limit:g}", {"le": limit, "ge": -limit})
                for name, value, limit in zip(self.signature.names, row, self.executor.limits, strict=True)
                if isinstance(value, int | float) and abs(value) > limit
            ]
            if errors:
                faults[index] = errors
        if faults:
            raise input_invalid(faults)
        return rows

    def reply(self, route: str, ids: Sequence[str], share: Share) -> bytes:
        """Return the reply's JSON text."""
        columns = [column[share.start : share.stop] for column in share.batch.texts]
        template = self._prediction
        predictions = b",".join(
            [template % values for values in zip([identity.encode() for identity in ids], *columns, strict=True)]
        )
        warnings = b""
        if share.batch.has_nulls and any(b"null" in column for column in columns):
            warnings = _NULL_WARNING
        return b'%b%b","predictions":[%b],"warnings":[%b]}' % (self._head, route.encode(), predictions, warnings)
