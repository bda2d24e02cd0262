"""The client's side of live results, against a scripted server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.fakes.peer import Peer, Request, serve_peer

from headwater.client import ApiError, AsyncClient, Client, ClientError, RetryPolicy, Unreachable
from headwater.client.live import EventReader, Table

QUICK = RetryPolicy(attempts=3, first_seconds=0.01)
STREAM = {"content-type": "text/event-stream"}
META = {"columns": [{"name": "k", "type": "VARCHAR"}], "key": ["k"], "table_versions": {"t": 1}}


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Return a stand-in for services."""
    with serve_peer() as peer:
        yield peer


def event(kind: str, data: Any, id: str | None = None) -> str:  # noqa: A002 - what the format calls it
    return f"event: {kind}\n" + (f"id: {id}\n" if id else "") + f"data: {json.dumps(data)}\n\n"


def snapshot(*names: str, id: str = "g:1") -> str:  # noqa: A002 - as above
    return event("snapshot", {"meta": META, "data": [{"k": name} for name in names]}, id)


def patch(*, at: int, name: str, delete: str, id: str) -> str:  # noqa: A002 - as above
    upsert = [{"at": at, "row": {"k": name}}]
    return event("patch", {"meta": {"table_versions": {"t": 2}}, "upsert": upsert, "delete": [[delete]]}, id)


def script(peer: Peer, *streams: str | tuple[int, dict[str, Any]]) -> None:
    """Answer with each of these in turn: the text of a stream, or status and body of a refusal."""
    waiting = list(streams)

    def answer(_request: Request) -> tuple[int, dict[str, str], bytes]:
        found = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(found, str):
            return 200, STREAM, f": live\nretry: 10\n\n{found}".encode()
        return found[0], {"content-type": "application/problem+json"}, json.dumps(found[1]).encode()

    peer.answer = answer


def names(table: Table) -> list[str]:
    return [row["k"] for row in table.rows]


def test_rows_come_again_as_they_change_over_as_many_streams_as_it_takes(peer: Peer) -> None:
    script(peer, snapshot("a", "b"), (503, {"code": "overloaded"}), patch(at=0, name="c", delete="a", id="g:2"))
    with Client(peer.url, "hw_x", retry=QUICK) as client, contextlib.closing(client.live("x", {"n": 5})) as states:
        assert names(next(states)) == ["a", "b"]
        table = next(states)
        assert names(table) == ["c", "b"]
        assert table.meta["table_versions"] == {"t": 2}
        assert table.meta["key"] == ["k"]
    paths = {request.path for request in peer.requests}
    assert paths == {"/v1/endpoints/x/live?n=5"}
    assert [request.headers.get("last-event-id") for request in peer.requests[:3]] == [None, "g:1", "g:1"]


def test_an_event_that_was_cut_off_is_as_if_it_had_not_come(peer: Peer) -> None:
    script(peer, snapshot("a") + snapshot("b", id="g:2")[:40], snapshot("c", id="g:3"))
    with Client(peer.url, "hw_x", retry=QUICK) as client, contextlib.closing(client.live("x")) as states:
        assert names(next(states)) == ["a"]
        assert names(next(states)) == ["c"]
    assert peer.requests[1].headers["last-event-id"] == "g:1"


def test_a_problem_leaves_the_rows_and_passes(peer: Peer) -> None:
    problem = event("problem", {"code": "query_timeout", "detail": "too slow"}, "g:")
    script(peer, snapshot("a") + problem + snapshot("b"))
    with Client(peer.url, "hw_x", retry=QUICK) as client, contextlib.closing(client.live("x")) as states:
        next(states)
        table = next(states)
        assert names(table) == ["a"]
        assert table.problem == {"code": "query_timeout", "detail": "too slow"}
        assert next(states).problem is None


def test_who_has_to_come_again_does_and_who_need_not_is_told(peer: Peer) -> None:
    again = event("reauth", {"code": "changed", "detail": "come again"})
    gone = event("gone", {"code": "endpoint_not_found", "detail": "it is gone"})
    script(peer, snapshot("a") + again, snapshot("b") + gone)
    with Client(peer.url, "hw_x", retry=QUICK) as client:
        states = client.live("x")
        assert [names(next(states)), names(next(states))] == [["a"], ["b"]]
        with pytest.raises(ApiError, match="it is gone") as raised:
            next(states)
        assert raised.value.code == "endpoint_not_found"


def test_what_will_not_be_different_later_is_raised_at_once(peer: Peer) -> None:
    script(peer, (401, {"code": "unauthenticated"}))
    with Client(peer.url, "hw_x", retry=QUICK) as client:
        with pytest.raises(ApiError):
            next(client.live("x"))
        assert len(peer.requests) == 1
        script(peer, (503, {"code": "overloaded"}))
        with pytest.raises(ApiError):
            next(client.live("x"))
        assert len(peer.requests) == 1 + QUICK.attempts
    with Client("http://127.0.0.1:1", "hw_x", retry=QUICK) as nowhere, pytest.raises(Unreachable):
        next(nowhere.live("x"))


async def test_the_client_for_asyncio_does_the_same(peer: Peer) -> None:
    script(peer, snapshot("a", "b"), (503, {"code": "overloaded"}), patch(at=2, name="c", delete="a", id="g:2"))
    async with AsyncClient(peer.url, "hw_x", retry=QUICK) as client:
        states = client.live("x")
        assert names(await anext(states)) == ["a", "b"]
        assert names(await anext(states)) == ["b", "c"]
        await states.aclose()
        script(peer, (404, {"code": "endpoint_not_found"}))
        with pytest.raises(ApiError):
            await anext(client.live("x"))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_events_are_read_however_the_stream_is_cut(size: int) -> None:
    text = f": live\nretry: 1500\n\n: \n\n{snapshot('é', 'b')}{event('gone', {})}".encode()
    reader = EventReader()
    found = [one for start in range(0, len(text), size) for one in reader.feed(text[start : start + size])]
    assert [(one.kind, one.id) for one in found] == [("snapshot", "g:1"), ("gone", None)]
    assert found[0].data["data"][0] == {"k": "é"}
    assert reader.retry_seconds == 1.5


def test_data_that_is_no_object_is_an_error_of_the_client() -> None:
    with pytest.raises(ClientError, match="list where an object"):
        list(EventReader().feed(b"event: snapshot\ndata: []\n\n"))
