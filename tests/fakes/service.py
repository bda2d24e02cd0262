"""A service that compiles what it is told to, with one hot and one documented route."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import Snapshot
from headwater.services.kit.request import authenticate
from headwater.services.kit.service import Caller, HotHandler, Runtime


class FakeService:
    name = "fake"

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.refuse_numbers: set[int] = set()
        self.reasons: list[str] = []
        self.degraded: list[str] = []
        self.released: list[Any] = []
        self.is_started = False

    def compile(self, snapshot: Snapshot, previous: Any | None) -> Any:
        if snapshot.number in self.refuse_numbers:
            raise HeadwaterError("contract_invalid", f"number {snapshot.number} does not please")
        return (previous or ()) + (snapshot.number,)

    def release(self, compiled: Any) -> None:
        self.released.append(compiled)

    def router(self) -> APIRouter:
        router = APIRouter()

        @router.get("/v1/things/{thing}")
        async def get_thing(thing: int, much: int = 1) -> dict[str, int]:
            if thing == 13:
                raise RuntimeError("the secret of the database is hunter2")
            return {"thing": thing, "much": much}

        @router.get("/v1/hot/{thing}")
        async def get_hot(thing: str) -> dict[str, str]:
            return {"thing": thing, "door": "documented"}

        return router

    def hot_routes(self) -> Mapping[tuple[str, str], HotHandler]:
        return {("POST", "/v1/hot/{thing}"): self._hot}

    async def _hot(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:  # noqa: ARG002
        authenticate(self.runtime, scope)
        thing = scope["path_params"]["thing"]
        if thing == "bad":
            raise HeadwaterError("input_invalid", "bad indeed", extra={"errors": [{"row": 1}]})
        if thing == "bug":
            raise RuntimeError("the secret of the database is hunter2")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        if thing == "late":
            raise RuntimeError("too late to say so")
        await send({"type": "http.response.body", "body": thing.encode()})

    def internal_router(self) -> APIRouter | None:
        router = APIRouter()

        @router.get("/fake")
        async def get_fake() -> dict[str, bool]:
            return {"fake": True}

        return router

    def openapi_paths(self, caller: Caller) -> Mapping[str, Any]:
        return {f"/v1/of/{caller.environment.id}": {"get": {"summary": "One's own"}}}

    async def start(self) -> None:
        self.is_started = True

    async def stop(self) -> None:
        self.is_started = False

    def problems(self) -> Sequence[str]:
        return self.reasons

    def degradations(self) -> Sequence[str]:
        return self.degraded
