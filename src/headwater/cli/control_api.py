"""Talks to control's API as the commands need it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import httpx

from headwater.client import ApiError, Unreachable

_CHUNK: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 120.0


class ControlApi:
    """A connection to ``/api/v1`` with an API key."""

    def __init__(self, url: str, api_key: str) -> None:
        """Prepare; nothing is sent yet."""
        self._http = httpx.Client(
            base_url=f"{url}/api/v1",
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(_TIMEOUT_SECONDS, connect=5.0),
        )

    def request(self, method: str, path: str, *, json: Any = None, content: Iterator[bytes] | None = None) -> Any:
        """Send a request and return the answer's JSON.

        Raises:
            ApiError: the answer is an error.
            Unreachable: there is no answer.
        """
        try:
            response = self._http.request(method, path, json=json, content=content)
        except httpx.TransportError as error:
            raise Unreachable(str(self._http.base_url), error) from error
        if not response.is_success:
            raise ApiError.from_response(response)
        return response.json() if response.content else None

    def put_file(self, path: str, file: BinaryIO, advance: Callable[[int], None] = lambda _: None) -> None:
        """Put a file's bytes, a chunk at a time; ``advance`` hears of each. Errors are as in ``request``."""

        def chunks() -> Iterator[bytes]:
            while chunk := file.read(_CHUNK):
                yield chunk
                advance(len(chunk))

        self.request("PUT", path, content=chunks())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()
