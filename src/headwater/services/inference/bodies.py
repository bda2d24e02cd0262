"""Reading bodies within bounds: of one body, of all bodies under way in the process, and of patience."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections.abc import Awaitable, Callable
from typing import Any, Final

from headwater.core.errors import HeadwaterError
from headwater.services.kit.exchange import TAKE_BODY
from headwater.services.kit.service import ASGIScope

Receive = Callable[[], Awaitable[dict[str, Any]]]
MAX_BODY_BYTES: Final = 8 << 20
MAX_DECOMPRESSED_BYTES: Final = 32 << 20
_WINDOWS: Final = {b"gzip": 31, b"deflate": 15}


class ClientGone(Exception):
    """The client closed the connection; nobody waits for an answer."""


class Budget:
    """The bytes of all bodies under way in one process. Used from one event loop."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        """Hold at most ``limit`` bytes, or one body that comes alone."""
        self.limit = limit
        self.held = 0

    def check(self, size: int, own: int = 0) -> None:
        """Raise ``overloaded`` when ``size`` more bytes are not to be had by who holds ``own`` of them."""
        if self.held > own and self.held + size > self.limit:
            raise HeadwaterError(
                "overloaded",
                "too many bytes are being read at once",
                hint="try again shortly, or send smaller batches",
                retry_after_seconds=random.randint(1, 3),  # noqa: S311 - so that not all come back at once
            )


class Body:
    """One request's body, and its share of the budget until ``close``."""

    __slots__ = ("_budget", "_held")

    def __init__(self, budget: Budget) -> None:
        """Begin with nothing read."""
        self._budget = budget
        self._held = 0

    async def read(self, scope: ASGIScope, receive: Receive, declared: bytes | None, stall_seconds: float) -> bytes:
        """Return the whole body as sent.

        Args:
            scope: the request.
            receive: its channel.
            declared: the Content-Length.
            stall_seconds: the longest silence between two pieces.

        Raises:
            HeadwaterError: ``payload_too_large``, ``invalid_header``, ``overloaded``, or ``request_timeout``.
            ClientGone: the connection closed.
        """
        if declared is not None:
            if not declared.isdigit():
                raise HeadwaterError("invalid_header", "Content-Length must be a whole number")
            _check_size(int(declared))
            self._budget.check(int(declared))
        take = scope.get(TAKE_BODY)
        if take is not None and (whole := take()) is not None:
            _check_size(len(whole))
            self._hold(len(whole))
            return bytes(whole)
        return await self._receive(receive, stall_seconds)

    def expand(self, data: bytes, encoding: bytes) -> bytes:
        """Return the body without its Content-Encoding.

        Raises:
            HeadwaterError: ``unsupported_encoding``, ``malformed_body``, ``decompressed_too_large``, ``overloaded``.
        """
        coding = encoding.strip().lower()
        if coding in {b"", b"identity"}:
            return data
        window = _WINDOWS.get(coding)
        if window is None:
            raise HeadwaterError(
                "unsupported_encoding",
                f"the encoding {encoding[:40].decode('latin-1')!r} is not known",
                hint="use gzip or deflate, or none",
            )
        decompressor = zlib.decompressobj(window)
        try:
            plain = decompressor.decompress(data, MAX_DECOMPRESSED_BYTES + 1)
        except zlib.error as error:
            raise HeadwaterError("malformed_body", f"the body is not {coding.decode()}: {error}") from error
        if len(plain) > MAX_DECOMPRESSED_BYTES:
            raise HeadwaterError(
                "decompressed_too_large", f"a body may have {MAX_DECOMPRESSED_BYTES:,} bytes once decompressed"
            )
        if not decompressor.eof or decompressor.unused_data:
            raise HeadwaterError("malformed_body", f"the body is not one whole {coding.decode()} stream")
        self._hold(len(plain))
        return plain

    def close(self) -> None:
        """Give the share of the budget back; idempotent."""
        self._budget.held -= self._held
        self._held = 0

    async def _receive(self, receive: Receive, stall_seconds: float) -> bytes:
        loop = asyncio.get_running_loop()
        chunks: list[bytes] = []
        try:
            async with asyncio.timeout(stall_seconds) as patience:
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    chunk = message.get("body", b"")
                    _check_size(self._held + len(chunk))
                    self._hold(len(chunk))
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        return chunk if len(chunks) == 1 else b"".join(chunks)
                    patience.reschedule(loop.time() + stall_seconds)
        except TimeoutError:
            raise HeadwaterError(
                "request_timeout", f"no byte of the body came for {stall_seconds:g} s", hint="send it again"
            ) from None

    def _hold(self, size: int) -> None:
        self._budget.check(size, self._held)
        self._budget.held += size
        self._held += size


def _check_size(size: int) -> None:
    if size > MAX_BODY_BYTES:
        raise HeadwaterError(
            "payload_too_large", f"a body may have {MAX_BODY_BYTES:,} bytes", hint="send it in smaller parts"
        )
