"""The part of control that services speak to: signed snapshots by long poll, acknowledgements."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot, public_key_text
from headwater.core.snapshot import Snapshot

TOKEN = "node-token-of-a-test"


class FakeControl:
    """Publishes what tests give it. ``app`` is the ASGI application, ``transport()`` reaches it without a network."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.published: dict[str, tuple[int, SignedSnapshot]] = {}
        self.acks: list[dict[str, Any]] = []
        self.polls = 0
        self.is_down = False
        self.app = Starlette(
            routes=[
                Route("/internal/v1/snapshots", self._list),
                Route("/internal/v1/snapshots/{environment}", self._poll),
                Route("/internal/v1/acks", self._acknowledge, methods=["POST"]),
            ]
        )

    def establish_trust(self, home: Home) -> None:
        home.prepare()
        home.write_secret(home.snapshot_public_key, public_key_text(self.key).encode())
        home.write_secret(home.node_token, TOKEN.encode())

    def publish(self, snapshot: Snapshot, *, key: Ed25519PrivateKey | None = None) -> None:
        signed = SignedSnapshot.sign(snapshot, key or self.key)
        self.published[snapshot.environment.id] = (snapshot.number, signed)

    def transport(self) -> httpx.AsyncBaseTransport:
        return _Switch(self)

    async def _list(self, request: Request) -> Response:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        return JSONResponse(
            {
                "environments": [
                    {"id": environment, "number": number, "sha256": signed.sha256}
                    for environment, (number, signed) in self.published.items()
                ]
            }
        )

    async def _poll(self, request: Request) -> Response:
        self.polls += 1
        deadline = time.monotonic() + float(request.query_params.get("wait", "0"))
        while True:
            found = self.published.get(request.path_params["environment"])
            if found is None:
                return Response(status_code=404)
            if found[1].etag != request.headers.get("if-none-match"):
                return Response(found[1].to_bytes(), headers={"etag": found[1].etag}, media_type="application/json")
            if time.monotonic() >= deadline or self.is_down:
                return Response(status_code=304)
            await asyncio.sleep(0.02)

    async def _acknowledge(self, request: Request) -> Response:
        self.acks.append(await request.json())
        return Response(status_code=204)


class _Switch(httpx.AsyncBaseTransport):
    """Reaches a fake control unless that is down."""

    def __init__(self, control: FakeControl) -> None:
        self._control = control
        self._inner = httpx.ASGITransport(control.app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._control.is_down:
            raise httpx.ConnectError("control is down", request=request)
        return await self._inner.handle_async_request(request)
