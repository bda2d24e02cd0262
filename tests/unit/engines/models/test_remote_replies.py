from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from tests.builders.executors import spec_of
from tests.builders.frameworks import A, B
from tests.builders.onnx_models import linear
from tests.fakes.oip_server import OipServer, oip_server

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import OutputSpec
from headwater.engines.models import open_executor
from headwater.engines.models.remote.executor import RemoteExecutor
from headwater.engines.models.remote.replies import ReplyReader

ROW = np.array([[1.0, 2.0]])
URL = "http://models.example/v2"


@pytest.fixture
def server() -> Iterator[OipServer]:
    with oip_server(linear([1, 10])) as running:
        yield running


def _open(server: OipServer, limit: int, **members: Any) -> RemoteExecutor:
    spec = spec_of(
        "remote", (A, B), (OutputSpec(name="score", type="number"),),
        options={"url": server.url, "model": "delay"}, **members,
    )  # fmt: skip
    settings = InferenceSettings(remote_networks=("127.0.0.0/8",), remote_reply_bytes=limit)
    opened = open_executor(spec, None, (A, B), settings=settings)
    assert isinstance(opened, RemoteExecutor)
    return opened


async def test_an_answer_that_is_too_long_is_told_and_the_next_one_is_read(server: OipServer) -> None:
    executor = _open(server, 2_000)
    server.replies += [(200, b"x" * 2_001), (500, b"x" * 2_001)]
    for _ in range(2):
        with pytest.raises(HeadwaterError, match="with more than 2,000 bytes") as refused:
            await executor.run_matrix(ROW)
        assert refused.value.code == "model_failed"
        assert "inference.remote_reply_bytes" in str(refused.value.hint)
    assert executor.fault is None
    [scores] = await executor.run_matrix(ROW)
    assert scores.tolist() == [21]
    executor.close()
    await asyncio.sleep(0.01)


def test_a_first_answer_that_is_too_long_refuses_the_version(server: OipServer) -> None:
    server.replies += [(200, b"x" * 2_001)]
    with pytest.raises(HeadwaterError, match="with more than 2,000 bytes") as refused:
        _open(server, 2_000)
    assert refused.value.code == "model_unavailable"
    assert "inference.remote_reply_bytes" in str(refused.value.hint)


def test_a_description_that_is_too_long_refuses_the_version(server: OipServer) -> None:
    server.extensions = ["x" * 2_000]
    with pytest.raises(HeadwaterError, match="answered 200 with more than 2,000 bytes") as refused:
        _open(server, 2_000)
    assert refused.value.code == "model_unavailable"


class Parts(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body without a length, which counts how much of it was taken."""

    def __init__(self, count: int, pause: float = 0) -> None:
        self.count, self.pause, self.taken = count, pause, 0

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self.count):
            time.sleep(self.pause)
            self.taken += 1
            yield b"x" * 100

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


def _answering(stream: Parts) -> httpx.MockTransport:
    return httpx.MockTransport(lambda _request: httpx.Response(200, stream=stream))


async def test_a_reply_without_a_length_is_read_no_further_than_the_limit() -> None:
    once, twice = Parts(1_000), Parts(1_000)
    with httpx.Client(transport=_answering(once)) as client, pytest.raises(HeadwaterError, match="more than 1,000"):
        ReplyReader(1_000).ask(client, "GET", URL, seconds=5)
    async with httpx.AsyncClient(transport=_answering(twice)) as asynchronous:
        with pytest.raises(HeadwaterError, match="more than 1,000"):
            await ReplyReader(1_000).ask_async(asynchronous, "GET", URL)
    assert (once.taken, twice.taken) == (11, 11)


def test_a_reply_as_long_as_the_limit_is_read() -> None:
    with httpx.Client(transport=_answering(Parts(10))) as client:
        assert ReplyReader(1_000).ask(client, "GET", URL, seconds=5).content == b"x" * 1_000


def test_a_reply_that_goes_on_and_on_is_left() -> None:
    stream = Parts(1_000, pause=0.01)
    with httpx.Client(transport=_answering(stream)) as client, pytest.raises(httpx.ReadTimeout, match="goes on for"):
        ReplyReader(1_000_000).ask(client, "GET", URL, seconds=0.05)
    assert stream.taken < 100


def test_a_reply_that_would_grow_while_it_is_read_is_refused() -> None:
    bomb = gzip.compress(b"\x00" * 1_000_000)
    reply = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(bomb))
    with (
        httpx.Client(transport=httpx.MockTransport(lambda _request: reply)) as client,
        pytest.raises(HeadwaterError, match="content-encoding 'gzip'"),
    ):
        ReplyReader(1_000_000).ask(client, "GET", URL, seconds=5)
