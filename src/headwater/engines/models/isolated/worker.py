"""One version in a process of its own: it is loaded, tried, and answers runs until its socket closes.

Whatever waits in the socket is answered as one batch. A batch that fails is run again one request at a time, so that
only the culprit fails. What user code writes goes to a pipe that the service reads.
"""

from __future__ import annotations

import importlib
import os
import resource
import socket
import statistics
import struct
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

import headwater
from headwater.core.errors import HeadwaterError
from headwater.engines.models.contents import find_pickle, refuse_pickle
from headwater.engines.models.isolated.frames import (
    READ_BYTES,
    Frame,
    FrameReader,
    Kind,
    pack,
    pack_outputs,
    unpack_columns,
)
from headwater.engines.models.isolated.job import Failure, Job, Ready
from headwater.engines.models.native.outputs import OutputPicker
from headwater.engines.models.native.protocol import NativeModel, first_line, misfit
from headwater.engines.models.samples import SampleRows
from headwater.engines.query import confinement

MAX_MERGED_ROWS: Final = 4_096
OUT_OF_MEMORY: Final = 70
"""The exit status of a worker that needed more memory than it may use."""
_RUNS: Final = frozenset({Kind.MATRIX, Kind.COLUMNS})
_WARM_UP_ROWS: Final = (1, 2, 16)
_MEASURED_RUNS: Final = 100
_MEASURE_SECONDS: Final = 0.3
_MICROSECONDS: Final = struct.Struct("<d")
_MAX_FILE_BYTES: Final = 4 << 30
_OWN_CODE: Final = str(Path(headwater.__file__).parent)
_CLASSES: Final = {
    "sklearn": ("headwater.engines.models.native.sklearn", "SklearnModel"),
    "lightgbm": ("headwater.engines.models.native.lightgbm", "LightgbmModel"),
    "xgboost": ("headwater.engines.models.native.xgboost", "XgboostModel"),
    "python": ("headwater.engines.models.native.python", "PythonModel"),
    "onnx": ("headwater.engines.models.native.onnx", "OnnxModel"),
}
_MEMORY_HINT: Final = "raise resources.memory_mb, or make the model smaller"
_SYSTEM_PATHS: Final = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/opt", "/dev", "/proc", "/sys")


def load_library(framework: str) -> None:
    """Import what the workers of a framework need, so that they begin with it; raises ``ImportError``."""
    importlib.import_module(_CLASSES[framework][0])


def serve(connection: socket.socket) -> None:
    """Load what the first frame names, then answer runs until the other side is gone."""
    job = msgspec.msgpack.decode(_read_job(connection), type=Job)
    try:
        worker, ready = _load(job)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the service learns of it
        connection.sendall(pack(Kind.FAILED, payload=msgspec.msgpack.encode(_explain_load(error, job))))
        return
    connection.sendall(pack(Kind.READY, payload=msgspec.msgpack.encode(ready)))
    _answer_until_closed(connection, worker)


