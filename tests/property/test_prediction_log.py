"""Blocks of the prediction log hold, and profiles count, what a loop over requests and rows would write down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from tests.builders.entries import NOON_US, Told

from headwater.contracts.model import Field, LogicalType
from headwater.core.snapshot import LogSpec, OutputSpec
from headwater.engines.monitoring.profile import Profile, build_profile
from headwater.services.inference.encoding import LoggedVersion, encode_rows
from headwater.services.inference.gathering import describe, gather
from headwater.services.inference.observations import Entry
from headwater.services.inference.rows import Rows
from headwater.services.inference.sidecar.profiled import Columns, rows_table
from headwater.services.inference.sidecar.wire import Group

NUMBERS = (Field("a", LogicalType.NUMBER), Field("b", LogicalType.NUMBER), Field("c", LogicalType.NUMBER))
MIXED = (
    Field("a", LogicalType.NUMBER, nullable=True),
    Field("n", LogicalType.INTEGER),
    Field("is_on", LogicalType.BOOLEAN),
    Field("text", LogicalType.STRING, nullable=True),
    Field("secret", LogicalType.STRING, classification="confidential"),
)
OUTPUTS = (
    OutputSpec(name="score", type="number"),
    OutputSpec(name="shares", type="number", shape=(2,)),
    OutputSpec(name="label", type="string"),
)
ROUTES = ("champion", "canary", "fallback")

floats = st.floats(-1e6, 1e6, width=32) | st.just(math.nan)
matrix_row = st.tuples(floats, floats, floats)
mixed_row = st.tuples(
    st.none() | st.floats(-1e6, 1e6) | st.integers(-5, 5),
    st.integers(-(1 << 60), 1 << 60),
    st.booleans(),
    st.none() | st.text(max_size=5),
    st.text(max_size=3),
)


def requests(row: st.SearchStrategy[Any]) -> st.SearchStrategy[list[tuple[str, list[Any]]]]:
    return st.lists(st.tuples(st.sampled_from(ROUTES), st.lists(row, min_size=1, max_size=4)), min_size=1, max_size=6)


def outputs_of(count: int, seed: int) -> list[Any]:
    """Return what a model may have answered: numbers, a pair of them, and a text, by row."""
    random = np.random.default_rng(seed)
    score = random.random(count).astype(np.float32)
    score[random.random(count) < 0.2] = np.nan
    labels = np.array([f"label {number}" for number in random.integers(0, 3, count)], object)
    return [score, random.random((count, 2)), labels]


def joined(entries: Sequence[Entry], frames: int) -> list[Group]:
    """Return entries as groups that went over the wire in one frame or several."""
    size = -(-len(entries) // frames)
    groups = [gather(entries[start : start + size], 0) for start in range(0, len(entries), size)]
    return [msgspec.msgpack.decode(msgspec.msgpack.encode(group), type=Group) for group in groups]


def plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return None if math.isnan(value) else float(value)
    return value


def expected(told: Told, entries: Sequence[Entry], fields: Sequence[Field]) -> list[dict[str, Any]]:
    rows = []
    for entry in entries:
        batch: Any = entry.share.batch
        given_rows = batch.rows if batch.matrix is None else batch.matrix
        for at, identity in enumerate(entry.ids):
            row: dict[str, Any] = {
                "prediction_id": identity,
                "model": told.version.model,
                "version": 1,
                "route": entry.route,
                "principal_id": entry.caller.key.principal_id,
                "request_id": entry.request_id,
                "predicted_at": datetime.fromtimestamp(entry.predicted_at_us / 1e6, UTC),
                "latency_us": entry.latency_us,
                "sample_share": 1.0,
            }
            for field, value in zip(fields, given_rows[at], strict=True):
                row[f"input_{field.name}"] = None if field.classification != "public" else plain(value)
            for output, values in zip(OUTPUTS, batch.outputs, strict=True):
                value = values[at]
                row[f"output_{output.name}"] = [plain(v) for v in value] if output.shape else plain(value)
            rows.append(row)
    return rows


def made(told: Told, data: Sequence[tuple[str, list[Any]]], *, as_matrix: Any = None) -> list[Entry]:
    return [
        told.entry(
            rows if as_matrix is None else np.array(rows, as_matrix),
            *outputs_of(len(rows), number),
            at_us=NOON_US + number * 1_000_000,
            route=route,
        )
        for number, (route, rows) in enumerate(data)
    ]


def assert_logged(told: Told, entries: Sequence[Entry], fields: Sequence[Field], frames: int) -> None:
    version = LoggedVersion(describe(told.version, told.environment))
    batch = encode_rows(version, Rows(joined(entries, frames), len(fields)), "rcp_1")
    assert batch is not None
    table = pa.ipc.open_stream(batch.block.payload).read_all()
    assert table.schema == version.schema
    wanted = expected(told, entries, fields)
    found = table.to_pylist()
    assert [{name: row[name] for name in wanted[0]} for row in found] == wanted


@given(requests(matrix_row), st.sampled_from([np.float32, np.float64]), st.integers(1, 3))
def test_a_matrix_is_logged_as_row_by_row(data: list[tuple[str, list[Any]]], dtype: Any, frames: int) -> None:
    told = Told(fields=NUMBERS, outputs=OUTPUTS)
    assert_logged(told, made(told, data, as_matrix=dtype), NUMBERS, frames)


@given(requests(mixed_row), st.integers(1, 3))
def test_values_of_all_kinds_are_logged_as_row_by_row(data: list[tuple[str, list[Any]]], frames: int) -> None:
    told = Told(fields=MIXED, outputs=OUTPUTS)
    assert_logged(told, made(told, data), MIXED, frames)


@given(requests(matrix_row), requests(matrix_row))
def test_frames_of_both_widths_share_a_block(
    narrow: list[tuple[str, list[Any]]], wide: list[tuple[str, list[Any]]]
) -> None:
    told = Told(fields=NUMBERS, outputs=OUTPUTS)
    entries = [*made(told, narrow, as_matrix=np.float32), *made(told, wide, as_matrix=np.float64)]
    version = LoggedVersion(describe(told.version, told.environment))
    groups = [*joined(entries[: len(narrow)], 1), *joined(entries[len(narrow) :], 1)]
    batch = encode_rows(version, Rows(groups, len(NUMBERS)), "rcp_1")
    assert batch is not None
    found = pa.ipc.open_stream(batch.block.payload).read_all().to_pylist()
    assert [row["input_b"] for row in found] == [row["input_b"] for row in expected(told, entries, NUMBERS)]


@given(requests(matrix_row) | requests(mixed_row), st.integers(1, 3), st.booleans())
def test_what_is_profiled_is_what_lies_in_the_columns_of_a_reference(
    data: list[tuple[str, list[Any]]], frames: int, is_sampled: bool
) -> None:
    is_matrix = len(data[0][1][0]) == len(NUMBERS)
    fields = NUMBERS if is_matrix else MIXED
    told = Told(fields=fields, outputs=OUTPUTS, log=LogSpec(redact=("a",)))
    entries = made(told, data, as_matrix=np.float32 if is_matrix else None)
    version = LoggedVersion(describe(told.version, told.environment))
    rows = Rows(joined(entries, frames), len(fields))
    if is_sampled:
        rows = rows.take(np.arange(0, len(rows), 2))
    table = rows_table(version, rows)
    assert "a" not in table.column_names
    reference = build_profile(table, version.fields, version.outputs)
    direct, by_table = Profile(reference.layout), Profile(reference.layout)
    direct.update(*Columns(version, reference.layout).of(rows))
    by_table.add_table(table)
    assert direct.fields() == by_table.fields() == reference.fields()
