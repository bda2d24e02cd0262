"""One stream: what it sends, and what it leaves out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.process import until

from headwater.services.query.live.events import Event, closing, make_event
from headwater.services.query.live.viewer import Viewer


@dataclass
class Line:
    """A connection: what was sent, in which way; it takes nothing while ``taking`` is not set."""

    sent: list[bytes] = field(default_factory=list)
    written: list[bytes] = field(default_factory=list)
    taking: asyncio.Event = field(default_factory=asyncio.Event)
    is_complete: bool = False

    async def send(self, message: dict[str, Any]) -> None:
        await self.taking.wait()
        self.sent.append(message["body"])
        self.is_complete = not message["more_body"]

    def write_now(self, chunk: bytes) -> bool:
        if self.taking.is_set():
            self.written.append(chunk)
        return self.taking.is_set()


class Feed:
    """A source whose newest event is whatever was put there last."""

    def __init__(self) -> None:
        self.newest: Event | None = None

    def next_event(self, _viewer: Viewer) -> Event | None:
        event, self.newest = self.newest, None
        return event


def running(feed: Feed, line: Line) -> tuple[Viewer, asyncio.Task[None]]:
    viewer = Viewer(feed, line.send, None, line.write_now)
    viewer.wake()
    return viewer, asyncio.create_task(viewer.run())


async def test_a_small_event_is_written_at_once_and_a_large_one_in_pieces() -> None:
    feed, line = Feed(), Line()
    line.taking.set()
    viewer, task = running(feed, line)
    await asyncio.sleep(0)
    feed.newest = small = make_event("patch", b"{}", id="g:2")
    viewer.push()
    assert line.written == [b"%x\r\n%b\r\n" % (len(small.pieces[0]), small.pieces[0])]
    feed.newest = large = make_event("snapshot", b'"' + b"x" * 200_000 + b'"', id="g:3")
    viewer.push()
    await until(lambda: len(line.sent) == len(large.pieces))
    assert b"".join(line.sent) == b"".join(large.pieces)
    assert len(large.pieces) > 2
    viewer.end(closing("gone", "endpoint_not_found", "it is gone"))
    await task
    assert b"event: gone" in line.sent[-1]
    assert line.is_complete


async def test_what_cannot_be_written_at_once_is_sent_when_it_can() -> None:
    feed, line = Feed(), Line()
    viewer, task = running(feed, line)
    await asyncio.sleep(0)
    feed.newest = event = make_event("patch", b"{}", id="g:2")
    viewer.push()
    assert not line.written
    line.taking.set()
    await until(lambda: line.sent == [event.pieces[0]])
    viewer.end()
    await task


async def test_the_end_of_a_right_cuts_off_what_is_half_sent() -> None:
    feed, line = Feed(), Line()
    feed.newest = large = make_event("snapshot", b'"' + b"x" * 200_000 + b'"', id="g:1")
    viewer, task = running(feed, line)
    await asyncio.sleep(0.01)
    viewer.end(closing("reauth", "unauthenticated", "the key was revoked"))
    line.taking.set()
    await task
    assert line.sent == [large.pieces[0], b""]
    assert line.is_complete


async def test_nothing_that_was_to_be_told_is_told_behind_the_end() -> None:
    feed, line = Feed(), Line()
    line.taking.set()
    viewer, task = running(feed, line)
    await asyncio.sleep(0)
    feed.newest = make_event("patch", b"{}", id="g:2")
    viewer.end()
    viewer.push()
    viewer.end(closing("gone", "x", "a second end"))
    await task
    assert line.sent == [b""]
    assert not line.written
