"""Starting a worker: from a version to a process that has loaded and tried it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.models.isolated.frames import READ_BYTES, BrokenFrames, FrameReader, Kind, pack
from headwater.engines.models.isolated.job import Failure, InputJob, Job, OutputJob, Ready, may_be_absent
from headwater.engines.models.isolated.nursery import NURSERIES, Child, describe_exit
from headwater.engines.models.isolated.nursery_process import WITH_FRAMES

LOAD_SECONDS: Final = 60.0
_NOT_LOADED: Final = "is not loaded here"


@dataclass(frozen=True, slots=True)
class Started:
    """A worker that is ready to run."""

    child: Child
    ready: Ready


class WorkerStarter:
    """Starts workers for one version, again and again; counts as a user of its framework until it is closed."""

    def __init__(self, job: Job, labels: dict[str, str | int], load_seconds: float | None = None) -> None:
        """Start nothing yet; ``labels`` name the version in the log, loading may take ``LOAD_SECONDS`` unless told."""
        self._labels = labels
        self._load_seconds = LOAD_SECONDS if load_seconds is None else load_seconds
        self._payload = pack(Kind.JOB, payload=msgspec.msgpack.encode(job))
        has_texts = any(item.type == LogicalType.STRING for item in job.inputs)
        self._framework = job.framework + (WITH_FRAMES if has_texts and job.framework == "sklearn" else "")
        self._may_want_frames = job.framework == "sklearn" and not has_texts
        NURSERIES.enter(self._framework)

    def start(self) -> Started:
        """Fork a worker and wait until it is ready. Blocks.

        Raises:
            HeadwaterError: ``model_unavailable`` with what the worker said, or how it ended.
        """
        try:
            return self._start()
        except HeadwaterError as error:
            if not (self._may_want_frames and _NOT_LOADED in error.detail):
                raise
        # It picks its columns by name, or was written with frames: such are rare, so others do not pay for pandas.
        NURSERIES.enter(self._framework + WITH_FRAMES)
        NURSERIES.leave(self._framework)
        self._framework, self._may_want_frames = self._framework + WITH_FRAMES, False
        return self._start()

    def close(self) -> None:
        """Be no user any more."""
        NURSERIES.leave(self._framework)

    def _start(self) -> Started:
        child = NURSERIES.start(self._framework, **self._labels)
        try:
            child.connection.sendall(self._payload)
            return Started(child, self._await_ready(child))
        except BaseException:
            child.connection.close()
            child.nursery.end(child.process, kill=True)
            raise

    def _await_ready(self, child: Child) -> Ready:
        reader = FrameReader()
        deadline = time.monotonic() + self._load_seconds
        while True:
            child.connection.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = child.connection.recv(READ_BYTES)
            except TimeoutError:
                raise _cannot_load(
                    f"loading it took longer than {self._load_seconds:g} s", "make it smaller, or load less at first"
                ) from None
            except OSError:
                data = b""
            if not data:
                ended = describe_exit(child.nursery.end(child.process))
                raise _cannot_load(f"its process ended: {ended}", "the log has what it printed; export it again")
            for kind, _number, _rows, payload in reader.feed(data):
                return _read_reply(kind, payload)


def _read_reply(kind: int, payload: memoryview) -> Ready:
    if kind == Kind.READY:
        return msgspec.msgpack.decode(payload, type=Ready)
    if kind != Kind.FAILED:
        raise BrokenFrames(f"a frame of kind {kind} before the worker was ready")
    failure = msgspec.msgpack.decode(payload, type=Failure)
    raise HeadwaterError("model_unavailable", failure.detail, hint=failure.hint)


def make_job(spec: ModelVersionSpec, artifact: Path, fields: Sequence[Field], *, allow_pickle: bool) -> Job:
    """Return what a worker is told about a version."""
    return Job(
        framework=spec.framework,
        artifact=str(artifact),
        inputs=tuple(
            InputJob(
                field.name,
                field.type.value,
                may_be_absent(field),
                field.has_default,
                field.default,
                field.constraints.enum,
            )
            for field in fields
        ),
        outputs=tuple(
            OutputJob(output.name, output.type, output.shape, output.source, output.index) for output in spec.outputs
        ),
        options=dict(spec.options),
        examples=tuple(dict(example) for example in spec.examples),
        memory_bytes=spec.memory_bytes,
        allow_pickle=allow_pickle,
    )


def _cannot_load(detail: str, hint: str) -> HeadwaterError:
    return HeadwaterError("model_unavailable", f"the artifact cannot be loaded: {detail}", hint=hint)
