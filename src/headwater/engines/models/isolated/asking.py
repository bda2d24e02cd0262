"""A worker that is asked and waited for: no event loop, no second try. For whoever looks at an artifact once."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import Field
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.models.isolated.frames import (
    READ_BYTES,
    BrokenFrames,
    Frame,
    FrameReader,
    Kind,
    pack,
    pack_columns,
    unpack_outputs,
)
from headwater.engines.models.isolated.job import Failure
from headwater.engines.models.isolated.nursery import describe_exit
from headwater.engines.models.isolated.starting import WorkerStarter, make_job
from headwater.engines.models.samples import SampleRows

MICROSECONDS: Final = struct.Struct("<d")


class AskedWorker:
    """A worker for one version, with the limits that it would be served with. A context manager that ends it."""

    def __init__(self, spec: ModelVersionSpec, artifact: Path, fields: Sequence[Field], *, allow_pickle: bool) -> None:
        """Load the version; raises ``model_unavailable`` naming what is wrong with it."""
        self._fields = fields
        self._shapes = [output.shape for output in spec.outputs]
        self._timeout_seconds = spec.timeout_seconds
        self._starter = WorkerStarter(
            make_job(spec, artifact, fields, allow_pickle=allow_pickle),
            {"model": str(spec.inputs.get("name", "")), "version": spec.number},
        )
        try:
            self._started = self._starter.start()
        except BaseException:
            self._starter.close()
            raise
        self.ready = self._started.ready
        self._frames = FrameReader()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        child = self._started.child
        child.connection.close()
        child.nursery.end(child.process, kill=True)
        self._starter.close()

    def run(self, row: Mapping[str, Any]) -> list[NDArray[Any]]:
        """Return each output for one row by name.

        Raises:
            HeadwaterError: ``model_failed`` or ``model_timeout``.
        """
        rows = SampleRows(self._fields, [row])
        if self.ready.takes_matrix:
            asked = pack(Kind.MATRIX, 1, 1, rows.matrix(1, np.dtype(self.ready.dtype)).tobytes())
        else:
            asked = pack(Kind.COLUMNS, 1, 1, pack_columns(rows.columns(1)))
        _kind, _number, count, payload = self._ask(asked)
        return unpack_outputs(payload, count, self._shapes)

    def measure(self, rows: int) -> float:
        """Return the median microseconds that a run of so many rows takes in the worker; raises as ``run``."""
        _kind, _number, _rows, payload = self._ask(pack(Kind.MEASURE, 1, rows))
        return float(MICROSECONDS.unpack(payload)[0])

    def _ask(self, frame: bytes) -> Frame:
        child = self._started.child
        child.connection.settimeout(self._timeout_seconds)
        try:
            child.connection.sendall(frame)
            while data := child.connection.recv(READ_BYTES):
                for answer in self._frames.feed(data):
                    return _checked(answer)
        except TimeoutError:
            detail = f"the model took longer than {self._timeout_seconds:g} s"
            raise HeadwaterError("model_timeout", detail, hint="raise resources.timeout_seconds") from None
        except (ConnectionError, BrokenFrames) as error:
            raise HeadwaterError("model_failed", f"the model's process broke off: {error}") from error
        ended = describe_exit(child.nursery.end(child.process))
        raise HeadwaterError("model_failed", f"the model's process ended: {ended}", hint="mend the model")


def _checked(frame: Frame) -> Frame:
    if frame[0] == Kind.FAILED:
        failure = msgspec.msgpack.decode(frame[3], type=Failure)
        raise HeadwaterError(failure.code, failure.detail, hint=failure.hint)
    return frame
