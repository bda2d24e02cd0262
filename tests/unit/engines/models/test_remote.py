from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.builders.executors import spec_of
from tests.builders.frameworks import MIXED, A, B
from tests.builders.onnx_models import by_field, linear
from tests.fakes.oip_server import OipServer, oip_server

from headwater.contracts.model import Field, LogicalType
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import InferenceSettings
from headwater.core.snapshot import OutputSpec
from headwater.engines.models import open_executor
from headwater.engines.models.remote import breaker as breaker_module
from headwater.engines.models.remote.breaker import FAILURES, CircuitBreaker
from headwater.engines.models.remote.codec import UnreadableReply, decode_reply
from headwater.engines.models.remote.executor import RemoteExecutor

SCORE = OutputSpec(name="score", type="number")
ROW = np.array([[1.0, 2.0]])


@pytest.fixture
def server() -> Iterator[OipServer]:
    with oip_server(linear([1, 10])) as running:
        yield running


def _open(url: str, fields: Any = (A, B), outputs: Any = (SCORE,), **members: Any) -> RemoteExecutor:
    options = {"url": url, "model": "delay", **members.pop("options", {})}
    spec = spec_of("remote", fields, outputs, options=options, **members)
    settings = InferenceSettings(
        remote_networks=("127.0.0.0/8",), remote_variables=("MODELS_TOKEN", "NO_SUCH_VARIABLE")
    )
    opened = open_executor(spec, None, fields, settings=settings)
    assert isinstance(opened, RemoteExecutor)
    return opened


async def _failure(executor: RemoteExecutor) -> HeadwaterError:
    with pytest.raises(HeadwaterError) as refused:
        await executor.run_matrix(ROW)
    return refused.value


def _is_well(executor: RemoteExecutor) -> bool:
    return executor.fault is None


