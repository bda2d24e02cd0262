"""The documented routes of flags; the two evaluations answer from the same handlers as the hot ones."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headwater.core.clock import epoch_micros
from headwater.core.errors import HeadwaterError
from headwater.core.flags import FlagSpec
from headwater.core.ids import new_id
from headwater.core.streams import EXPOSURES, stream_name
from headwater.services.flags.catalog import PERMISSION, ServedFlags, refusal
from headwater.services.flags.exposures import Exposure, ExposureCommit
from headwater.services.kit.asgi import HandlerResponse
from headwater.services.kit.request import authenticate, document_of, read_document
from headwater.services.kit.service import Caller, HotHandler, Runtime

MAX_REPORTED: Final = 500
_CONTEXT: Final = {
    "type": "object",
    "properties": {
        "context": {
            "type": "object",
            "description": "Attributes that rules look at",
            "properties": {"targetingKey": {"type": "string", "description": "Who is asked about"}},
            "additionalProperties": True,
        }
    },
}
_BODY: Final = {"requestBody": {"required": True, "content": {"application/json": {"schema": _CONTEXT}}}}


class FlagOut(BaseModel):
    """A flag that the key may evaluate."""

    key: str
    type: str
    variants: dict[str, Any]
    enabled: bool
    description: str
    revision: int


class SeenIn(BaseModel):
    """Somebody saw a variant."""

    model_config = ConfigDict(extra="forbid")

    flag: str = Field(max_length=100)
    variant: str = Field(max_length=63)
    targetingKey: str = Field(min_length=1, max_length=1_000)  # noqa: N815 - the protocol's own word


class SeenListIn(BaseModel):
    """What was seen since the last report."""

    model_config = ConfigDict(extra="forbid")

    exposures: list[SeenIn] = Field(min_length=1, max_length=MAX_REPORTED)


class SeenOut(BaseModel):
    """What became of the exposures: the first of an hour is accepted, its like are duplicates."""

    receipt: str
    received: int
    accepted: int
    duplicate: int


def flags_router(runtime: Runtime, one: HotHandler, every: HotHandler, service: str) -> APIRouter:
    """Return the routes of the flag service."""
    router = APIRouter(tags=["flags"])

    @router.post("/ofrep/v1/evaluate/flags/{key}", openapi_extra=_BODY)
    async def evaluate_flag(key: str) -> Response:  # noqa: ARG001 - the handler reads the path
        """Evaluate one flag for a context (OpenFeature Remote Evaluation Protocol)."""
        return HandlerResponse(one)

    @router.post("/ofrep/v1/evaluate/flags", openapi_extra=_BODY)
    async def evaluate_flags() -> Response:
        """Evaluate every flag for a context; 304 where the answer is the one that If-None-Match names."""
        return HandlerResponse(every)

    @router.get("/v1/flags", response_model=list[FlagOut])
    async def list_flags(request: Request) -> list[FlagOut]:
        """List the flags that the key may evaluate."""
        caller = authenticate(runtime, request.scope)
        served: ServedFlags = caller.environment.compiled[service]
        return [_show(spec) for key, spec in sorted(served.specs.items()) if caller.key.can(PERMISSION, key)]

    @router.post("/v1/flags/exposures", response_model=SeenOut, openapi_extra=document_of(SeenListIn))
    async def report_exposures(request: Request) -> SeenOut:
        """Report who saw which variants, for clients that evaluate by themselves; durable once it is answered."""
        caller = authenticate(runtime, request.scope)
        seen = await read_document(request, SeenListIn)
        served: ServedFlags = caller.environment.compiled[service]
        at_us = epoch_micros(runtime.clock.now())
        exposures = [_exposure(caller, served, item, at_us) for item in seen.exposures]
        commit = ExposureCommit(
            stream_name(caller.environment.id, EXPOSURES), exposures, caller.environment.snapshot.number, at_us,
            new_id("rcp"), caller.key.principal_id,
        )  # fmt: skip
        await asyncio.wrap_future(runtime.committer.submit(commit))
        accepted, received = commit.written.total(), len(exposures)
        return SeenOut(receipt=commit.receipt_id, received=received, accepted=accepted, duplicate=received - accepted)

    return router


def _exposure(caller: Caller, served: ServedFlags, item: SeenIn, at_us: int) -> Exposure:
    if not caller.key.can(PERMISSION, item.flag):
        raise refusal(caller, item.flag)
    spec = served.specs.get(item.flag)
    if spec is None:
        raise caller.environment.missing("flag_not_found", f"there is no flag {item.flag!r}", hint="GET /v1/flags")
    if item.variant not in spec.variants:
        known = ", ".join(spec.variants)
        raise HeadwaterError(
            "invalid_parameter", f"flag {item.flag!r} has no variant {item.variant!r}", hint=f"one of: {known}"
        )
    return Exposure(
        item.flag, item.variant, item.targetingKey, None, None, spec.revision, at_us, caller.key.principal_id
    )


def _show(spec: FlagSpec) -> FlagOut:
    return FlagOut(
        key=spec.key, type=spec.type, variants=spec.variants, enabled=spec.enabled, description=spec.description,
        revision=spec.revision,
    )  # fmt: skip