class Worker:
    """A loaded model and its outputs."""

    def __init__(self, model: NativeModel, picker: OutputPicker, job: Job) -> None:
        """Run ``model`` for the outputs of ``picker``."""
        self._model = model
        self._picker = picker
        self._memory_bytes = job.memory_bytes
        self._samples = SampleRows(job.fields(), job.examples)

    def ask(self, rows: Any, count: int) -> list[NDArray[Any]]:
        """Return the outputs of ``count`` rows: a matrix, or a list of columns."""
        model = self._model
        answers = model.run_matrix(rows) if isinstance(rows, np.ndarray) else model.run_columns(rows)
        return self._picker.pick(answers, count)

    def reply(self, frames: Sequence[Frame]) -> tuple[bytes, bool]:
        """Return the frames that answer runs of one kind, and whether the worker must end after them."""
        try:
            requests = [self._rows(frame) for frame in frames]
            arrays = self.ask(_merge(requests), sum(frame[2] for frame in frames))
        except BaseException as error:  # noqa: BLE001 - also SystemExit: a model does not end its worker
            if len(frames) == 1:
                return self._failed(frames[0][1], error)
            return self._reply_one_by_one(frames)
        start = 0
        replies: list[bytes] = []
        for _kind, number, rows, _payload in frames:
            stop = start + rows
            share = arrays if len(frames) == 1 else [array[start:stop] for array in arrays]
            replies.append(pack(Kind.OUTPUTS, number, rows, pack_outputs(share)))
            start = stop
        return b"".join(replies), False

    def reply_about_itself(self, frame: Frame) -> tuple[bytes, bool]:
        """Return that it lives, or how long runs of so many rows take it."""
        kind, number, rows, _payload = frame
        if kind == Kind.PING:
            return pack(Kind.PONG, number), False
        try:
            payload = _MICROSECONDS.pack(self._measure(rows))
        except BaseException as error:  # noqa: BLE001 - as for any run
            return self._failed(number, error)
        return pack(Kind.MEASURED, number, rows, payload), False

    def sample(self, rows: int) -> Any:
        """Return so many rows to try it on."""
        model = self._model
        return self._samples.matrix(rows, model.dtype) if model.takes_matrix else self._samples.columns(rows)

    def _measure(self, rows: int) -> float:
        """Return the median microseconds of a run."""
        asked = self.sample(rows)
        taken: list[float] = []
        deadline = time.perf_counter() + _MEASURE_SECONDS
        while len(taken) < _MEASURED_RUNS and (not taken or time.perf_counter() < deadline):
            began = time.perf_counter()
            self.ask(asked, rows)
            taken.append(time.perf_counter() - began)
        return statistics.median(taken) * 1e6

    def _reply_one_by_one(self, frames: Sequence[Frame]) -> tuple[bytes, bool]:
        replies = b""
        for frame in frames:
            reply, ends = self.reply([frame])
            replies += reply
            if ends:
                return replies, True  # the rest was not run, and is asked of the next worker
        return replies, False

    def _rows(self, frame: Frame) -> Any:
        kind, _number, rows, payload = frame
        if kind == Kind.COLUMNS:
            return unpack_columns(payload)
        return np.frombuffer(payload, self._model.dtype).reshape(rows, -1)

    def _failed(self, number: int, error: BaseException) -> tuple[bytes, bool]:
        failure = _explain_run(error, self._memory_bytes)
        if not isinstance(error, HeadwaterError):
            _print_trace(error)
        return pack(Kind.FAILED, number, payload=msgspec.msgpack.encode(failure)), failure.ends


