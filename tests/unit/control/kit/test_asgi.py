"""The limit on bodies in front of Django: nothing too large is written down, whoever sends it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.control.asgi import BodyLimit
from headwater.core.errors import HeadwaterError

MIB = 1 << 20


class Inner:
    """An application that reads its whole body."""

    def __init__(self) -> None:
        self.read = 0
        self.finished = False

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            self.read += len(message.get("body", b""))
            more = message.get("more_body", False)
        self.finished = True
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


async def send_body(path: str, mebibytes: int, *, declared: bool, admit: Any = None) -> tuple[Inner, list[Any]]:
    inner, sent, left = Inner(), [], mebibytes

    async def receive() -> Any:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b"x" * MIB, "more_body": left > 0}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", str(mebibytes * MIB).encode())] if declared else []
    await BodyLimit(inner, admit or anybody)({"type": "http", "path": path, "headers": headers}, receive, send)
    return inner, sent


def anybody(_scope: Any) -> None:
    pass


def nobody(_scope: Any) -> None:
    raise HeadwaterError("unauthenticated")


@pytest.mark.parametrize(("path", "mebibytes"), [("/api/v1/apply", 33), ("/accounts/login/", 33), ("/api/v1/art", 40)])
async def test_a_body_that_says_it_is_too_large_is_not_read(path: str, mebibytes: int) -> None:
    inner, sent = await send_body(path, mebibytes, declared=True)
    assert (inner.read, sent[0]["status"]) == (0, 413)
    problem = json.loads(sent[1]["body"])
    assert (problem["code"], problem["instance"]) == ("payload_too_large", path)
    assert "32 MiB" in problem["detail"]


async def test_a_body_that_does_not_say_is_read_up_to_the_limit() -> None:
    inner, sent = await send_body("/api/v1/apply", 1_000, declared=False)
    assert sent[0]["status"] == 413
    assert inner.read == 32 * MIB
    assert not inner.finished


@pytest.mark.parametrize(("path", "mebibytes"), [("/api/v1/apply", 32), ("/api/v1/artifacts/abc", 100)])
async def test_what_may_come_comes_through(path: str, mebibytes: int) -> None:
    inner, sent = await send_body(path, mebibytes, declared=True)
    assert (inner.read, sent[0]["status"]) == (mebibytes * MIB, 200)


async def test_an_artifact_has_a_limit_of_its_own(settings: Any) -> None:
    settings.MAX_ARTIFACT_BYTES = 40 * MIB
    inner, sent = await send_body("/api/v1/artifacts/abc", 41, declared=False)
    assert (inner.read, sent[0]["status"]) == (40 * MIB, 413)


@pytest.mark.parametrize("declared", [True, False])
async def test_an_artifact_of_somebody_who_may_not_put_it_is_not_read(*, declared: bool) -> None:
    inner, sent = await send_body("/api/v1/artifacts/abc", 100, declared=declared, admit=nobody)
    assert (inner.read, sent[0]["status"]) == (0, 401)
    assert json.loads(sent[1]["body"])["code"] == "unauthenticated"
    assert (b"connection", b"close") in sent[0]["headers"]
    assert (b"www-authenticate", b"Bearer") in sent[0]["headers"]
    inner, sent = await send_body("/api/v1/apply", 1, declared=declared, admit=nobody)
    assert sent[0]["status"] == 200


async def test_a_transfer_coding_besides_chunked_is_refused() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"transfer-encoding", b"gzip, chunked")]
    await BodyLimit(Inner(), anybody)({"type": "http", "path": "/api/v1/apply", "headers": headers}, None, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 501
