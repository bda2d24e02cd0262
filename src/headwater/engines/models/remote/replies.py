"""Replies of other servers, read no further than the operator lets them go on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import httpx

from headwater.core.errors import HeadwaterError

#: Asked of every server: what is compressed grows to a thousand times its size while it is read.
PLAIN: Final = {"accept-encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply."""

    status_code: int
    content: bytes
    headers: httpx.Headers


class ReplyReader:
    """Reads replies of at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        """Hold on to the limit."""
        self._limit = limit

    def ask(self, client: httpx.Client, method: str, url: str, *, seconds: float, **request: Any) -> Reply:
        """Return what ``url`` answers, all of it within ``seconds`` after its head.

        Raises:
            HeadwaterError: ``model_failed`` for a reply that is too long, or compressed.
            httpx.HTTPError: for one that does not come.
        """
        with client.stream(method, url, **request) as response:
            self._judge(response)
            content, ends = bytearray(), time.monotonic() + seconds
            for part in response.iter_raw():
                self._add(content, part, response)
                if time.monotonic() > ends:
                    raise httpx.ReadTimeout(f"the reply goes on for more than {seconds:g} s", request=response.request)
        return Reply(response.status_code, bytes(content), response.headers)

    async def ask_async(self, client: httpx.AsyncClient, method: str, url: str, **request: Any) -> Reply:
        """Do the same in an event loop, whose caller minds the time."""
        async with client.stream(method, url, **request) as response:
            self._judge(response)
            content = bytearray()
            async for part in response.aiter_raw():
                self._add(content, part, response)
        return Reply(response.status_code, bytes(content), response.headers)

    def _judge(self, response: httpx.Response) -> None:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise HeadwaterError(
                "model_failed",
                f"{response.url} answered with content-encoding {encoding[:50]!r}, which it was asked not to use",
                hint="let that server, and what stands before it, send replies as they are",
            )
        length = response.headers.get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self._limit:
            raise self._too_long(response)

    def _add(self, content: bytearray, part: bytes, response: httpx.Response) -> None:
        if len(content) + len(part) > self._limit:
            raise self._too_long(response)
        content += part

    def _too_long(self, response: httpx.Response) -> HeadwaterError:
        return HeadwaterError(
            "model_failed",
            f"{response.url} answered {response.status_code} with more than {self._limit:,} bytes",
            hint="let the operator raise inference.remote_reply_bytes, or let the model give less",
        )
