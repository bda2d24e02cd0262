"""An ``AsyncExecutor`` whose model runs in a worker process, which is replaced when it dies or hangs."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from headwater.contracts.model import Field
from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.models.isolated.channel import Channel
from headwater.engines.models.isolated.frames import BrokenFrames, Frame, Kind, pack, pack_columns, unpack_outputs
from headwater.engines.models.isolated.job import Failure
from headwater.engines.models.isolated.nursery import Child, describe_exit
from headwater.engines.models.isolated.runs import Answer, Run, RunQueue
from headwater.engines.models.isolated.starting import Started, WorkerStarter, make_job

DEPTH: Final = 2
"""One run at work and one in the socket: the worker never waits, and what comes meanwhile gathers into a larger run."""
PROBE_SECONDS: Final = 5.0
STEADY_SECONDS: Final = 10.0
FREE_RESTARTS: Final = 3
_FIRST_DELAY_SECONDS: Final = 0.5
_MAX_DELAY_SECONDS: Final = 30.0
_TICKS: Final = (0.05, 1.0)
_NUMBERS: Final = 1 << 32

_log = get_logger(__name__)


class IsolatedExecutor:
    """Runs one version in a worker. Made in a thread, used from one event loop, closed from anywhere.

    A worker that dies is replaced at once, the third time within seconds only after a pause that doubles. Until then
    the executor has a ``fault``; before that, runs wait for the new worker.
    """

    depth = DEPTH

    def __init__(
        self, spec: ModelVersionSpec, artifact: Path, fields: Sequence[Field], *, allow_pickle: bool = False
    ) -> None:
        """Start a worker and wait until it has loaded and tried the version.

        Raises:
            HeadwaterError: ``model_unavailable`` naming what is wrong with the artifact.
        """
        self.output_names = tuple(output.name for output in spec.outputs)
        self._shapes = [output.shape for output in spec.outputs]
        self._timeout_seconds = spec.timeout_seconds
        self._labels: dict[str, str | int] = {"model": str(spec.inputs.get("name", "")), "version": spec.number}
        job = make_job(spec, artifact, fields, allow_pickle=allow_pickle)
        self._starter = WorkerStarter(job, self._labels)
        try:
            started = self._starter.start()
        except BaseException:
            self._starter.close()
            raise
        self.ready = started.ready
        self.takes_matrix = started.ready.takes_matrix
        self.dtype = np.dtype(started.ready.dtype)
        self.limits: Sequence[float] = started.ready.limits
        if started.ready.confinement_gap:
            _log.warning("model_less_confined", reason=started.ready.confinement_gap, **self._labels)
        self._child: Child | None = started.child
        self._ready_at = time.monotonic()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runs = RunQueue()
        self._number = 0
        self._heard_at = self._ready_at
        self._strikes = 0
        self._fault: str | None = None
        self._retry_at = 0.0
        self._lock = threading.Lock()
        self._is_restarting = False
        self._is_closed = False

    @property
    def fault(self) -> str | None:
        """Return why it cannot run now, None while it can."""
        return self._fault

    @property
    def process(self) -> int | None:
        """Return the worker's process number, None while there is none."""
        return self._child.process if self._child is not None else None

    async def run_matrix(self, matrix: NDArray[Any]) -> list[NDArray[Any]]:
        """Return one array for each output, its first axis the rows of ``matrix``."""
        return await self._submit(Kind.MATRIX, len(matrix), np.asarray(matrix, self.dtype).tobytes())

    async def run_columns(self, columns: Sequence[Sequence[Any]]) -> list[NDArray[Any]]:
        """Return the outputs for values given by field in signature order."""
        return await self._submit(Kind.COLUMNS, len(columns[0]), pack_columns(columns))

    def close(self) -> None:
        """Let the worker go; runs under way end with ``model_unavailable``."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        loop = self._loop
        if loop is None or loop.is_closed():
            self._let_go()
        else:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._shut)

    def _submit(self, kind: Kind, rows: int, payload: bytes) -> asyncio.Future[Answer]:
        loop = self._loop
        if loop is None:
            loop = self._bind()
        if self._fault is not None or self._is_closed:
            raise self._unavailable()
        self._number = number = (self._number + 1) % _NUMBERS
        run = Run(number, rows, pack(kind, number, rows, payload), loop.create_future())
        self._runs.add(run)
        return run.future

    def _bind(self) -> asyncio.AbstractEventLoop:
        """Listen to the worker from the loop that runs now, and watch over it."""
        loop = self._loop = asyncio.get_running_loop()
        if self._child is not None:
            self._runs.channel = Channel(loop, self._child.connection, self._on_frame, self._on_end)
        low, high = _TICKS
        loop.call_later(min(max(self._timeout_seconds / 4, low), high), self._tick)
        return loop

    def _on_frame(self, frame: Frame) -> None:
        kind, number, rows, payload = frame
        self._heard_at = time.monotonic()
        if kind == Kind.PONG:
            return
        run = self._runs.take(number)
        if not run.future.done():
            try:
                run.future.set_result(self._answer(kind, run, rows, payload))
            except HeadwaterError as error:
                run.future.set_exception(error)
            except (BrokenFrames, msgspec.MsgspecError) as error:
                detail = f"the model's process answered what cannot be read: {error}"
                run.future.set_exception(HeadwaterError("model_failed", detail, hint="the log may say more"))
                raise BrokenFrames(detail) from error
        self._runs.advance()

    def _answer(self, kind: int, run: Run, rows: int, payload: memoryview) -> list[NDArray[Any]]:
        if kind == Kind.OUTPUTS and rows == run.rows:
            return unpack_outputs(payload, rows, self._shapes)
        if kind != Kind.FAILED:
            raise BrokenFrames(f"a frame of kind {kind}")
        failure = msgspec.msgpack.decode(payload, type=Failure)
        if failure.ends:
            _log.warning("model_outgrew_its_memory", detail=failure.detail, **self._labels)
        raise HeadwaterError(failure.code, failure.detail, hint=failure.hint)

    def _on_end(self, *, kill: bool = False) -> None:
        """Replace the worker; what it was running is tried once more."""
        child, self._child = self._child, None
        assert child is not None
        self._strikes = self._strikes + 1 if time.monotonic() - self._ready_at < STEADY_SECONDS else 1
        self._runs.hold_over()
        self._replace(child, kill=kill)

    def _replace(self, child: Child | None, *, kill: bool = False) -> None:
        """Start another worker now, or after a pause if too many died."""
        assert self._loop is not None
        excess = self._strikes - FREE_RESTARTS - 1
        if excess < 0:
            self._restart(child, kill)
            return
        delay = min(_FIRST_DELAY_SECONDS * 2**excess, _MAX_DELAY_SECONDS)
        self._fault = self._fault or "its process keeps ending"
        self._retry_at = time.monotonic() + delay
        _log.warning("model_worker_paused", seconds=delay, reason=self._fault, **self._labels)
        self._runs.fail(self._unavailable())
        self._loop.call_later(delay, self._restart, child, kill)

    def _restart(self, child: Child | None, kill: bool) -> None:
        with self._lock:
            if self._is_closed:
                return
            self._is_restarting = True
        threading.Thread(target=self._start_another, args=(child, kill), name="model-restart", daemon=True).start()

    def _start_another(self, child: Child | None, kill: bool) -> None:
        """In a thread: see the old worker off and bring a new one up."""
        began = time.monotonic()
        if child is not None:
            ended = describe_exit(child.nursery.end(child.process, kill=kill))
            _log.warning("model_worker_ended", pid=child.process, how=ended, **self._labels)
        started: Started | None = None
        error: HeadwaterError | None = None
        try:
            started = self._starter.start()
            ms = round((time.monotonic() - began) * 1_000)
            _log.info("model_worker_started", pid=started.child.process, ms=ms, **self._labels)
        except HeadwaterError as failed:
            error = failed
        except Exception as failed:  # noqa: BLE001 - the thread's only way to tell
            _log.exception("model_worker_not_started", **self._labels)
            error = HeadwaterError("model_unavailable", f"its process cannot be started: {failed}")
        with self._lock:
            self._is_restarting = False
            is_closed = self._is_closed
        assert self._loop is not None
        if not is_closed:
            with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
                self._loop.call_soon_threadsafe(self._on_started, started, error)
                return
        if started is not None:
            self._child = started.child
        self._let_go()

    def _on_started(self, started: Started | None, error: HeadwaterError | None) -> None:
        if started is None:
            self._strikes = max(self._strikes, FREE_RESTARTS) + 1
            self._fault = error.detail if error is not None else None
            self._replace(None)
            return
        self._child = started.child
        if self._is_closed:
            threading.Thread(target=self._let_go, daemon=True).start()
            return
        assert self._loop is not None
        self._ready_at = self._heard_at = time.monotonic()
        self._fault = None
        self._runs.channel = Channel(self._loop, started.child.connection, self._on_frame, self._on_end)
        self._runs.advance()

    def _tick(self) -> None:
        """End a worker that takes too long over a run, or does not answer at all."""
        if self._is_closed or self._loop is None:
            return
        low, high = _TICKS
        self._loop.call_later(min(max(self._timeout_seconds / 4, low), high), self._tick)
        if self._runs.channel is None:
            return
        now = time.monotonic()
        if self._runs.is_running:
            if now - self._runs.head_since > self._timeout_seconds:
                self._time_out()
        elif now - self._heard_at > PROBE_SECONDS + self._timeout_seconds:
            _log.warning("model_worker_silent", **self._labels)
            self._kill()
        elif now - self._heard_at > PROBE_SECONDS:
            self._runs.channel.send(pack(Kind.PING))

    def _time_out(self) -> None:
        run = self._runs.take_oldest()
        if not run.future.done():
            run.future.set_exception(
                HeadwaterError(
                    "model_timeout",
                    f"the model took longer than {self._timeout_seconds:g} s and was stopped",
                    hint="ask for fewer rows, or raise resources.timeout_seconds",
                )
            )
        self._kill()

    def _kill(self) -> None:
        assert self._runs.channel is not None
        self._runs.channel.close()
        self._on_end(kill=True)

    def _unavailable(self) -> HeadwaterError:
        if self._is_closed:
            return HeadwaterError("model_unavailable", "the version is not served any more", retry_after_seconds=1)
        seconds = max(1, round(self._retry_at - time.monotonic()))
        return HeadwaterError(
            "model_unavailable", f"the model cannot run now: {self._fault}", retry_after_seconds=seconds
        )

    def _shut(self) -> None:
        """On the loop: stop listening, tell who waits, and let the worker go in a thread."""
        if self._runs.channel is not None:
            self._runs.channel.close()
            self._runs.channel = None
        self._runs.fail(self._unavailable())
        with self._lock:
            if self._is_restarting:
                return  # the thread that restarts it lets it go
        threading.Thread(target=self._let_go, name="model-close", daemon=True).start()

    def _let_go(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.connection.close()
            child.nursery.end(child.process, kill=True)
        starter, self._starter = self._starter, None  # type: ignore[assignment]
        if starter is not None:
            starter.close()
