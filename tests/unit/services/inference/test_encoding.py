from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from tests.builders.entries import Told

from headwater.contracts.model import Field, LogicalType
from headwater.core.snapshot import FeatureRefSpec, LogSpec, OutputSpec
from headwater.services.inference.encoding import LogBatch, LoggedVersion, encode_rows
from headwater.services.inference.gathering import describe, gather
from headwater.services.inference.observations import Entry
from headwater.services.inference.rows import Rows
from headwater.services.inference.sidecar.wire import Group


def encode(told: Told, *entries: Entry, groups: int = 1) -> LogBatch | None:
    """Encode entries as they come out of one or several frames, over the wire and back."""
    version = LoggedVersion(describe(told.version, told.environment))
    size = -(-len(entries) // groups)
    parts = [gather(entries[start : start + size], 0) for start in range(0, len(entries), size)]
    travelled = [msgspec.msgpack.decode(msgspec.msgpack.encode(part), type=Group) for part in parts]
    return encode_rows(version, Rows(travelled, len(version.fields)), "rcp_1")


def rows_of(batch: LogBatch | None) -> list[dict[str, Any]]:
    assert batch is not None
    table = pa.ipc.open_stream(batch.block.payload).read_all()
    assert table.num_rows == batch.rows
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_a_matrix_becomes_columns_in_order_with_nulls_for_what_was_absent(groups: int) -> None:
    told = Told()
    first = told.entry(np.array([[1.0, np.nan], [3.0, 4.0]]), np.array([0.5, 0.25], np.float32))
    second = told.entry(np.array([[5.0, 6.0]]), np.array([0.75], np.float32), route="canary")
    rows = rows_of(encode(told, first, second, first, groups=groups))
    assert [row["input_a"] for row in rows] == [1, 3, 5, 1, 3]
    assert [row["input_b"] for row in rows] == [None, 4, 6, None, 4]
    assert [row["output_score"] for row in rows] == [0.5, 0.25, 0.75, 0.5, 0.25]
    assert [row["route"] for row in rows] == ["champion", "champion", "canary", "champion", "champion"]
    assert [row["prediction_id"] for row in rows] == [*first.ids, *second.ids, *first.ids]
    assert {row["sample_share"] for row in rows} == {1.0}
    assert {(row["features"], row["shadow_of"]) for row in rows} == {(None, None)}


def test_neighbours_in_one_batch_keep_their_rows() -> None:
    told = Told()
    whole = told.entry(np.arange(8.0).reshape(4, 2), np.arange(4.0))
    entries = []
    for start, stop in ((0, 1), (1, 3), (3, 4)):
        entry = told.entry(np.zeros((stop - start, 2)), np.zeros(stop - start))
        entry.share = type(whole.share)(batch=whole.share.batch, start=start, stop=stop)
        entries.append(entry)
    assert [row["input_a"] for row in rows_of(encode(told, *entries))] == [0, 2, 4, 6]
    assert [row["output_score"] for row in rows_of(encode(told, entries[2], entries[0]))] == [3, 0]


def test_values_of_all_types_travel() -> None:
    fields = (Field("name", LogicalType.STRING, required=False), Field("ok", LogicalType.BOOLEAN, nullable=True))
    outputs = (
        OutputSpec(name="label", type="string"),
        OutputSpec(name="vector", type="number", shape=(2,)),
        OutputSpec(name="sure", type="boolean"),
    )
    told = Told(fields=fields, outputs=outputs)
    labels = np.array(["é", "late"], dtype=object)
    entry = told.entry([("x", True), (None, None)], labels, np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([True, False]))
    for row in rows_of(encode(told, entry, entry, groups=2))[:2]:
        del row["prediction_id"]
    rows = rows_of(encode(told, entry, entry, groups=2))
    assert [(row["input_name"], row["input_ok"]) for row in rows[:2]] == [("x", True), (None, None)]
    assert [(row["output_label"], row["output_vector"], row["output_sure"]) for row in rows[2:]] == [
        ("é", [1.0, 2.0], True),
        ("late", [3.0, 4.0], False),
    ]


def test_what_is_redacted_or_not_public_is_not_logged() -> None:
    fields = (
        Field("a", LogicalType.NUMBER),
        Field("b", LogicalType.NUMBER),
        Field("c", LogicalType.NUMBER, classification="restricted"),
    )
    features = [
        FeatureRefSpec(field="a", view="people", feature="age"),
        FeatureRefSpec(field="b", view="weather", feature="temp"),
    ]
    told = Told(fields=fields, log=LogSpec(redact=("a",)), features=features)
    used = {"people.age": [44, 7], "weather.temp": [3.5, None]}
    for inputs in (np.array([[1.0, 2.0, 3.0]]), [(1.0, 2.0, 3.0)]):
        (row,) = rows_of(encode(told, told.entry(inputs, np.zeros(1), features=[used])))
        assert (row["input_a"], row["input_b"], row["input_c"]) == (None, 2.0, None)
        assert json.loads(row["features"]) == {"weather.temp": [3.5, None]}


def test_features_and_shadows_are_told_by_row() -> None:
    told = Told()
    plain = told.rows(1)
    shadow = told.entry(np.zeros((2, 2)), np.zeros(2), shadow_of=["prd_A", "prd_B"], features=[{"v.f": [1, 2]}, None])
    rows = rows_of(encode(told, plain, shadow))
    assert [row["shadow_of"] for row in rows] == [None, "prd_A", "prd_B"]
    assert [row["features"] for row in rows] == [None, '{"v.f":[1,2]}', None]


def test_a_sample_is_the_same_whenever_it_is_drawn_and_a_shadow_is_in_it_with_what_was_served() -> None:
    told = Told(log=LogSpec(sample_bps=2_500))
    entry = told.rows(2_000)
    rows = rows_of(encode(told, entry))
    again = rows_of(encode(told, entry, entry, groups=2))
    kept = {row["prediction_id"] for row in rows}
    assert len(rows) == len(kept)
    assert 400 < len(rows) < 600
    assert [row["prediction_id"] for row in again] == [row["prediction_id"] for row in rows] * 2
    assert {row["sample_share"] for row in rows} == {0.25}
    more = {row["prediction_id"] for row in rows_of(encode(_with_share(told, 5_000), entry))}
    assert kept < more
    shadow = told.rows(2_000)
    shadow.shadow_of = entry.ids
    assert {row["shadow_of"] for row in rows_of(encode(told, shadow))} == kept


def _with_share(told: Told, share: int) -> Told:
    other = Told(log=LogSpec(sample_bps=share))
    other.version = told.version
    return other


def test_a_sample_may_be_empty() -> None:
    told = Told(log=LogSpec(sample_bps=0))
    assert encode(told, told.rows(50)) is None
