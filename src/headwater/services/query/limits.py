"""What a key may ask: requests a second, queries at once, and bytes read of tables in a day.

Rates and daily bytes hold over all workers where they share a store, else for each worker by itself; how many queries
run at once is always counted by worker.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from headwater.core.clock import Clock
from headwater.core.endpoints import LimitsSpec
from headwater.core.errors import HeadwaterError
from headwater.core.key_limits import NO_LIMITS, KeyLimitsSpec
from headwater.core.snapshot import KeySpec
from headwater.services.query.shared_store import SharedStore

_MAX_KNOWN: Final = 50_000
_DAY_SECONDS: Final = 86_400
_FREE: Final = LimitsSpec()
# A bucket as the instant at which it will be full again (GCRA), by the server's clock, in microseconds.
_TAKE: Final = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full = tonumber(redis.call('GET', KEYS[1]) or now)
if full < now then full = now end
local wait = full + interval - burst * interval - now
if wait > 0 then return {0, 0, wait} end
full = full + interval
redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000) + 1)
return {1, math.floor((burst * interval - (full - now)) / interval), 0}
"""
_ADD: Final = """
local used = redis.call('INCRBY', KEYS[1], ARGV[1])
if used == tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[2]) end
return {used}
"""


class Permit:
    """What a request may do; ``release`` it. Bounds of None are no bounds."""

    __slots__ = ("_limits", "_places", "headers", "max_bytes", "max_rows")

    def __init__(self, limits: Limits | None = None, bounds: tuple[int | None, int | None] = (None, None)) -> None:
        """Hold nothing yet."""
        self._limits = limits
        self._places: list[str] = []
        self.max_rows, self.max_bytes = bounds
        self.headers: list[tuple[bytes, bytes]] = []

    def hold(self, place: str) -> None:
        """Note that a place among queries at once was taken."""
        self._places.append(place)

    def release(self) -> None:
        """Give the places back; may be called more than once."""
        places, self._places = self._places, []
        for place in places:
            assert self._limits is not None
            self._limits.leave(place)

    def check(self, rows: int, size: int) -> None:
        """Raise ``result_too_large`` for a result that is larger than the key may have."""
        if self.max_rows is not None and rows > self.max_rows:
            raise HeadwaterError(
                "result_too_large", f"the result has more than {self.max_rows} rows", hint="ask for less"
            )
        if self.max_bytes is not None and size > self.max_bytes:
            raise HeadwaterError(
                "result_too_large", f"the result has more than {self.max_bytes} bytes", hint="ask for less"
            )


FREE: Final = Permit()


