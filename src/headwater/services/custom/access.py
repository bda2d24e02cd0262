"""What a project's own route may ask for: the caller, a permission, and the platform on the caller's behalf."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Final

import httpx
from fastapi import Depends, Request

from headwater.client import ApiError, AsyncClient
from headwater.core.errors import PROBLEMS, HeadwaterError
from headwater.core.permissions import PERMISSIONS
from headwater.services.kit.request import context_of
from headwater.services.kit.service import Caller

#: Where the scope keeps the application that a file's own is part of.
PLATFORM: Final = "headwater.platform"
#: Where requests to this very process go; no network is asked.
_HERE: Final = "http://headwater.internal"


def caller_of(request: Request) -> Caller:
    """Return who sends this request; raises ``unauthenticated`` on a public route that was called without a key."""
    caller = context_of(request.scope).caller
    if caller is None:
        raise HeadwaterError("unauthenticated", "this route needs a caller", hint="send Authorization: Bearer hw_…")
    return caller


async def platform_of(request: Request) -> AsyncIterator[AsyncClient]:
    """Yield a client of this process with the caller's own key; its errors are the route's, unless the route acts."""
    caller_of(request)
    key = request.headers["authorization"].partition(" ")[2].strip()
    transport = httpx.ASGITransport(request.scope[PLATFORM])
    async with AsyncClient(_HERE, key, transport=transport) as client:
        try:
            yield client
        except ApiError as error:
            if error.code not in PROBLEMS:
                raise
            raise HeadwaterError(error.code, error.detail, hint=error.hint) from error


CurrentCaller = Annotated[Caller, Depends(caller_of)]
"""The key that a request came with, and its environment."""

Platform = Annotated[AsyncClient, Depends(platform_of)]
"""The client of this process, with the caller's key and so with the caller's permissions."""


def need(permission: str, resource: str) -> object:
    """Return a dependency that lets only callers with ``permission`` on ``resource`` pass.

    Raises:
        HeadwaterError: ``invalid_parameter`` at once when there is no such permission.
    """
    if permission not in PERMISSIONS:
        raise HeadwaterError("invalid_parameter", f"{permission!r} is not a permission")

    def check(caller: CurrentCaller) -> None:
        demand(caller, permission, resource)

    return Depends(check)


def demand(caller: Caller, permission: str, resource: str) -> None:
    """Let ``caller`` pass or raise ``forbidden``."""
    if not caller.key.can(permission, resource):
        raise HeadwaterError(
            "forbidden",
            f"the key {caller.key.prefix} lacks {permission} on {resource}",
            hint="grant its owner a role that has it",
        )