def _answer_until_closed(connection: socket.socket, worker: Worker) -> None:
    reader = FrameReader()
    while data := connection.recv(READ_BYTES):
        frames = list(reader.feed(data))
        while len(data) == READ_BYTES:  # more may wait: it belongs to the same batch
            try:
                data = connection.recv(READ_BYTES, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            frames += reader.feed(data)
        for group in _groups(frames):
            reply, ends = worker.reply(group) if group[0][0] in _RUNS else worker.reply_about_itself(group[0])
            connection.sendall(reply)
            if ends:
                os._exit(OUT_OF_MEMORY)


def _groups(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return runs of one kind together, up to the most rows of a batch, in their order."""
    groups: list[list[Frame]] = []
    rows = 0
    for frame in frames:
        is_same = bool(groups) and groups[-1][0][0] == frame[0] in _RUNS
        if is_same and rows + frame[2] <= MAX_MERGED_ROWS:
            groups[-1].append(frame)
            rows += frame[2]
        else:
            groups.append([frame])
            rows = frame[2]
    return groups


def _merge(requests: Sequence[Any]) -> Any:
    if len(requests) == 1:
        return requests[0]
    if isinstance(requests[0], np.ndarray):
        return np.concatenate(requests)
    return [[value for part in parts for value in part] for parts in zip(*requests, strict=True)]


def _read_job(connection: socket.socket) -> bytes:
    reader = FrameReader()
    while data := connection.recv(READ_BYTES):
        for _kind, _number, _rows, payload in reader.feed(data):
            return bytes(payload)
    os._exit(0)  # the service went away before it said what to load


def _load(job: Job) -> tuple[Worker, Ready]:
    began = time.perf_counter()
    artifact = Path(job.artifact)
    pickle = find_pickle(artifact)
    if pickle is not None and not job.allow_pickle:
        raise refuse_pickle(pickle)
    before = _resident_bytes()
    gap = _confine(job)
    module, name = _CLASSES[job.framework]
    model: NativeModel = getattr(importlib.import_module(module), name)(job)
    outputs = job.outputs
    if job.framework == "onnx":  # its executor picks them itself
        outputs = tuple(msgspec.structs.replace(output, source=None, index=None) for output in outputs)
    picker = OutputPicker(outputs, model.default_source)
    model.want(picker.sources)
    worker = Worker(model, picker, job)
    _warm_up(worker, job)
    ready = Ready(
        takes_matrix=model.takes_matrix,
        dtype=model.dtype.name,
        limits=tuple(model.limits),
        load_ms=(time.perf_counter() - began) * 1_000,
        model_bytes=max(_resident_bytes() - before, 0),
        pickle=pickle,
        confinement_gap=gap,
    )
    return worker, ready


def _confine(job: Job) -> str | None:
    """Take away what a model has no need of; return why some of it could not be.

    The limit is on what the process may write to and shares with nobody: address space alone would also count what
    libraries reserve for threads and never touch.
    """
    private = _private_bytes() + job.memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (private, private))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
    readable = [Path(path) for path in (job.artifact, sys.prefix, sys.base_prefix, *_SYSTEM_PATHS, *sys.path) if path]
    scratch = Path.cwd()
    confinement.drop_capabilities()
    return confinement.restrict_files(
        [*readable, scratch], writable=[scratch, Path("/dev/null")], network=bool(job.options.get("network"))
    )


def _warm_up(worker: Worker, job: Job) -> None:
    """Run a few rows: what does not fit shows now, and the first request does not pay for what comes but once."""
    for rows in _WARM_UP_ROWS:
        try:
            worker.ask(worker.sample(rows), rows)
        except HeadwaterError as error:
            detail = error.detail.partition(": ")[2] if error.code == "model_failed" else error.detail
            raise misfit(detail, error.hint or "mend the model") from error
        except Exception as error:
            _print_trace(error)
            tried = "its first example" if job.examples else "a row of ones"
            raise misfit(f"on {tried} it raised {first_line(error)}", "mend the model, or give examples") from error


def _explain_load(error: BaseException, job: Job) -> Failure:
    if _is_out_of_memory(error) or _is_out_of_memory(error.__cause__):
        return Failure(
            "model_unavailable",
            f"the artifact cannot be loaded: it needs more than {job.memory_bytes >> 20} MB",
            _MEMORY_HINT,
        )
    if isinstance(error, HeadwaterError):
        return Failure("model_unavailable", error.detail, error.hint)
    _print_trace(error)
    return Failure(
        "model_unavailable", f"the artifact cannot be loaded: {first_line(error)}", "export the model again and push it"
    )


def _explain_run(error: BaseException, memory_bytes: int) -> Failure:
    if isinstance(error, HeadwaterError):
        return Failure(error.code, error.detail, error.hint)
    if _is_out_of_memory(error):
        detail = f"the model needed more than the {memory_bytes >> 20} MB it may use, and was ended"
        return Failure("model_failed", detail, _MEMORY_HINT, ends=True)
    return Failure("model_failed", f"the model raised {first_line(error)}", "its traceback is in the log")


def _is_out_of_memory(error: BaseException | None) -> bool:
    return isinstance(error, MemoryError) or "bad_alloc" in str(error)


def _print_trace(error: BaseException) -> None:
    """Write the traceback to the log, beginning where our own code ends."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_CODE):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace, file=sys.stderr)
    sys.stderr.flush()


def _resident_bytes() -> int:
    return _status_kib("VmRSS:") << 10


def _private_bytes() -> int:
    return _status_kib("VmData:") << 10


def _status_kib(name: str) -> int:
    """Return a line of what Linux tells of this process; 0 elsewhere."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
