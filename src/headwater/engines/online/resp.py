"""Reading many keys of a Valkey in one round trip from an event loop.

The usual client parses every reply through several layers of coroutines, which costs more than the server and the
network together. Here one connection carries the reads of all requests, pipelined, and a loop parses the replies.
Everything else goes through the usual client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, cast

from redis.connection import parse_url

from headwater.core.errors import HeadwaterError

_TIMEOUT_SECONDS: Final = 2.0
_CRLF: Final = b"\r\n"
_ARRAY: Final = ord("*")
_BULK: Final = ord("$")
_ERROR: Final = ord("-")

Reply = list[bytes | None]


class Reader:
    """Reads of one event loop from one server; connects when first used and again after it was lost."""

    def __init__(self, url: str) -> None:
        """Read from the server that ``url`` names; nothing is connected yet."""
        self._url = url
        self._options: dict[str, Any] = dict(parse_url(url))  # type: ignore[no-untyped-call]
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def read(self, keys: Sequence[bytes]) -> Reply:
        """Return the values of keys; raises ``features_unavailable`` when the server does not answer in time."""
        connection = self._connection
        try:
            if connection is None or connection.is_lost:
                connection = await self._connect()
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await connection.send(b"MGET", keys)
        except (OSError, TimeoutError, ValueError) as error:
            if connection is not None:
                connection.lose(ConnectionResetError("an earlier read was not answered in time"))
            raise HeadwaterError(
                "features_unavailable",
                f"the online store does not answer: {error or 'too slow'}",
                retry_after_seconds=1,
            ) from error

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.lose(ConnectionResetError("closed"))

    async def _connect(self) -> _Connection:
        async with self._connecting:
            if self._connection is not None and not self._connection.is_lost:
                return self._connection
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                self._connection = await self._open()
            return self._connection

    async def _open(self) -> _Connection:
        loop, options = asyncio.get_running_loop(), self._options
        if "path" in options:
            _, connection = await loop.create_unix_connection(_Connection, options["path"])
        else:
            secure = ssl.create_default_context() if self._url.startswith("rediss:") else None
            host, port = options.get("host", "localhost"), options.get("port", 6379)
            _, connection = await loop.create_connection(_Connection, host, port, ssl=secure)
        if options.get("password"):
            names = [options["username"]] if options.get("username") else []
            await connection.send(b"AUTH", [word.encode() for word in (*names, options["password"])])
        if options.get("db"):
            await connection.send(b"SELECT", [str(options["db"]).encode()])
        return connection


class _Connection(asyncio.Protocol):
    """One connection: replies come in the order of the commands."""

    def __init__(self) -> None:
        self.is_lost = False
        self._transport: asyncio.WriteTransport | None = None
        self._waiting: deque[asyncio.Future[Reply]] = deque()
        self._buffer = b""
        self._items: Reply = []
        self._missing = 0  # items of the reply under way that have not come yet

    def send(self, command: bytes, words: Sequence[bytes]) -> asyncio.Future[Reply]:
        """Send a command; what it returns comes as a list."""
        if self._transport is None or self.is_lost:
            raise ConnectionResetError("not connected")
        parts = [b"*%d\r\n$%d\r\n%b\r\n" % (len(words) + 1, len(command), command)]
        parts += [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        self._transport.write(b"".join(parts))
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def lose(self, error: Exception) -> None:
        """Give the connection up, and everything that waits for it."""
        self.is_lost = True
        if self._transport is not None:
            self._transport.close()
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what to write to."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one without saying so

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody who waits."""
        self.lose(exc if isinstance(exc, OSError) else ConnectionResetError("the connection was closed"))

    def data_received(self, data: bytes) -> None:
        """Parse what came as far as it goes."""
        self._buffer += data
        try:
            position = self._parse(self._buffer)
        except (ValueError, IndexError) as error:
            self.lose(ConnectionResetError(f"not a reply: {error}"))
            return
        self._buffer = self._buffer[position:]

    def _parse(self, buffer: bytes) -> int:
        """Take whole items from ``buffer``; return where the first that is not whole begins."""
        position, size, items = 0, len(buffer), self._items
        while position < size:
            end = buffer.find(_CRLF, position)
            if end < 0:
                break
            kind = buffer[position]
            if kind == _BULK:
                length = int(buffer[position + 1 : end])
                begin, after = end + 2, end + 4 + length
                if length < 0:
                    items.append(None)
                    after = begin
                elif after > size:
                    break
                else:
                    items.append(buffer[begin : begin + length])
                position = after
                self._missing -= 1
            elif kind == _ARRAY:
                self._missing = int(buffer[position + 1 : end])
                position = end + 2
            else:
                self._finish(buffer[position + 1 : end], is_error=kind == _ERROR)
                position, items = end + 2, self._items
                continue
            if self._missing <= 0:
                self._finish(None, is_error=False)
                items = self._items
        return position

    def _finish(self, text: bytes | None, *, is_error: bool) -> None:
        """Hand the reply to whoever waits longest."""
        items, self._items, self._missing = self._items, [], 0
        future = self._waiting.popleft()
        if future.done():
            return
        if is_error:
            future.set_exception(ConnectionResetError((text or b"").decode(errors="replace")))
        else:
            future.set_result(items)
