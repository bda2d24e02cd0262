"""The audit log is searched and taken away, and snapshots say who runs them."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest
from django.core.handlers.asgi import ASGIRequest
from tests.builders.control import newest_snapshot
from tests.builders.http import Api, environment_path, with_key, with_session

from headwater.control.api import audit
from headwater.control.api.streams import stream_lines
from headwater.control.audit.models import AuditEvent
from headwater.control.orgs.models import Environment
from headwater.control.snapshots.models import SnapshotAck


@pytest.fixture
def api(environment: Environment) -> Api:
    return with_session(environment)


@pytest.fixture
def log(environment: Environment, api: Api) -> str:
    """The address of a log that tells of five groups and one project."""
    home = f"/organizations/{environment.org.slug}"
    for number in range(5):
        assert api.post(f"{home}/groups", {"name": f"group-{number}"}).status == 201
    assert api.post(f"{home}/projects", {"slug": "second"}).status == 201
    return f"{home}/audit"


def pages(api: Api, path: str) -> list[list[str]]:
    """Return what every page of a search holds."""
    found: list[list[str]] = []
    following = path
    while True:
        page = api.get(following).body
        found.append([event["target"]["label"] for event in page["items"]])
        if page["next"] is None:
            return found
        following = f"{path}&cursor={page['next']}"


def test_events_are_searched_newest_first_in_pages(api: Api, log: str) -> None:
    found = pages(api, f"{log}?action=access.group&limit=2")
    assert [len(page) for page in found[:3]] == [2, 2, 1]
    assert [label for page in found for label in page] == [f"group-{number}" for number in (4, 3, 2, 1, 0)]


def test_a_search_for_what_is_rare_goes_on_where_it_stopped(
    api: Api, log: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "SEARCHED", 2)
    found = pages(api, f"{log}?action=access.group&limit=50")
    assert len(found) >= 3, "a page looks at two events"
    assert [label for page in found for label in page] == [f"group-{number}" for number in (4, 3, 2, 1, 0)]
    assert api.get(f"{log}?cursor=bm9uZQ").body["code"] == "invalid_parameter"


def test_the_log_is_taken_away_in_the_order_of_its_chain_and_resumed(
    environment: Environment, api: Api, log: str
) -> None:
    answer = api.get(f"{log}/export")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="audit-{environment.org.slug}.ndjson"'
    numbers = [event["n"] for event in answer.body]
    assert numbers == list(range(1, AuditEvent.objects.filter(org_id=environment.org_id).count() + 1))
    chained = [event["prev_hash"] for event in answer.body[1:]]
    assert chained == [event["hash"] for event in answer.body[:-1]]
    rest = api.get(f"{log}/export?after={numbers[-3]}")
    assert rest.body == answer.body[-2:]
    only = api.get(f"{log}/export?action=orgs.project.created")
    assert [event["target_label"] for event in only.body][-1].endswith("second")
    shown = api.get(f"{log}/events/{only.body[-1]['id']}").body
    assert (shown["n"], shown["hash"]) == (only.body[-1]["n"], only.body[-1]["hash"])


def test_the_log_is_for_those_who_may_read_it(environment: Environment, log: str) -> None:
    analyst = with_session(environment, "analyst")
    for path in (log, f"{log}/export", f"{log}/chain", f"{log}/checkpoints"):
        assert (analyst.get(path).status, analyst.get(path).body["code"]) == (403, "forbidden")


async def test_a_server_that_waits_for_nobody_sends_lines_as_they_are_read() -> None:
    asked: list[int] = []

    def numbers() -> object:
        for number in range(2_000):
            asked.append(number)
            yield {"n": number}

    request = ASGIRequest({"type": "http", "method": "GET", "path": "/", "headers": []}, io.BytesIO())
    reply = stream_lines(request, numbers(), name="numbers.ndjson")  # type: ignore[arg-type]
    chunks = aiter(reply)
    first = await anext(chunks)
    assert [json.loads(line)["n"] for line in first.splitlines()] == list(range(len(asked)))
    assert len(asked) < 2_000, "the rest is asked for when somebody takes it"
    rest = [line async for chunk in chunks for line in chunk.splitlines()]
    assert len(first.splitlines()) + len(rest) == 2_000


def test_snapshots_are_listed_with_the_nodes_that_run_them(environment: Environment, api: Api) -> None:
    path = environment_path(environment)
    changed = api("PATCH", path, {"protected": True, "reason": "it is live", "revision": environment.revision})
    assert (changed.status, changed.body["protected"]) == (200, True)
    assert with_key(environment)("PATCH", path, {"protected": False}).status == 403
    newest = newest_snapshot(environment).number
    SnapshotAck.objects.create(
        node="node-1", environment=environment, number=newest, applied_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    listed = api.get(f"{path}/snapshots?limit=1").body
    assert [item["number"] for item in listed["items"]] == [newest]
    assert [ack["node"] for ack in listed["items"][0]["acks"]] == ["node-1"]
    assert "payload" not in listed["items"][0]
    older = api.get(f"{path}/snapshots?limit=200&cursor={listed['next']}").body if listed["next"] else {"items": []}
    assert [item["number"] for item in older["items"]] == list(range(newest - 1, 0, -1))
    assert api.get(f"{path}/snapshots/{newest}").body == listed["items"][0]
    assert api.get(f"{path}/snapshots/9999").body["code"] == "not_found"
