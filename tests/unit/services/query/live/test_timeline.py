from __future__ import annotations

import json
from typing import Any

import pytest
from tests.builders.live import answer

from headwater.client.live import EventReader, StreamEvent, Table
from headwater.core.errors import HeadwaterError
from headwater.services.query.live import timeline as module
from headwater.services.query.live.events import Event
from headwater.services.query.live.timeline import Shape, Timeline

SHAPE = Shape("feed", "/v1/endpoints/x/live", ("k",))


def read(event: Event) -> StreamEvent:
    (found,) = EventReader().feed(b"".join(event.pieces))
    assert found.kind == event.kind
    return found


def told(timeline: Timeline) -> Event:
    assert timeline.problem is not None
    return timeline.problem


def advance(timeline: Timeline, vector: str, *rows: dict[str, Any], **meta: Any) -> bool:
    state, is_news = timeline.prepare(answer(*rows, **meta))
    return timeline.advance(vector, state, is_news=is_news)


def counts(**numbers: int) -> list[dict[str, Any]]:
    return [{"k": name, "n": number} for name, number in numbers.items()]


def test_the_first_state_is_a_snapshot_and_the_next_a_difference() -> None:
    timeline = Timeline(SHAPE)
    assert advance(timeline, "1", *counts(a=1, b=2, c=3))
    first = read(timeline.event(None))
    assert (first.kind, first.id) == ("snapshot", "feed:1")
    assert first.data["meta"]["key"] == ["k"]
    assert first.data["data"] == counts(a=1, b=2, c=3)
    assert advance(timeline, "2", *counts(a=1, b=5, d=4), table_versions={"t": 2})
    second = read(timeline.event(1))
    assert (second.kind, second.id) == ("patch", "feed:2")
    assert second.data["delete"] == [["c"]]
    assert second.data["upsert"] == [{"at": 1, "row": {"k": "b", "n": 5}}, {"at": 2, "row": {"k": "d", "n": 4}}]
    assert second.data["meta"]["table_versions"] == {"t": 2}
    assert read(timeline.event(None)).data["data"] == counts(a=1, b=5, d=4)


def test_all_viewers_get_the_same_bytes() -> None:
    timeline = Timeline(SHAPE)
    advance(timeline, "1", *counts(a=1))
    advance(timeline, "2", *counts(a=2))
    assert timeline.event(1) is timeline.event(1)
    assert timeline.event(None) is timeline.event(None)


def test_who_missed_some_states_gets_one_difference_to_the_newest() -> None:
    timeline = Timeline(SHAPE)
    for number in range(1, 5):
        advance(timeline, str(number), *counts(a=number, b=0, c=0, d=0))
    event = read(timeline.event(1))
    assert event.data["upsert"] == [{"at": 0, "row": {"k": "a", "n": 4}}]


def test_who_missed_more_than_is_held_gets_a_snapshot() -> None:
    timeline = Timeline(SHAPE)
    for number in range(1, module.HELD_STATES + 2):
        advance(timeline, str(number), *counts(a=number))
    assert timeline.event(1).kind == "snapshot"
    assert timeline.event(2).kind == "patch"


def test_of_large_results_only_the_newest_states_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_ROWS", 2)
    timeline = Timeline(SHAPE)
    for number in range(1, 4):
        advance(timeline, str(number), *counts(a=number, b=1, c=1))
    assert (timeline.event(1).kind, timeline.event(2).kind) == ("snapshot", "patch")


def test_a_difference_larger_than_the_result_gives_way_to_a_snapshot() -> None:
    timeline = Timeline(SHAPE)
    advance(timeline, "1", *[{"k": f"old-{number}", "n": 1} for number in range(50)])
    advance(timeline, "2", *counts(a=1))
    assert timeline.event(1).kind == "snapshot"


def test_without_a_key_every_change_is_a_snapshot() -> None:
    timeline = Timeline(Shape("feed", "/x"))
    advance(timeline, "1", *counts(a=1))
    assert advance(timeline, "2", *counts(a=2))
    assert timeline.event(1).kind == "snapshot"
    assert read(timeline.event(1)).data["meta"]["key"] == []


def test_a_commit_that_changes_no_row_is_told_nobody_and_its_id_resumes() -> None:
    timeline = Timeline(SHAPE)
    advance(timeline, "1", *counts(a=1))
    assert not advance(timeline, "2", *counts(a=1), table_versions={"t": 2})
    assert timeline.number == 1
    assert timeline.resume("feed:1") == timeline.resume("feed:2") == 1
    newcomer = read(timeline.event(None))
    assert (newcomer.id, newcomer.data["meta"]["table_versions"]) == ("feed:2", {"t": 2})


def test_ids_of_others_resume_nothing() -> None:
    timeline = Timeline(SHAPE)
    advance(timeline, "1", *counts(a=1))
    for last_id in (None, "", "feed:0", "beef:1", "feed:1.2"):
        assert timeline.resume(last_id) is None


def test_a_result_of_the_moment_has_an_id_of_its_own_each_time() -> None:
    ids = set()
    for _ in range(2):
        timeline = Timeline(Shape("feed", "/x", ("k",), reads_clock=True))
        for number in range(3):
            advance(timeline, "1", *counts(a=number))
            ids.add(read(timeline.event(None)).id)
    assert len(ids) == 6


def test_a_problem_is_told_once_and_its_end_always() -> None:
    timeline = Timeline(SHAPE)
    advance(timeline, "1", *counts(a=1))
    assert timeline.fail(HeadwaterError("query_timeout"))
    assert not timeline.fail(HeadwaterError("query_timeout"))
    event = read(told(timeline))
    assert (event.data["code"], event.data["status"]) == ("query_timeout", 504)
    assert timeline.resume(event.id) is None
    assert timeline.fail(HeadwaterError("sql_failed"))
    assert advance(timeline, "2", *counts(a=1))
    assert timeline.problem is None
    end = read(timeline.event(1))
    assert (end.kind, end.data["upsert"], end.data["delete"]) == ("patch", [], [])


def test_events_add_up_to_the_answer() -> None:
    timeline, table = Timeline(SHAPE), Table()
    states = [counts(a=1, b=2), counts(b=2, a=1), counts(c=1, b=2), [], counts(a=1), counts(z=0, a=1)]
    number: int | None = None
    for version, rows in enumerate(states):
        advance(timeline, str(version), *rows)
        event = read(timeline.event(number))
        table.apply(event.kind, json.loads(json.dumps(event.data)))
        number = timeline.number
        assert table.rows == rows
