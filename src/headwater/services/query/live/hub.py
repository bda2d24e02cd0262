"""All live streams of a process: who watches what, what has changed, and who may no longer watch."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Coroutine, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.services.kit.metrics import Tally
from headwater.services.kit.service import Environment, Runtime
from headwater.services.query.live.commits import LOOK_SECONDS, Commits, Found, is_news
from headwater.services.query.live.events import closing
from headwater.services.query.live.group import Ask, Group, Works
from headwater.services.query.live.subscription import Subscription
from headwater.services.query.live.viewer import Send, Viewer, WriteNow

HEARTBEAT_SECONDS: Final = 15.0
SWEEP_SECONDS: Final = 1.0
STOP_SECONDS: Final = 2.0
_GONE: Final = frozenset({"endpoint_not_found", "endpoint_gone", "sql_rejected", "not_found"})
_log = get_logger(__name__)


class Right(Protocol):
    """By what somebody watches."""

    @property
    def owner(self) -> str:
        """Return whose stream it is, for the bound on streams of one key."""
        ...

    def subscribe(self) -> Subscription:
        """Return what may be watched now; raises the error that says that, or why, it may not."""
        ...


@dataclass(slots=True)
class _Stream:
    """An open stream: by what right, what is watched, and with whom."""

    right: Right
    subscription: Subscription
    group: Group


class Hub(Collector):
    """The groups of a process. Used from one event loop; a task looks for commits while there is any group."""

    def __init__(self, runtime: Runtime, ask: Ask) -> None:
        """Have ``ask`` answer questions; nothing runs before somebody watches."""
        self._runtime = runtime
        settings = runtime.settings.query
        self._max_streams = settings.live_max_streams
        self._max_per_key = settings.live_max_streams_per_key
        self.events = Tally("headwater_query_live_events", "Events of live results sent to viewers by kind.", ("kind",))
        self.runs = Tally("headwater_query_live_runs", "Live results worked out by endpoint.", ("endpoint",))
        self._commits = Commits(runtime.journal, runtime.lake)
        # Live results shall never take all the slots of those who wait for an answer.
        slots = asyncio.Semaphore(max(1, settings.concurrency // 2))
        self._works = Works(ask, self._commits.look, slots, self.events, self.runs)
        self._groups: dict[bytes, Group] = {}
        self._streams: dict[Viewer, _Stream] = {}
        self._owners: Counter[str] = Counter()
        self._found: Mapping[str, Found] = {}
        self._environments: Mapping[str, Environment] = {}
        self._swept_at = 0.0
        self._day = runtime.clock.now().date()
        self._is_stopping = False
        self._watch: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    def join(
        self,
        right: Right,
        subscription: Subscription,
        send: Send,
        last_id: str | None,
        write_now: WriteNow | None = None,
    ) -> Viewer:
        """Return a viewer of ``subscription``, by ``right``; ``leave`` when it is done.

        Raises:
            HeadwaterError: ``rate_limited`` or ``overloaded`` when there are too many streams.
        """
        self._admit(right.owner)
        group = self._groups.get(subscription.digest)
        if group is None:
            group = self._groups[subscription.digest] = Group(subscription, self._works)
            group.start()
        viewer = Viewer(group, send, last_id, write_now)
        group.viewers.add(viewer)
        self._streams[viewer] = _Stream(right, subscription, group)
        self._owners[right.owner] += 1
        viewer.wake()
        if self._watch is None or self._watch.done():
            self._environments = self._runtime.environments
            self._watch = asyncio.create_task(self._keep_watch(), name="live-watch")
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer, and its group when nobody else watches."""
        stream = self._streams.pop(viewer, None)
        if stream is None:
            return
        owner = stream.right.owner
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]
        group = stream.group
        group.viewers.discard(viewer)
        if not group.viewers and self._groups.get(group.digest) is group:
            del self._groups[group.digest]
            self._in_background(group.stop())

    async def stop(self) -> None:
        """End every stream and all that runs for them."""
        self._is_stopping = True
        for viewer in self._streams:
            viewer.end()
        deadline = time.monotonic() + STOP_SECONDS
        while self._streams and time.monotonic() < deadline:  # noqa: ASYNC110 - at the end, once, and not for long
            await asyncio.sleep(0.01)
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await asyncio.gather(*(group.stop() for group in self._groups.values()), *self._background)
        self._groups.clear()
        self._commits.close()

    def collect(self) -> Iterable[Metric]:
        """Return how many streams and groups there are."""
        streams, groups = len(self._streams), len(self._groups)
        yield GaugeMetricFamily("headwater_query_live_streams", "Open streams of live results.", value=streams)
        yield GaugeMetricFamily("headwater_query_live_groups", "Live results that somebody watches.", value=groups)

    def _admit(self, owner: str) -> None:
        if self._is_stopping or len(self._streams) >= self._max_streams:
            why = "this process is stopping" if self._is_stopping else f"{self._max_streams} live streams are open"
            raise HeadwaterError("overloaded", why, hint="try again shortly", retry_after_seconds=5)
        if self._owners[owner] >= self._max_per_key:
            raise HeadwaterError(
                "rate_limited",
                f"{self._max_per_key} live streams of this key are open already",
                hint="close some of them, or raise query.live_max_streams_per_key",
                retry_after_seconds=5,
            )

    async def _keep_watch(self) -> None:
        while self._groups:
            try:
                await self._look()
                await self._check()
            except Exception:  # noqa: BLE001 - the next look may go well, and streams depend on it
                _log.exception("live_watch_failed")
            await asyncio.sleep(LOOK_SECONDS)

    async def _look(self) -> None:
        """Tell groups of commits to their tables. Those that begin meanwhile look by themselves, after this look."""
        groups = list(self._groups.values())
        found = await self._commits.look({stream for group in groups for stream in group.streams})
        changed = {stream for stream, now in found.items() if is_news(self._found.get(stream), now)}
        self._found = found
        if changed:
            for group in groups:
                if not changed.isdisjoint(group.streams):
                    group.see(found)

    async def _check(self) -> None:
        """Look at rights that may have ended, and give signs of life."""
        environments, now = self._runtime.environments, time.monotonic()
        at = self._runtime.clock.now()
        # With the day change the defaults of parameters such as ``today``.
        has_changed = environments is not self._environments or at.date() != self._day
        if not has_changed and now - self._swept_at < SWEEP_SECONDS:
            return
        self._environments, self._swept_at, self._day = environments, now, at.date()
        for number, (viewer, stream) in enumerate(list(self._streams.items())):
            until = stream.subscription.until
            if has_changed or (until is not None and until <= at):
                self._renew(viewer, stream)
                if number % 100 == 99:  # noqa: PLR2004 - what is done at a time
                    await asyncio.sleep(0)
            viewer.beat(now - HEARTBEAT_SECONDS)

    def _renew(self, viewer: Viewer, stream: _Stream) -> None:
        """Ask a viewer's right anew, and end the stream when it does not hold, or for something else than before."""
        try:
            subscription = stream.right.subscribe()
        except HeadwaterError as error:
            viewer.end(closing("gone" if error.code in _GONE else "reauth", error.code, error.detail))
            return
        if subscription.digest != stream.subscription.digest:
            detail = "the endpoint, its parameters or the policies on it are others now; come again"
            viewer.end(closing("reauth", "changed", detail))
            return
        stream.subscription = stream.group.subscription = subscription

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
