"""Both clients start jobs, look at them, wait for them and cancel them."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

import httpx

from headwater.client import AsyncClient, Client, RetryPolicy

STATES = ("queued", "running", "succeeded")


class Server:
    """Answers for one job, whose state moves on each time it is looked at."""

    def __init__(self) -> None:
        self.seen: list[httpx.Request] = []
        self._states = iter(STATES)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        if request.method == "POST":
            # The first answer is lost on the way.
            return httpx.Response(503 if len(self.seen) == 1 else 202, json={"job": "job_1", "status_url": "…"})
        if request.url.path == "/v1/jobs":
            return httpx.Response(200, json={"jobs": [{"job": "job_1"}]})
        state = "cancelled" if request.method == "DELETE" else next(self._states)
        return httpx.Response(200, json={"job": "job_1", "state": state})


QUICK = RetryPolicy(attempts=3, first_seconds=0.001, longest_seconds=0.002)
SINCE = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)


def check(server: Server) -> None:
    first, again = server.seen[:2]
    assert first.url.path == "/v1/models/delay/versions/2/batch"
    assert json.loads(first.content) == {
        "dataset": "flights",
        "since": "2026-05-01T00:00:00+00:00",
        "columns": {"a": "b"},
        "on_error": "null",
    }
    # Sent again it is the same request, so there is one job.
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]
    assert first.content == again.content


def test_the_client_that_blocks() -> None:
    server = Server()
    with Client("http://test", "hw_key", retry=QUICK, transport=httpx.MockTransport(server)) as client:
        job = client.batch("delay", "flights", version=2, since=SINCE, columns={"a": "b"}, on_error="null")
        assert job == "job_1"
        assert client.wait_for_job(job, poll_seconds=0.001)["state"] == "succeeded"
        assert client.jobs(limit=3) == [{"job": "job_1"}]
        assert client.cancel_job(job)["state"] == "cancelled"
    check(server)


async def test_the_client_for_asyncio() -> None:
    server = Server()
    async with AsyncClient("http://test", "hw_key", retry=QUICK, transport=httpx.MockTransport(server)) as client:
        job = await client.batch("delay", "flights", version=2, since=SINCE, columns={"a": "b"}, on_error="null")
        assert job == "job_1"
        async with asyncio.timeout(5):
            assert (await client.wait_for_job(job, poll_seconds=0.001))["state"] == "succeeded"
        assert await client.jobs(limit=3) == [{"job": "job_1"}]
        assert (await client.cancel_job(job))["state"] == "cancelled"
    check(server)