async def _close(executor: RemoteExecutor) -> None:
    executor.close()
    await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("fields", "outputs", "options", "complaint"),
    [
        ((A,), (SCORE,), {}, "the signature has 1 inputs"),
        ((A, Field("t", LogicalType.STRING)), (SCORE,), {}, "matrix of FP32 and t do not fit"),
        ((A, B), (SCORE.model_copy(update={"source": "other"}),), {}, "no output 'other', only score"),
        ((A, B), (OutputSpec(name="score", type="boolean"),), {}, "the signature says boolean"),
        ((A, B), (SCORE,), {"model": "other"}, "answered 404: no such model"),
        ((A, B), (SCORE,), {"headers_from_env": {"X-Token": "NO_SUCH_VARIABLE"}}, "NO_SUCH_VARIABLE, which is not set"),
        ((A, B), (SCORE,), {"headers_from_env": {"X-Token": "PATH"}}, "PATH, which models may not send"),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_opened(
    server: OipServer, fields: Any, outputs: Any, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(HeadwaterError) as refused:
        _open(server.url, fields, outputs, options=options)
    assert refused.value.code == "model_unavailable"
    assert complaint in refused.value.detail
    assert refused.value.hint


def test_a_tensor_for_each_field_must_be_able_to_say_what_is_missing() -> None:
    optional = [Field("count", LogicalType.INTEGER, nullable=True), MIXED[0], MIXED[2]]
    with oip_server(by_field()) as server, pytest.raises(HeadwaterError) as refused:
        _open(server.url, optional, [OutputSpec(name="total", type="number")])
    assert "it takes INT64, which cannot say that count is missing" in refused.value.detail


def test_a_server_that_is_not_there_is_worth_another_try() -> None:
    with oip_server(linear([1, 10])) as server:
        url = server.url
    with pytest.raises(HeadwaterError, match="does not answer") as refused:
        _open(url)
    assert refused.value.retry_after_seconds


async def test_a_header_comes_from_the_environment(server: OipServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_TOKEN", "Bearer t")
    executor = _open(server.url, options={"headers_from_env": {"Authorization": "MODELS_TOKEN"}})
    await executor.run_matrix(ROW)
    assert {headers["authorization"] for _path, headers in server.asked} == {"Bearer t"}
    await _close(executor)


async def test_a_connection_that_breaks_is_tried_once_more(server: OipServer) -> None:
    executor = _open(server.url)
    server.replies += [None]
    [scores] = await executor.run_matrix(ROW)
    assert scores.tolist() == [21]
    server.replies += [None, None]
    assert (await _failure(executor)).code == "model_unavailable"
    await _close(executor)


@pytest.mark.parametrize(
    ("status", "body", "code", "complaint"),
    [
        (400, b'{"error": "bad shape"}', "model_failed", "answered 400: bad shape"),
        (500, b"oops", "model_failed", "answered 500: oops"),
        (503, b'{"detail": "loading"}', "model_unavailable", "answered 503: loading"),
        (200, b"[]", "model_failed", "cannot be read"),
        (200, b'{"outputs": []}', "model_failed", "gave no 'score'"),
        (
            200,
            b'{"outputs": [{"name": "score", "datatype": "FP32", "shape": [2], "data": [1]}]}',
            "model_failed",
            "read",
        ),
        (200, b'{"outputs": [{"name": "score", "datatype": "X", "shape": [1], "data": [1]}]}', "model_failed", "read"),
        (
            200,
            b'{"outputs": [{"name": "score", "datatype": "FP32", "shape": [2], "data": [1, 2]}]}',
            "model_failed",
            "is 2 for 1 row",
        ),
    ],
)
async def test_a_bad_answer_is_told(server: OipServer, status: int, body: bytes, code: str, complaint: str) -> None:
    executor = _open(server.url)
    server.replies += [(status, body)]
    error = await _failure(executor)
    assert error.code == code
    assert complaint in error.detail
    [scores] = await executor.run_matrix(ROW)
    assert scores.tolist() == [21]
    await _close(executor)


async def test_a_server_that_does_not_answer_in_time_is_told(server: OipServer) -> None:
    executor = _open(server.url, timeout_seconds=0.2)
    server.delay = 0.5
    began = time.monotonic()
    error = await _failure(executor)
    assert (error.code, time.monotonic() - began < 0.45) == ("model_timeout", True)
    await _close(executor)


async def test_a_server_that_keeps_failing_is_left_alone_and_tried_again(
    server: OipServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker_module, "FIRST_PAUSE_SECONDS", 0.2)
    executor = _open(server.url)
    server.replies += [(503, b"down")] * FAILURES
    for _ in range(FAILURES):
        await _failure(executor)
    assert not _is_well(executor)
    asked = len(server.asked)
    error = await _failure(executor)
    assert (error.code, error.retry_after_seconds) == ("model_unavailable", 1)
    assert len(server.asked) == asked
    await asyncio.sleep(0.25)
    [scores] = await executor.run_matrix(ROW)
    assert scores.tolist() == [21]
    assert _is_well(executor)
    await _close(executor)


def test_a_breaker_lets_one_through_after_each_pause_and_pauses_longer() -> None:
    now = 100.0
    breaker = CircuitBreaker(lambda: now)
    for _ in range(FAILURES):
        assert breaker.lets_through()
        breaker.failed("down")
    assert not breaker.lets_through()
    now += breaker_module.FIRST_PAUSE_SECONDS
    assert breaker.lets_through()
    assert not breaker.lets_through()
    breaker.failed("still down")
    assert breaker.seconds_left == 2 * breaker_module.FIRST_PAUSE_SECONDS
    for _ in range(20):
        breaker.failed("down for long")
    assert breaker.seconds_left == breaker_module.MAX_PAUSE_SECONDS
    breaker.succeeded()
    assert breaker.lets_through()
    assert breaker.reason is None


_BINARY = b'{"outputs":[{"name":"s","datatype":"%s","shape":[%d],"parameters":{"binary_data_size":%d}}]}'


@pytest.mark.parametrize(
    ("head", "rest"),
    [(_BINARY % (b"FP32", 2, 4), b"1234"), (_BINARY % (b"FP32", 2, 8), b"1234"), (_BINARY % (b"BYTES", 1, 3), b"abc")],
)
def test_tensors_of_another_length_are_refused(head: bytes, rest: bytes) -> None:
    with pytest.raises(UnreadableReply):
        decode_reply(head + rest, str(len(head)))


@pytest.mark.parametrize(("body", "length"), [(b'{"outputs": 5}', None), (b"{}", "x"), (b"{}", "9"), (b"", None)])
def test_a_reply_that_is_none_is_refused(body: bytes, length: str | None) -> None:
    with pytest.raises(UnreadableReply):
        decode_reply(body, length)