class Limits:
    """The counts of a process. Used from one event loop."""

    def __init__(self, clock: Clock, store: SharedStore) -> None:
        """Count from zero; ``store`` holds what workers share."""
        self._clock = clock
        self._store = store
        self._full_at: dict[str, float] = {}
        self._running: Counter[str] = Counter()
        self._scanned: Counter[tuple[str, str]] = Counter()

    @staticmethod
    def apply_to(key: KeySpec, endpoint: LimitsSpec) -> bool:
        """Return whether there is anything to hold a request of ``key`` to."""
        return key.limits != NO_LIMITS or endpoint != _FREE

    async def admit(self, key: KeySpec, name: str, endpoint: LimitsSpec = _FREE) -> Permit:
        """Return what ``key`` may do with the endpoint ``name`` now.

        Raises:
            HeadwaterError: ``rate_limited`` with the seconds to wait, ``quota_exceeded`` until the day ends.
        """
        own: KeyLimitsSpec = key.limits
        await self._check_day(key)
        permit = Permit(self, (own.max_rows, _least(own.max_bytes, endpoint.max_bytes)))
        rates = ((f"{key.id}", own.requests_per_second), (f"{key.id}/{name}", endpoint.requests_per_second))
        for place, rate in rates:
            if rate is not None:
                permit.headers = await self._take(place, rate)
        for place, most in ((f"{key.id}", own.concurrency), (f"{key.id}/{name}", endpoint.concurrency)):
            if most is not None and self._running[place] >= most:
                permit.release()
                raise _limited("concurrency", f"{most} queries of this key run already", most, 0, 1)
            if most is not None:
                self._running[place] += 1
                permit.hold(place)
        return permit

    def leave(self, place: str) -> None:
        """Give a place among the queries at once back."""
        self._running[place] -= 1
        if self._running[place] <= 0:
            del self._running[place]

    async def charge(self, key: KeySpec, scanned_bytes: int) -> None:
        """Count bytes that a query of ``key`` read."""
        if key.limits.scanned_bytes_per_day is None or not scanned_bytes:
            return
        day = self._clock.now().astimezone(UTC).date().isoformat()
        place = (key.id, day)
        self._scanned[place] += scanned_bytes
        known = await self._store.run(_ADD, f"day:{key.id}:{day}".encode(), scanned_bytes, 2 * _DAY_SECONDS)
        if known is not None:
            self._scanned[place] = max(self._scanned[place], known[0])
        for old in [one for one in self._scanned if one[1] != day]:
            del self._scanned[old]

    async def _check_day(self, key: KeySpec) -> None:
        most = key.limits.scanned_bytes_per_day
        if most is None:
            return
        now = self._clock.now().astimezone(UTC)
        place = (key.id, now.date().isoformat())
        shared = await self._store.get(f"day:{key.id}:{place[1]}".encode())
        if max(self._scanned[place], int(shared or 0)) < most:
            return
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), UTC)
        raise HeadwaterError(
            "quota_exceeded",
            f"the queries of this key have read the {most} bytes of tables that it may read in a day",
            hint="wait for the next day (UTC), or ask for a larger budget",
            retry_after_seconds=math.ceil((midnight - now).total_seconds()),
            extra={"limit": {"name": "scanned-bytes", "quota": most, "window_seconds": _DAY_SECONDS}},
        )

    async def _take(self, place: str, rate: float) -> list[tuple[bytes, bytes]]:
        """Take a request from a bucket that holds a second's worth; return the headers that say what is left."""
        burst = max(1, math.ceil(rate))
        interval_us = 1_000_000 / rate
        answer = await self._store.run(_TAKE, f"rate:{place}".encode(), round(interval_us), burst)
        is_free, left, wait_us = answer or self._take_here(place, interval_us, burst)
        window = max(1, round(burst / rate))
        if not is_free:
            seconds = max(1, math.ceil(wait_us / 1e6))
            raise _limited("requests", f"this key may ask {rate:g} times a second", burst, window, seconds)
        return limit_headers("requests", burst, window, left, math.ceil(interval_us / 1e6))

    def _take_here(self, place: str, interval_us: float, burst: int) -> tuple[int, int, int]:
        now = time.monotonic() * 1e6
        full = max(self._full_at.get(place, now), now)
        wait = full + interval_us - burst * interval_us - now
        if wait > 1:  # a microsecond: the sums of halves are not exact
            return 0, 0, round(wait)
        if len(self._full_at) >= _MAX_KNOWN:
            self._full_at = {one: at for one, at in self._full_at.items() if at > now}
        self._full_at[place] = full + interval_us
        return 1, int((burst * interval_us - (full + interval_us - now)) / interval_us), 0


def limit_headers(name: str, quota: int, window: int, left: int, reset: int) -> list[tuple[bytes, bytes]]:
    """Return the RateLimit headers of an answer (draft-ietf-httpapi-ratelimit-headers)."""
    return [
        (b"ratelimit-policy", f'"{name}";q={quota};w={window}'.encode()),
        (b"ratelimit", f'"{name}";r={left};t={reset}'.encode()),
    ]


def _limited(name: str, detail: str, quota: int, window: int, seconds: int) -> HeadwaterError:
    extra: dict[str, Any] = {"limit": {"name": name, "quota": quota, "window_seconds": window or 1}}
    return HeadwaterError("rate_limited", detail, hint="wait a little", retry_after_seconds=seconds, extra=extra)


def _least(*bounds: int | None) -> int | None:
    return min((one for one in bounds if one is not None), default=None)
