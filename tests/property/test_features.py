"""One definition, one meaning: history gives each label what the online state would have answered at its time."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from tests.builders.features import ENVIRONMENT, instant, table_of, view_of

from headwater.core.snapshot import FeatureInputSpec, FeatureSpec, FeatureViewSpec
from headwater.engines.features import history
from headwater.engines.features.history import History, Sources
from headwater.engines.features.materialise import Materialiser
from headwater.engines.features.reading import ViewReader
from headwater.engines.online.sqlite import SqliteOnlineStore

MINUTE = 60_000_000
START = 1_700_000_000_000_000
SPAN = 4 * 60 * MINUTE
AGGREGATES: tuple[tuple[str, str | None, str], ...] = (
    ("count", None, "integer"),
    ("count", "x", "integer"),
    ("sum", "n", "integer"),
    ("sum", "x", "number"),
    ("mean", "x", "number"),
    ("min", "x", "number"),
    ("max", "n", "integer"),
    ("last", "s", "string"),
    ("last", "x", "number"),
    ("distinct", "s", "integer"),
)
WINDOWS = (60, 300, 3_600, 10_800)

#: Few instants, a microsecond beside them, and others a window or a delay away: that is where mistakes show.
ANCHORS = (0, 1, 2, 30, 31, 60, 62, 90)
instants = st.builds(
    lambda minute, away, beside: START + (minute + away) * MINUTE + beside,
    st.sampled_from(ANCHORS),
    st.sampled_from([0, 0, 1, 5, 30, 60, 180]),
    st.sampled_from([0, 0, 1, -1, 999_999, 30_000_000]),
)
rows = st.fixed_dictionaries(
    {
        "entity": st.sampled_from(["a", "a", "b"]),
        "at": instants,
        "late": st.sampled_from([0, 0, 1, MINUTE, 50 * MINUTE]),
        "x": st.none() | st.floats(-1e6, 1e6),
        "n": st.none() | st.integers(-50, 50),
        "s": st.none() | st.sampled_from(["u", "v", "w"]),
    }
)


@st.composite
def views(draw: st.DrawFn) -> FeatureViewSpec:
    """Return a view with features of every kind that were drawn."""
    features = [
        FeatureSpec(name=f"c_{name}", type=kind, kind="column", column=name, default=draw(st.none() | default))
        for name, kind, default in (
            ("x", "number", st.just(-1.0)),
            ("n", "integer", st.just(7)),
            ("s", "string", st.just("d")),
        )
        if draw(st.booleans())
    ]
    for index, (aggregate, column, kind) in enumerate(
        draw(st.lists(st.sampled_from(AGGREGATES), min_size=1, max_size=4))
    ):
        features.append(
            FeatureSpec(
                name=f"w{index}",
                type=kind,
                kind="aggregate",
                column=column,
                aggregate=aggregate,
                window_seconds=draw(st.sampled_from(WINDOWS)),
            )
        )
    if features[-1].type in ("number", "integer"):
        text = f"coalesce({features[-1].name}, 0) * 2 + coalesce(given, 1)"
        features.append(FeatureSpec(name="e", type="number", kind="expression", expression=text))
    return view_of(
        "v",
        *features,
        inputs=(FeatureInputSpec(name="given", type="number"),),
        freshness_seconds=draw(st.sampled_from([None, 1_800, 7_200])),
        delay_seconds=draw(st.sampled_from([0, 60, 1_800])),
        as_received=draw(st.booleans()),
    )


def from_history(view: FeatureViewSpec, table: pa.Table, labels: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the training frame of labels."""
    connection = duckdb.connect()
    plain = [{**label, "when": instant(label["when"])} for label in labels]
    schema = pa.schema([("entity", pa.string()), ("when", pa.timestamp("us", "UTC")), ("given", pa.float64())])
    connection.register("given_labels", pa.Table.from_pylist(plain, schema))
    connection.register("given_rows", table)
    sources = Sources("given_labels", "when", "given_rows", table.num_rows)
    found = [row for batch in History(connection, view).join(sources) for row in batch.to_pylist()]
    connection.close()
    return found


def online_answers(
    view: FeatureViewSpec, given_rows: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]], sizes: int
) -> list[dict[str, Any]]:
    """Return what the online state answers at each label's time, fed with rows as they are received until then."""
    answers: dict[int, dict[str, Any]] = {}
    reader = ViewReader(view)
    with tempfile.TemporaryDirectory() as directory:
        store = SqliteOnlineStore(Path(directory) / "o.sqlite3")
        materialiser = Materialiser(store)
        state = materialiser.begin(ENVIRONMENT, view, journal="j")
        fed = 0
        for number, label in sorted(enumerate(labels), key=lambda pair: pair[1]["when"]):
            while fed < len(given_rows) and given_rows[fed]["received"] <= label["when"]:
                batch = [row for row in given_rows[fed : fed + sizes] if row["received"] <= label["when"]]
                now = batch[-1]["received"]
                materialiser.append(state, table_of(batch, first_seq=fed + 1), now_us=now)
                fed += len(batch)
            key = reader.key(state.space, label)
            assert isinstance(key, bytes)
            reading = reader.read(store.read([key])[0], label["when"], label)
            answers[number] = dict(zip(reader.names, reading.values, strict=True))
        materialiser.close()
        store.close()
    return [answers[number] for number in range(len(labels))]


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-6)
    return type(one) is type(other) and one == other


labels_of = st.lists(
    st.fixed_dictionaries(
        {
            "entity": st.sampled_from(["a", "a", "b", "unknown"]),
            "when": instants,
            "given": st.none() | st.floats(-5, 5),
        }
    ),
    min_size=3,
    max_size=8,
)


@given(views(), st.lists(rows, min_size=6, max_size=20), labels_of, st.integers(1, 4), st.sampled_from([1, 1_000_000]))
def test_history_and_online_agree(
    view: FeatureViewSpec, drawn: list[dict[str, Any]], labels: list[dict[str, Any]], size: int, part_rows: int
) -> None:
    # Sequence numbers rise with the time of receipt; without as_received, whatever is later than a label is not late.
    lateness = (lambda row: row["late"]) if view.as_received else (lambda _row: 0)
    given_rows = [
        {**{k: v for k, v in row.items() if k != "late"}, "received": row["at"] + lateness(row)} for row in drawn
    ]
    given_rows.sort(key=lambda row: row["received"])
    history.PART_ROWS = part_rows  # type: ignore[misc] # several parts, however few the rows
    empty = {"entity": "a", "at": START + SPAN * 9, "received": START + SPAN * 9, "x": 1.0, "n": 1, "s": "u"}
    table = table_of([*given_rows, empty])
    frame = from_history(view, table, labels)
    online = online_answers(view, given_rows, labels, size)
    for label, trained, served in zip(labels, frame, online, strict=True):
        for name, value in served.items():
            assert same(trained[name], value), f"{name} of {label}: history {trained[name]!r}, online {value!r}"
