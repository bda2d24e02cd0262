"""Shadow versions: asked after the reply, as long as that takes nothing from those who wait for theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from headwater.core.logging import get_logger
from headwater.services.inference.asking import Answer, Asked, Reader
from headwater.services.inference.metrics import InferenceMetrics
from headwater.services.inference.models import ServedModel
from headwater.services.inference.routing import is_sampled
from headwater.services.inference.version import ServedVersion

MAX_TASKS: Final = 64
MAX_ROWS: Final = 4_096

_log = get_logger(__name__)

Run = Callable[[Asked, ServedVersion, Answer, Reader], Awaitable[None]]


class Shadows:
    """Asks shadow versions in tasks of their own; what there is no room for is dropped and counted."""

    def __init__(self, run: Run, metrics: InferenceMetrics) -> None:
        """Ask by ``run``."""
        self._run = run
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()
        self._rows = 0

    @staticmethod
    def are_due(model: ServedModel, version: ServedVersion, identity: str) -> bool:
        """Return whether some shadow would see the request whose first prediction this version named so."""
        key = identity.encode()
        return any(route.version is not version and is_sampled(key, route.weight_bps) for route in model.shadows)

    def see(self, asked: Asked, answer: Answer, reader: Reader) -> None:
        """Let the shadows of a model see an answered request, as far as it belongs to their share."""
        rows = len(answer.ids)
        if not rows:
            return
        for route in asked.model.shadows:
            if route.version is answer.route.version or not is_sampled(answer.ids[0].encode(), route.weight_bps):
                continue
            if len(self._tasks) >= MAX_TASKS or self._rows + rows > MAX_ROWS or route.version.batcher.is_full:
                self._metrics.shadow_dropped(asked.caller.environment.id, asked.model.spec.name, route.version.number)
                continue
            self._rows += rows
            asked.compiled.enter()  # its versions stay until it is done
            task = asyncio.get_running_loop().create_task(self._ask(asked, route.version, answer, reader))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Wait for what is under way, a moment."""
        if self._tasks:
            _done, pending = await asyncio.wait(self._tasks, timeout=1.0)
            for task in pending:
                task.cancel()

    async def _ask(self, asked: Asked, version: ServedVersion, answer: Answer, reader: Reader) -> None:
        try:
            await self._run(asked, version, answer, reader)
        except Exception:  # noqa: BLE001 - nobody waits for a shadow
            _log.exception("shadow_failed", model=version.model, version=version.number)
        finally:
            self._rows -= len(answer.ids)
            asked.compiled.leave()
