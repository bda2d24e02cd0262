"""Flags through both clients: a value where there is one of the right type, else what the code says."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from headwater.client import ApiError, AsyncClient, Client, RetryPolicy

PATIENT = RetryPolicy(attempts=5, first_seconds=0.01)


class Server:
    """Answers a value by the flag's key; ``gone`` is a flag that is not there, ``busy`` a server that is."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        key = request.url.path.rpartition("/")[2]
        if key == "gone":
            body = {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": "there is no flag 'gone'"}
            return httpx.Response(404, json=body)
        if key == "busy":
            return httpx.Response(503, json={"code": "overloaded", "detail": "busy"})
        values = {"minutes": 15, "share": 0.5, "whole": 2, "on": True, "text": "x", "object": {"a": 1}}
        return httpx.Response(200, json={"key": key, "value": values[key], "variant": "v", "reason": "STATIC"})


CASES: list[tuple[str, Any, Any]] = [
    ("minutes", 30, 15),
    ("share", 0.1, 0.5),
    ("whole", 0.1, 2.0),
    ("on", False, True),
    ("text", "y", "x"),
    ("object", {}, {"a": 1}),
    ("minutes", False, False),
    ("on", 3, 3),
    ("share", 3, 3),
    ("text", 0.5, 0.5),
    ("gone", "fallback", "fallback"),
    ("busy", 7, 7),
]


@pytest.mark.parametrize(("key", "default", "expected"), CASES)
def test_both_clients_answer_the_value_or_the_default(key: str, default: Any, expected: Any) -> None:
    server = Server()
    context = {"targetingKey": "u1", "seats": 180}
    with Client("http://test", "hw_key", retry=PATIENT, transport=httpx.MockTransport(server)) as client:
        value = client.flag(key, default, context)

    async def ask() -> Any:
        async with AsyncClient("http://test", "hw_key", retry=PATIENT, transport=httpx.MockTransport(server)) as client:
            return await client.flag(key, default, context)

    assert (value, type(value)) == (expected, type(expected))
    assert asyncio.run(ask()) == expected
    # Asked once by each: an application does not wait for a flag.
    assert [json.loads(request.content) for request in server.seen] == [{"context": context}] * 2


def test_a_server_that_is_away_means_the_default() -> None:
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("nobody there")

    with Client("http://test", "hw_key", retry=PATIENT, transport=httpx.MockTransport(away)) as client:
        assert client.flag("on", False) is False


def test_details_raise_the_protocols_errors() -> None:
    with Client("http://test", "hw_key", transport=httpx.MockTransport(Server())) as client:
        assert client.flag_details("on")["reason"] == "STATIC"
        with pytest.raises(ApiError) as caught:
            client.flag_details("gone")
    assert (caught.value.status, caught.value.code) == (404, "flag_not_found")
    assert caught.value.detail == "there is no flag 'gone'"
