"""All who watch the same: one computation a change, one text an event."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.engines.lake.protocol import TableState
from headwater.services.kit.metrics import Tally
from headwater.services.query.live.commits import Found, is_news
from headwater.services.query.live.events import Event
from headwater.services.query.live.subscription import Subscription, is_ordered
from headwater.services.query.live.timeline import Shape, Timeline
from headwater.services.query.live.viewer import Viewer
from headwater.services.query.question import Question

CLOCK_SECONDS: Final = 10.0
"""How often a result that depends on the time is worked out when no table changes."""
RETRY_SECONDS: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
"""How long after a failure that may pass by itself it is tried again."""
_PASSING: Final = 500
_LARGE_BYTES: Final = 64 << 10
_TOLD_AT_ONCE: Final = 100

Ask = Callable[[Question], Awaitable[bytes]]
Look = Callable[[Iterable[str]], Awaitable[Mapping[str, Found]]]
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Works:
    """What groups share: who answers, who reads versions, how many results are worked out at once, what is counted."""

    ask: Ask
    look: Look
    slots: asyncio.Semaphore
    events: Tally
    runs: Tally


class Group:
    """The viewers of one subscription. ``start`` it once there is one; ``stop`` it when there is none any more."""

    def __init__(self, subscription: Subscription, works: Works) -> None:
        """Begin without viewers."""
        self.subscription = subscription
        self.viewers: set[Viewer] = set()
        self.digest = subscription.digest
        self._works = works
        self._found: Mapping[str, Found] = {}
        self._due = asyncio.Event()
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        spec, query = subscription.endpoint.spec, subscription.endpoint.query
        assert query is not None, "find_endpoint lets no endpoint with a fault pass"
        self._reads_clock = query.reads_clock
        self._timeline = Timeline(
            Shape(
                label=subscription.digest.hex(),
                path=f"/v1/endpoints/{spec.name}/live",
                key=spec.key,
                is_ordered=is_ordered(spec.sql),
                reads_clock=query.reads_clock,
            )
        )

    @property
    def streams(self) -> tuple[str, ...]:
        """Return the tables whose commits matter."""
        return self.subscription.endpoint.streams

    def start(self) -> None:
        """Work out the first result, and each that follows a commit."""
        self._task = asyncio.create_task(self._run(), name="live-group")

    def see(self, found: Mapping[str, Found]) -> None:
        """Work out the result again if one of its tables has changed."""
        if any(is_news(self._found.get(stream), found[stream]) for stream in self.streams):
            self._found = found
            self._due.set()

    async def stop(self) -> None:
        """End, with the query that runs."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def next_event(self, viewer: Viewer) -> Event | None:
        """Return what a viewer has to be told now, and note that it was."""
        timeline = self._timeline
        if timeline.problem is not None:
            if viewer.problem is timeline.problem:
                return None
            viewer.problem = timeline.problem
            return self._told(timeline.problem)
        if viewer.last_id is not None and timeline.number:
            viewer.number, viewer.last_id = timeline.resume(viewer.last_id), None
        if viewer.number == timeline.number or not timeline.number:
            return None
        event = timeline.event(viewer.number)
        viewer.number = timeline.number
        return self._told(event)

    def _told(self, event: Event) -> Event:
        self._works.events.add((event.kind,))
        return event

    async def _run(self) -> None:
        interval = self.subscription.endpoint.spec.live.min_interval_seconds
        self._found = await self._works.look(self.streams)
        while True:
            async with self._works.slots:
                self._due.clear()
                began = time.monotonic()
                has_news = await self._renew()
            if has_news:
                await self._tell_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._due.wait()
            await asyncio.sleep(began + interval - time.monotonic())

    async def _tell_all(self) -> None:
        for number, viewer in enumerate(list(self.viewers)):
            viewer.push()
            if number % _TOLD_AT_ONCE == _TOLD_AT_ONCE - 1:
                await asyncio.sleep(0)  # what was written goes out, and others have their turn

    def _patience(self) -> float | None:
        """Return how long to wait for a commit; None: for ever."""
        if self._failures:
            return RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1]
        return CLOCK_SECONDS if self._reads_clock else None

    async def _renew(self) -> bool:
        """Work out the result of the tables as they are; return whether viewers have to be told."""
        try:
            states = [_state(self._found.get(stream)) for stream in self.streams]
            self._works.runs.add((self.subscription.endpoint.spec.name,))
            body = await self._works.ask(self.subscription.question(states))
            if len(body) < _LARGE_BYTES:
                state, is_news_ = self._timeline.prepare(body)
            else:
                state, is_news_ = await asyncio.to_thread(self._timeline.prepare, body)
            self.subscription.check(len(state.rows), len(body))
            vector = ".".join("-" if one is None else str(one.version) for one in states)
            has_news = self._timeline.advance(vector, state, is_news=is_news_)
            if has_news and len(body) >= _LARGE_BYTES:
                await asyncio.to_thread(self._timeline.event, self._timeline.number - 1 or None)
        except HeadwaterError as error:
            self._failures = self._failures + 1 if error.status >= _PASSING else 0
            return self._timeline.fail(error)
        except Exception:  # noqa: BLE001 - whatever it is, viewers are told, and it is tried again
            _log.exception("live_result_failed", endpoint=self.subscription.endpoint.spec.name)
            self._failures += 1
            return self._timeline.fail(HeadwaterError("internal", hint="it is tried again by itself"))
        self._failures = 0
        return has_news


def _state(found: Found) -> TableState | None:
    if isinstance(found, HeadwaterError):
        raise found
    return found
