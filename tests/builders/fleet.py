"""A services process with the models of a test, and an executor that does as it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tests.builders.snapshots import KEY, make_snapshot
from tests.fakes.control import FakeControl
from tests.fakes.process import Process, until

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import ModelSpec
from headwater.services.inference.models import CompiledModels, ServedModel

HEADERS = {"authorization": f"Bearer {KEY}"}
ROWS = {"rows": [{"a": 1, "b": 2}, {"a": 3, "b": 4.5}]}
URL = "/v1/models/delay/predict"


class Fleet:
    """A process with the models of a test."""

    def __init__(self, process: Process, control: FakeControl) -> None:
        self.process = process
        self.control = control
        self.number = 0

    async def deploy(self, *models: ModelSpec, loaded: bool = True, **more: Any) -> None:
        """Serve these models; ``loaded`` waits for those, too, that a snapshot does not wait for."""
        self.number += 1
        self.control.publish(make_snapshot(self.number, models=models, **more))
        await until(lambda: self._in_force() == self.number)
        if loaded:
            await until(lambda: not any(model.is_loading for model in self.compiled.models.values()))

    def _in_force(self) -> int:
        environment = self.process.runtime.environments.get("env_1")
        return environment.snapshot.number if environment else 0

    @property
    def compiled(self) -> CompiledModels:
        compiled: CompiledModels = self.process.runtime.environments["env_1"].compiled["inference"]
        return compiled

    def model(self, name: str = "delay") -> ServedModel:
        return self.compiled.models[name]

    async def predict(self, body: Any = ROWS, url: str = URL, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body)
        return await self.process.http.post(url, content=content, headers=HEADERS | headers)

    async def metrics(self) -> str:
        return (await self.process.http.get("/metrics")).text

    async def logged(self, model: str = "delay") -> list[dict[str, Any]]:
        stream = f"env_1/predictions_{model}"
        blocks = self.process.journal.read(stream, max_rows=1, max_bytes=1)
        rows: list[dict[str, Any]] = []
        for stored in blocks:
            found = pa.ipc.open_stream(stored.block.payload).read_all().to_pylist()
            assert stored.block.rows == len(found)
            rows.extend(found)
        return rows


class Remote:
    """An ``AsyncExecutor`` of two inputs that answers ``number * a`` when it is let."""

    output_names = ("score",)
    takes_matrix = True
    dtype = np.dtype(np.float64)
    limits = (1e300, 1e300)

    def __init__(self, number: int = 1, *, depth: int = 1) -> None:
        self.number = number
        self.depth = depth
        self.fault: str | None = None
        self.runs: list[list[float]] = []
        self.most_at_once = 0
        self.is_closed = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails_at: float | None = None
        self.error: Exception = HeadwaterError("model_failed", "it dislikes this row")
        self._under_way = 0

    async def run_matrix(self, matrix: NDArray[Any]) -> list[NDArray[Any]]:
        assert not self.is_closed
        self.runs.append(matrix[:, 0].tolist())
        self._under_way += 1
        self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            await self.gate.wait()
        finally:
            self._under_way -= 1
        if self.fails_at is not None and (matrix[:, 0] == self.fails_at).any():
            raise self.error
        return [matrix[:, 0] * self.number]

    async def run_columns(self, columns: Sequence[Sequence[Any]]) -> list[NDArray[Any]]:
        raise AssertionError(f"it takes a matrix, not {len(columns)} columns")

    def close(self) -> None:
        self.is_closed = True
