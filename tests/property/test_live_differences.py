"""Whatever happens to a result, its snapshot with every difference applied is what a fresh answer would be."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from headwater.client.live import EventReader, Table
from headwater.services.query.live.timeline import Shape, Timeline

KEYS = st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(-2, 2))
VALUES = st.one_of(st.none(), st.integers(-3, 3), st.text("xy", max_size=2), st.floats(0, 1, width=16))
ROWS = st.dictionaries(KEYS, VALUES, max_size=12).flatmap(lambda found: st.permutations(list(found.items())))


def rows_of(items: list[tuple[tuple[Any, int], Any]]) -> list[dict[str, Any]]:
    return [{"k": key, "p": part, "v": value} for (key, part), value in items]


def answer(rows: list[dict[str, Any]], version: int) -> bytes:
    columns = [{"name": name, "type": "VARCHAR"} for name in ("k", "p", "v")]
    meta = {"columns": columns, "row_count": len(rows), "table_versions": {"t": version}}
    return json.dumps({"meta": meta, "data": rows}).encode()


class Client:
    """A client that takes some of the states, as a slow one does."""

    def __init__(self) -> None:
        self.table = Table()
        self.number: int | None = None

    def take(self, timeline: Timeline) -> None:
        if self.number == timeline.number:
            return
        for event in EventReader().feed(b"".join(timeline.event(self.number).pieces)):
            self.table.apply(event.kind, event.data)
        self.number = timeline.number


@given(st.lists(st.tuples(ROWS, st.booleans()), min_size=1, max_size=12), st.sampled_from([("k", "p"), ("k",), ()]))
def test_events_add_up_to_the_answer(states: list[tuple[Any, bool]], key: tuple[str, ...]) -> None:
    timeline = Timeline(Shape("feed", "/x", key))
    prompt, slow = Client(), Client()
    for version, (items, is_taken) in enumerate(states):
        rows = rows_of(items)
        state, is_news = timeline.prepare(answer(rows, version))
        timeline.advance(str(version), state, is_news=is_news)
        prompt.take(timeline)
        assert prompt.table.rows == rows
        if is_taken:
            slow.take(timeline)
            assert slow.table.rows == rows
    slow.take(timeline)
    assert slow.table.rows == prompt.table.rows
    assert slow.table.meta["row_count"] == len(slow.table.rows)


@given(ROWS, ROWS)
def test_a_difference_names_no_row_that_may_stay(before: Any, after: Any) -> None:
    timeline = Timeline(Shape("feed", "/x", ("k", "p")))
    for version, items in enumerate((before, after)):
        state, is_news = timeline.prepare(answer(rows_of(items), version))
        timeline.advance(str(version), state, is_news=is_news)
    common = [item for item in after if item in before and type(item[1]) is type(dict(before)[item[0]])]
    if timeline.number < 2:
        return
    (event,) = EventReader().feed(b"".join(timeline.event(1).pieces))
    if event.kind == "patch" and [item for item in before if item in common] == common:
        assert len(event.data["upsert"]) == len(after) - len(common)
