"""The online store of many nodes: Valkey or Redis, one value per key."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import redis

from headwater.core.errors import HeadwaterError
from headwater.engines.online.protocol import Item
from headwater.engines.online.resp import Reader

_NOTES: Final = b"hwf-note:"
_WRITE_CHUNK: Final = 500
_READ_CHUNK: Final = 5_000
_SCAN_COUNT: Final = 1_000
_TIMEOUT_SECONDS: Final = 10.0
# Heads are compared as four whole numbers: Lua's numbers hold 53 bits, and its texts compare by the server's locale.
_PUT: Final = """
local function is_newer(new, old)
  local a, b = {struct.unpack('>I4I4I4I4', new)}, {struct.unpack('>I4I4I4I4', old)}
  for i = 1, 4 do
    if a[i] ~= b[i] then return a[i] > b[i] end
  end
  return false
end
for i = 1, #KEYS do
  local value, expires = ARGV[2 * i - 1], ARGV[2 * i]
  local old = redis.call('GETRANGE', KEYS[i], 0, 15)
  if #old < 16 or is_newer(value, old) then
    if expires == '' then
      redis.call('SET', KEYS[i], value)
    else
      redis.call('SET', KEYS[i], value, 'PXAT', expires)
    end
  end
end
"""


class ValkeyOnlineStore:
    """An ``OnlineStore`` in a Valkey or a Redis (7 or newer; one node, or a primary with replicas)."""

    is_immediate = False

    def __init__(self, url: str) -> None:
        """Use the server that ``url`` names; it is reached when first needed."""
        self._client = redis.Redis.from_url(
            url, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
        )
        self._put = self._client.register_script(_PUT)
        self._url = url
        self._readers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Reader] = weakref.WeakKeyDictionary()

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, in their order; None where there is none."""
        values: list[bytes | None] = []
        with _translated():
            for start in range(0, len(keys), _READ_CHUNK):
                values.extend(self._client.mget(keys[start : start + _READ_CHUNK]))  # type: ignore[arg-type] # it is no coroutine
        return values

    async def fetch(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys without blocking the event loop."""
        return await self._reader().read(keys) if keys else []

    def write(self, items: Sequence[Item], notes: Mapping[str, bytes] | None = None) -> None:
        """Store what is newer than what is there; the notes go last, so they never promise too much."""
        with _translated():
            for start in range(0, len(items), _WRITE_CHUNK):
                chunk = items[start : start + _WRITE_CHUNK]
                words: list[bytes | str | int] = []
                for item in chunk:
                    expires = item.expires_at_us
                    words += (item.value, "" if expires is None else max(expires // 1_000, 1))
                self._put(keys=[item.key for item in chunk], args=words)
            if notes:
                self._client.mset({_NOTES + name.encode(): value for name, value in notes.items()})

    def note(self, name: str) -> bytes | None:
        """Return a note."""
        return self.read([_NOTES + name.encode()])[0]

    async def fetch_note(self, name: str) -> bytes | None:
        """Return a note without blocking the event loop."""
        return (await self.fetch([_NOTES + name.encode()]))[0]

    def drop(self, space: bytes) -> None:
        """Delete every value of a space."""
        pattern = b"".join(b"\\" + bytes([byte]) if byte in b"*?[]\\^-" else bytes([byte]) for byte in space) + b"*"
        with _translated():
            gone: list[bytes] = []
            for key in self._client.scan_iter(match=pattern, count=_SCAN_COUNT):
                gone.append(key)
                if len(gone) == _SCAN_COUNT:
                    self._client.unlink(*gone)
                    gone.clear()
            if gone:
                self._client.unlink(*gone)

    def sweep(self, now_us: int) -> int:  # noqa: ARG002 - the server expires by its own clock
        """Return 0: the server deletes what has expired by itself."""
        return 0

    def close(self) -> None:
        """Close the connections."""
        for loop, reader in list(self._readers.items()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(reader.close)
        self._client.close()

    def _reader(self) -> Reader:
        loop = asyncio.get_running_loop()
        reader = self._readers.get(loop)
        if reader is None:
            reader = self._readers[loop] = Reader(self._url)
        return reader


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise HeadwaterError(
            "features_unavailable",
            f"the online store failed: {error}",
            hint="check online.url and that the server runs",
            retry_after_seconds=5,
        ) from error
