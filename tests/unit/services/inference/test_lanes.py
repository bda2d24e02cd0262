"""Both ways to a prediction, the fast lane and the long way, answer and count alike."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.builders.fleet import URL, Fleet, Remote
from tests.builders.models import make_model, make_version, numbers
from tests.builders.onnx_models import logarithm
from tests.builders.snapshots import KEY, make_key
from tests.fakes.process import until
from tests.fakes.wire import Talk, ask

from headwater.core.settings import Settings
from headwater.core.snapshot import LogSpec, RouteSpec, ServingSpec
from headwater.services.inference.quick import QuickDesk

KEYED = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
INFER = "/v2/models/delay/infer"
GOOD = b'{"rows":[{"a":1,"b":2}]}'
MANY = json.dumps({"rows": [{"a": n, "b": n / 7} for n in range(40)]}).encode()
MATRIX = json.dumps(
    {"inputs": [{"name": "inputs", "shape": [2, 2], "datatype": "FP64", "data": [1, 2.5, 3, 4]}]}
).encode()
GOOD_V2 = b'{"inputs":[{"name":"inputs","shape":[1,2],"datatype":"FP64","data":[1,2]}]}'
BAD = [
    b'{"rows":[{"a":"x","b":2}]}',
    b'{"rows":[{"a":1}]}',
    b'{"rows":[{"a":1,"b":2,"c":3}]}',
    b'{"rows":[{"a":NaN,"b":2}]}',
    b'{"rows":[]}',
    b'{"rows":[{"a":1,"b":',
    b'{"rows":[{"a":1e39,"b":2}]}',
    b'{"rows":[{"a":9007199254740993,"b":2}]}',
    b'{"rows":[{"a":1,"b":2}],"inputs":[[1,2]]}',
    b"not json",
    b"\xff\xfe",
]
FINE = [
    GOOD,
    MANY,
    b'{"inputs":[[1,2],[3,4]]}',
    b'{"rows":[{"a":9007199254740992,"b":2}]}',
    b' {"rows" : [{"b":1,"a":2}]}',
]
BAD_V2 = [
    b'{"inputs":[]}',
    b'{"inputs":[{"name":"nothing","shape":[1,2],"datatype":"FP64","data":[1,2]}]}',
    b'{"inputs":[{"name":"inputs","shape":[1,3],"datatype":"FP64","data":[1,2,3]}]}',
    b'{"inputs":[{"name":"inputs","shape":[1,2],"datatype":"FP64","data":[1,null]}]}',
    b'{"inputs":[{"name":"inputs","shape":[1,2],"datatype":"FP64","data":[1,1e39]}]}',
    b'{"inputs":[{"name":"inputs","shape":[1,2],"datatype":"FP64","data":[1,2]}],"outputs":[{"name":"no"}]}',
    b"{",
]
FINE_V2 = [
    GOOD_V2,
    MATRIX,
    (
        b'{"id":"7","inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":[1]},'
        b'{"name":"b","shape":[1],"datatype":"INT64","data":[2]}]}'
    ),
    (
        b'{"inputs":[{"name":"inputs","shape":[1,2],"datatype":"FP64","data":[1,2]}],'
        b'"outputs":[{"name":"score","parameters":{"binary_data":true}}]}'
    ),
    b'{"parameters":{"timeout":1000000},"inputs":[{"name":"inputs","shape":[1,2],"datatype":"FP64","data":[1,2]}]}',
]
CASES = [
    *((URL, GOOD, body) for body in (*FINE, *BAD)),
    *((INFER, GOOD_V2, body) for body in (*FINE_V2, *BAD_V2)),
]

Taken = list[bool]


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    """Return what the lane said to each request that it was offered."""
    found: Taken = []
    take = QuickDesk.take

    def note(self: QuickDesk, *arguments: Any) -> bool:
        found.append(take(self, *arguments))
        return found[-1]

    monkeypatch.setattr(QuickDesk, "take", note)
    return found


@pytest.fixture
def connect(fleet: Fleet) -> Iterator[Callable[..., Talk]]:
    talks: list[Talk] = []

    def make(*, lane: bool = True) -> Talk:
        talks.append(Talk(fleet.process.door, lane=lane))
        return talks[-1]

    yield make
    for talk in talks:
        talk.end()


def plain(replies: list[bytes]) -> bytes:
    """Return replies without the ids that no two of them share."""
    return re.sub(rb"(prd|req)_[0-9A-Z]{26}", rb"\1_", b"".join(replies))


async def primed(talk: Talk, url: str, good: bytes, length: int, **headers: str) -> None:
    """Have the head of requests with bodies of ``length`` bytes remembered."""
    (reply,) = await talk.say(ask(url, good.ljust(length), **(headers or KEYED)))
    assert reply.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("case", CASES)
async def test_both_ways_write_the_same_bytes(
    fleet: Fleet, settings: Settings, connect: Any, taken: Taken, case: tuple[str, bytes, bytes]
) -> None:
    url, good, body = case
    await fleet.deploy(make_model(make_version(settings)))
    body = body.ljust(len(good))
    request = ask(url, body, **KEYED)
    talk, long_way = connect(), connect(lane=False)
    expected = plain(await long_way.say(request))
    assert not taken
    await primed(talk, url, good, len(body))
    assert plain(await talk.say(request)) == expected
    assert len(taken) == 1
    is_fine = expected.startswith(b"HTTP/1.1 200")
    assert taken[0] or not is_fine or b"timeout" in body
    # In pieces, and one behind the other, they take the long way and say the same.
    pieces = [request[at : at + 19] for at in range(0, len(request), 19)]
    assert plain(await talk.say(*pieces)) == expected
    assert plain(await talk.say(request + request, replies=2)) == expected * 2
    assert len(taken) == 1
    assert plain(await talk.say(request)) == expected
    assert talk.wire.reads


async def test_tensors_in_bytes_take_the_lane(fleet: Fleet, settings: Settings, connect: Any, taken: Taken) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    tensor = {"name": "inputs", "shape": [2, 2], "datatype": "FP32", "parameters": {"binary_data_size": 16}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    more = {"Inference-Header-Content-Length": str(len(head))}
    request = ask(INFER, head + struct.pack("<4f", 1, 2, 3, 4), **KEYED, **more)
    talk = connect()
    expected = plain(await talk.say(request))
    assert plain(await talk.say(request)) == expected
    assert taken == [True]
    assert expected.endswith(struct.pack("<2f", 21, 43))
    wrong = ask(INFER, head + struct.pack("<4f", 1, 2, 3, float("nan")), **KEYED, **more)
    reply = plain(await talk.say(wrong))
    assert reply.startswith(b"HTTP/1.1 400")
    assert reply == plain(await connect(lane=False).say(wrong))


@pytest.mark.parametrize(
    "headers",
    [
        {"Hw-Sticky-Key": "x"},
        {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
        {"Connection": "close"},
        {"Expect": "100-continue"},
        {"Accept": "application/json", "accept": "text/plain"},
        {"Content-Encoding": "identity"},
        {"Accept": "application/vnd.apache.arrow.stream"},
        {"Forwarded": "for=10.0.0.1"},
    ],
)
async def test_a_head_with_anything_unusual_in_it_never_takes_the_lane(
    fleet: Fleet, settings: Settings, connect: Any, taken: Taken, headers: dict[str, str]
) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    request = ask(URL, GOOD, **KEYED, **headers)
    for _ in range(3):
        assert b"HTTP/1.1 200" in b"".join(await connect().say(request))
    assert not any(taken)


async def test_a_query_and_a_chunked_body_never_take_the_lane(
    fleet: Fleet, settings: Settings, connect: Any, taken: Taken
) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    talk = connect()
    chunked = ask(URL, b"", **KEYED).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(GOOD), GOOD)
    for request in (ask(URL + "?explain=routing", GOOD, **KEYED), chunked, ask(URL, GOOD, **KEYED)[:-1] + b"}"):
        for _ in range(2):
            assert (await talk.say(request))[0].startswith(b"HTTP/1.1 200")
    assert taken == [True]


async def test_only_success_is_remembered(fleet: Fleet, settings: Settings, connect: Any) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    talk, known = connect(), fleet.process.door.lane.known
    await talk.say(ask(URL, GOOD, Authorization="Bearer hw_wrong"))
    await talk.say(ask(URL, b"nothing", **KEYED))
    await talk.say(ask("/v1/models/other/predict", GOOD, **KEYED))
    assert not known
    await talk.say(ask(URL, GOOD, **KEYED))
    assert len(known) == 1


async def test_a_key_that_was_taken_away_is_refused_in_the_lane_at_once(
    fleet: Fleet, settings: Settings, connect: Any, taken: Taken
) -> None:
    model = make_model(make_version(settings))
    await fleet.deploy(model)
    talk = connect()
    await primed(talk, URL, GOOD, len(GOOD))
    assert b"HTTP/1.1 200" in (await talk.say(ask(URL, GOOD, **KEYED)))[0]
    await fleet.deploy(model, keys={})
    reply = (await talk.say(ask(URL, GOOD, **KEYED)))[0]
    assert reply.startswith(b"HTTP/1.1 401")
    assert taken == [True, False]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"allowances": frozenset({"model.read:*"})}, b"403"),
        ({"allowances": frozenset({"model.invoke:other"})}, b"403"),
        ({"cidrs": ("10.0.0.0/8",)}, b"403"),
        ({"cidrs": ("127.0.0.0/8",)}, b"200"),
        ({"expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, b"401"),
    ],
)
async def test_a_key_is_what_it_has_become_since_its_head_was_remembered(
    fleet: Fleet, settings: Settings, connect: Any, taken: Taken, *, changed: dict[str, Any], status: bytes
) -> None:
    model = make_model(make_version(settings))
    await fleet.deploy(model)
    talk, request = connect(), ask(URL, GOOD, **KEYED)
    await talk.say(request)
    await talk.say(request)
    await fleet.deploy(model, keys={KEY: make_key().model_copy(update=changed)})
    (reply,) = await talk.say(request)
    assert reply[9:12] == status
    assert taken == [True, status == b"200"]


async def test_who_a_proxy_speaks_for_is_asked_each_time(
    fleet: Fleet, settings: Settings, connect: Any, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    talk = connect()
    request = ask(URL, GOOD, **KEYED, **{"X-Forwarded-For": "10.0.0.1"})
    await talk.say(request)
    authenticate = fleet.process.runtime.authenticate
    asked: list[tuple[Any, Any]] = []

    def note(headers: Any, peer: str | None = None) -> Any:
        asked.append((dict(headers).get(b"x-forwarded-for"), peer))
        return authenticate(headers, peer)

    monkeypatch.setattr(fleet.process.runtime, "authenticate", note)
    await talk.say(request)
    assert taken == [True]
    assert asked == [(b"10.0.0.1", "127.0.0.1")]


async def test_a_new_version_answers_in_the_lane_and_the_old_one_is_let_go(
    fleet: Fleet, settings: Settings, connect: Any
) -> None:
    await fleet.deploy(make_model(make_version(settings, 1)))
    talk = connect()
    for number in (1, 2, 3):
        await fleet.deploy(make_model(make_version(settings, number)))
        for _ in range(2):
            assert b'"version":%d' % number in (await talk.say(ask(URL, GOOD, **KEYED)))[0]


async def test_replies_keep_the_order_of_requests_that_follow_one_in_the_lane(
    fleet: Fleet, settings: Settings, connect: Any, remotes: dict[int, Remote], taken: Taken
) -> None:
    remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    talk = connect()
    bodies = [b'{"rows":[{"a":%d,"b":2}]}' % n for n in range(4)]
    await primed(talk, URL, bodies[0], len(bodies[0]))
    remotes[1].gate.clear()
    talk.protocol.data_received(ask(URL, bodies[1], **KEYED))
    for body in bodies[2:]:
        talk.protocol.data_received(ask(URL, body, **KEYED))
    assert taken == [True]
    assert not talk.wire.reads
    replies = asyncio.create_task(talk.say(replies=3))
    await asyncio.sleep(0.02)
    remotes[1].gate.set()
    scores = re.findall(rb'"score":([0-9.]+)', b"".join(await replies))
    assert [float(score) for score in scores] == [1, 2, 3]
    assert talk.wire.reads


async def test_a_server_that_stops_lets_a_request_in_the_lane_end_and_closes(
    fleet: Fleet, settings: Settings, connect: Any, remotes: dict[int, Remote]
) -> None:
    remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    talk = connect()
    await primed(talk, URL, GOOD, len(GOOD))
    remotes[1].gate.clear()
    talk.protocol.data_received(ask(URL, GOOD, **KEYED))
    talk.protocol.shutdown()
    assert not talk.wire.is_closed
    remotes[1].gate.set()
    (reply,) = await talk.say()
    assert b"\r\nconnection: close\r\n\r\n" in reply
    assert talk.wire.is_closed


async def test_what_is_queued_for_a_client_that_has_gone_is_not_run(
    fleet: Fleet, settings: Settings, connect: Any, remotes: dict[int, Remote]
) -> None:
    remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    talk, other = connect(), connect()
    await primed(talk, URL, GOOD, len(GOOD))
    live, budget = fleet.model().live, fleet.process.services[0]._pipeline.budget  # type: ignore[attr-defined]
    remotes[1].gate.clear()
    other.protocol.data_received(ask(URL, GOOD, **KEYED))
    await asyncio.sleep(0.01)
    talk.protocol.data_received(ask(URL, GOOD, **KEYED))
    assert live.running == 2
    talk.end()
    assert live.running == 1
    remotes[1].gate.set()
    await other.say()
    assert live.running == 0
    assert budget.held == 0
    assert len(remotes[1].runs) == 2
    assert "client_gone" in await fleet.metrics()


async def test_a_model_that_fails_says_so_alike_and_counts_alike(
    fleet: Fleet, settings: Settings, connect: Any, remotes: dict[int, Remote], taken: Taken
) -> None:
    remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    talk, long_way = connect(), connect(lane=False)
    await primed(talk, URL, GOOD, len(GOOD))
    remotes[1].fails_at = 1.0
    expected = plain(await long_way.say(ask(URL, GOOD, **KEYED)))
    assert expected.startswith(b"HTTP/1.1 5")
    assert plain(await talk.say(ask(URL, GOOD, **KEYED))) == expected
    assert taken == [True]
    assert fleet.model().versions[1].metrics.by_code == {"model_failed": 2}
    remotes[1].error = ZeroDivisionError("a bug")
    expected = plain(await long_way.say(ask(URL, GOOD, **KEYED)))
    assert plain(await talk.say(ask(URL, GOOD, **KEYED))) == expected
    assert b"a bug" not in expected


async def test_requests_are_counted_logged_and_shown_to_shadows_alike(
    fleet: Fleet, settings: Settings, connect: Any, taken: Taken
) -> None:
    model = make_model(make_version(settings, 1), make_version(settings, 2), routes={1: 10_000})
    routes = (*model.routes, RouteSpec(version=2, role="shadow", weight_bps=10_000))
    await fleet.deploy(model.model_copy(update={"routes": routes}))
    talk = connect()
    for _ in range(5):
        await talk.say(ask(URL, GOOD, **KEYED))
    assert taken == [True] * 4
    await until(lambda: fleet.model().versions[2].metrics.batch_rows == 5)
    await until(lambda: not fleet.process.services[0]._pipeline.shadows._tasks)  # type: ignore[attr-defined]
    await asyncio.sleep(0.6)
    rows = await fleet.logged()
    served = [row for row in rows if row["route"] == "champion"]
    assert len({row["prediction_id"] for row in served}) == len(served) == 5
    assert len({row["request_id"] for row in served}) == 5
    shadows = [row for row in rows if row["route"] == "shadow"]
    assert {row["shadow_of"] for row in shadows} == {row["prediction_id"] for row in served}
    assert fleet.model().versions[1].metrics.rows == 5
    metrics = await fleet.metrics()
    assert (
        'headwater_services_request_seconds_count{method="POST",route="/v1/models/{model}/predict",status="200"} 5.0'
        in metrics
    )


async def test_an_idle_connection_keeps_no_body(fleet: Fleet, settings: Settings, connect: Any, taken: Taken) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    talk = connect()
    await primed(talk, URL, GOOD, len(MANY))
    await talk.say(ask(URL, MANY, **KEYED))
    assert taken == [True]
    assert talk.protocol.cycle.body == b""
    assert fleet.model().live.running == 0


async def test_a_reply_that_cannot_be_written_is_an_error_and_the_others_have_theirs(
    fleet: Fleet, settings: Settings, connect: Any, remotes: dict[int, Remote], monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes[1] = Remote()
    await fleet.deploy(make_model(make_version(settings)))
    talks = [connect() for _ in range(3)]
    bodies = [b'{"rows":[{"a":%d,"b":2}]}' % number for number in (1, 2, 3)]
    await primed(talks[0], URL, bodies[0], len(bodies[0]))
    replies = fleet.model().versions[1].replies
    write = replies.write

    def stumble(route: str, ids: Any, share: Any, **more: Any) -> bytes:
        if share.batch.outputs[0][share.start] == 2:
            raise ZeroDivisionError
        return write(route, ids, share, **more)

    monkeypatch.setattr(replies, "write", stumble)
    remotes[1].gate.clear()
    said = [asyncio.create_task(talk.say(ask(URL, body, **KEYED))) for talk, body in zip(talks, bodies, strict=True)]
    await asyncio.sleep(0.01)
    remotes[1].gate.set()
    statuses = [(await one)[0][9:12] for one in said]
    assert statuses == [b"200", b"500", b"200"]
    assert fleet.model().live.running == 0


async def test_limits_are_kept_in_the_lane(
    fleet: Fleet, settings: Settings, connect: Any, remotes: dict[int, Remote], taken: Taken
) -> None:
    remotes[1] = Remote()
    model = make_model(make_version(settings))
    await fleet.deploy(model.model_copy(update={"serving": ServingSpec(max_concurrency=1, log=LogSpec())}))
    talk, other = connect(), connect()
    await primed(talk, URL, GOOD, len(GOOD))
    remotes[1].gate.clear()
    talk.protocol.data_received(ask(URL, GOOD, **KEYED))
    (reply,) = await other.say(ask(URL, GOOD, **KEYED))
    assert reply.startswith(b"HTTP/1.1 503")
    assert b"retry-after: " in reply
    assert taken == [True, False]
    remotes[1].gate.set()
    assert (await talk.say())[0].startswith(b"HTTP/1.1 200")


async def test_a_deadline_is_kept_in_the_lane(
    fleet: Fleet, settings: Settings, connect: Any, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    talk = connect()
    request = ask(URL, GOOD, **KEYED, **{"Hw-Timeout-Ms": "5000"})
    await talk.say(request)
    monkeypatch.setattr(fleet.model().versions[1].batcher, "wait_seconds", lambda: 60.0)
    (reply,) = await talk.say(request)
    assert taken == [False]
    assert reply.startswith(b"HTTP/1.1 503")


async def test_outputs_that_are_no_number_are_null_alike(fleet: Fleet, settings: Settings, connect: Any) -> None:
    version = make_version(settings, artifact=logarithm(), fields=numbers("a"))
    await fleet.deploy(make_model(version))
    body = b'{"rows":[{"a":-1}]}'
    expected = plain(await connect(lane=False).say(ask(URL, body, **KEYED)))
    talk = connect()
    await talk.say(ask(URL, body, **KEYED))
    assert plain(await talk.say(ask(URL, body, **KEYED))) == expected


async def test_a_reply_to_large_numbers_that_cannot_be_written_is_an_error(
    fleet: Fleet, settings: Settings, connect: Any, taken: Taken, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fleet.deploy(make_model(make_version(settings)))
    talk, body = connect(), b'{"rows":[{"a":9007199254740992,"b":2}]}'
    await primed(talk, URL, GOOD, len(body))

    def stumble(*_: Any, **__: Any) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr(fleet.model().versions[1].replies, "write", stumble)
    (reply,) = await talk.say(ask(URL, body, **KEYED))
    assert taken == [True]
    assert reply.startswith(b"HTTP/1.1 500")
    assert fleet.model().live.running == 0
    assert fleet.process.services[0]._pipeline.budget.held == 0  # type: ignore[attr-defined]
