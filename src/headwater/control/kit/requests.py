"""What is known about the request at hand, wherever the code that asks happens to run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

import structlog


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The id that ties log lines and audit rows together, and where the request came from."""

    request_id: str = ""
    ip: str = ""


_NONE: Final = RequestContext()
_current: ContextVar[RequestContext] = ContextVar("headwater_request", default=_NONE)


def current_request() -> RequestContext:
    """Return the request being served, or an empty one outside of any."""
    return _current.get()


@contextmanager
def serving(request: RequestContext) -> Iterator[None]:
    """Mark everything inside as done for ``request``."""
    token = _current.set(request)
    try:
        with structlog.contextvars.bound_contextvars(request_id=request.request_id):
            yield
    finally:
        _current.reset(token)
