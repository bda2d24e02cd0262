"""Both clients ask models, report what became of it, and have features checked: the same requests, the same answers."""

from __future__ import annotations

import datetime as dt
import inspect
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from headwater.client import ApiError, AsyncClient, Client, OutcomeReply, PredictReply, RetryPolicy, Unreachable

QUICK = RetryPolicy(attempts=3, first_seconds=0.001, longest_seconds=0.002)
PREDICTED = {
    "model": "delay", "version": 3, "route": "canary", "warnings": ["w"],
    "predictions": [{"id": "prd_1", "outputs": {"score": 0.5}}],
    "routing": {"drawn_by": "body"}, "overrides": [{"output": "score"}],
}  # fmt: skip
TAKEN = {"receipt": "rcp_1", "counts": {"received": 1, "accepted": 1, "duplicate": 0, "rejected": 0}, "errors": []}


class Server:
    """Answers in turn, and remembers what it was asked; an exception is a lost connection."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return httpx.Response(status, json=body)


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Return a function that calls a method of one of the clients."""

    async def run(server: Server, method: str, *args: Any, **options: Any) -> Any:
        transport = httpx.MockTransport(server)
        if request.param == "sync":
            with Client("http://test", "hw_key", retry=QUICK, transport=transport) as client:
                return getattr(client, method)(*args, **options)
        async with AsyncClient("http://test", "hw_key", retry=QUICK, transport=transport) as client:
            return await getattr(client, method)(*args, **options)

    return run


async def test_entities_go_with_rows_and_the_reply_explains_itself(ask: Callable[..., Any]) -> None:
    server = Server(PREDICTED)
    reply: PredictReply = await ask(
        server, "predict", "de lay", [{"a": 1}], entities=[{"id": 7}], explain="routing", sticky_key="u1",
        timeout_ms=250, version=3,
    )  # fmt: skip
    (request,) = server.seen
    assert request.url.raw_path == b"/v1/models/de%20lay/versions/3/predict?explain=routing"
    assert json.loads(request.content) == {"entities": [{"id": 7}], "rows": [{"a": 1}]}
    assert (request.headers["hw-sticky-key"], request.headers["hw-timeout-ms"]) == ("u1", "250")
    assert (reply.version, reply.route, reply.warnings) == (3, "canary", ("w",))
    assert (reply.routing, reply.overrides) == ({"drawn_by": "body"}, ({"output": "score"},))
    assert reply.predictions[0].outputs == {"score": 0.5}


async def test_entities_may_be_all_there_is(ask: Callable[..., Any]) -> None:
    server = Server(PREDICTED)
    await ask(server, "predict", "delay", entities=[{"id": 7}])
    assert json.loads(server.seen[0].content) == {"entities": [{"id": 7}]}
    assert "hw-timeout-ms" not in server.seen[0].headers


async def test_a_prediction_whose_answer_was_lost_is_asked_for_again_only_on_request(ask: Callable[..., Any]) -> None:
    lost = Server(httpx.ReadTimeout("lost"))
    with pytest.raises(Unreachable):
        await ask(lost, "predict", "delay", [{"a": 1}])
    assert len(lost.seen) == 1
    again = Server(httpx.ReadTimeout("lost"), (504, {}), PREDICTED)
    assert (await ask(again, "predict", "delay", [{"a": 1}], repeatable=True)).version == 3
    busy = Server((503, {}), PREDICTED)
    assert (await ask(busy, "predict", "delay", [{"a": 1}])).version == 3, "what was refused was not run"


@pytest.mark.parametrize("value", [1, True, "late", {"late": True, "minutes": 21}])
async def test_an_outcome_is_reported_again_until_it_is_taken(ask: Callable[..., Any], value: Any) -> None:
    server = Server(httpx.ReadTimeout("lost"), TAKEN)
    at = dt.datetime(2026, 1, 31, 18, 40, tzinfo=dt.UTC)
    reply: OutcomeReply = await ask(server, "outcome", "prd_1", value, observed_at=at)
    assert (reply.receipt, reply.counts.accepted, reply.errors) == ("rcp_1", 1, ())
    assert [request.url.path for request in server.seen] == ["/v1/predictions/prd_1/outcome"] * 2
    assert json.loads(server.seen[1].content) == {"outcome": value, "observed_at": "2026-01-31T18:40:00+00:00"}


async def test_many_outcomes_are_lines_and_what_is_refused_is_told(ask: Callable[..., Any]) -> None:
    refused = TAKEN | {"errors": [{"row": 1, "errors": []}]}
    server = Server((207, refused), (422, {"code": "all_rows_invalid", "title": "x", "status": 422}))
    reports = [{"prediction_id": "prd_1", "outcome": 1}, {"prediction_id": "prd_2", "outcome": None}]
    reply: OutcomeReply = await ask(server, "outcomes", reports)
    assert reply.errors == ({"row": 1, "errors": []},)
    assert [json.loads(line) for line in server.seen[0].content.splitlines()] == reports
    with pytest.raises(ApiError) as error:
        await ask(server, "outcomes", reports)
    assert error.value.code == "all_rows_invalid"


async def test_an_endpoint_is_called_with_its_parameters_by_name(ask: Callable[..., Any]) -> None:
    server = Server({"data": [{"n": 1}], "meta": {"rows": 1}})
    found = await ask(server, "endpoint", "delay_by_carrier", carrier="UA", hours=[1, 2], name="x", none=None)
    assert found.rows == [{"n": 1}]
    assert str(server.seen[0].url.query, "ascii") == "carrier=UA&hours=1&hours=2&name=x"


async def test_a_check_of_skew_is_waited_for(ask: Callable[..., Any]) -> None:
    server = Server(
        (202, {"version": 2, "state": "queued"}),
        {"version": 2, "state": "running"},
        {"version": 2, "state": "succeeded", "report": {"sampled": 3}},
    )
    found = await ask(server, "check_skew", "delay", hours=6, sample=50, poll_seconds=0.001)
    assert found["report"] == {"sampled": 3}
    assert json.loads(server.seen[0].content) == {"hours": 6, "sample": 50}
    assert [request.url.path for request in server.seen] == [
        "/v1/models/delay/skew",
        *["/v1/models/delay/versions/2/skew"] * 2,
    ]


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    def methods(kind: type) -> dict[str, list[tuple[str, Any, Any]]]:
        return {
            name: [(one.name, one.kind, one.default) for one in inspect.signature(found).parameters.values()]
            for name, found in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_") and name not in ("close", "aclose")
        }

    assert methods(Client) == methods(AsyncClient)
