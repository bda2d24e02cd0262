"""Every format of a result holds the same rows, whatever they are and however they were cut into batches."""

from __future__ import annotations

import contextlib
import csv
import html
import io
import json
import re
import tempfile
import tracemalloc
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.core.errors import HeadwaterError
from headwater.engines.query.protocol import Column
from headwater.services.query.encoding import make_encoder
from headwater.services.query.formats import NAMED_FORMATS, ResultFormat
from headwater.services.query.plain import plain_columns
from headwater.services.query.result import Shape, read_result

COLUMNS: Final = (
    Column("i", "BIGINT"),
    Column("x", "DOUBLE"),
    Column("d", "DECIMAL(12,2)"),
    Column("b", "BOOLEAN"),
    Column("day", "DATE"),
    Column("at", "TIMESTAMP WITH TIME ZONE"),
    Column("text", "VARCHAR"),
    Column("list", "VARCHAR[]"),
)
SCHEMA: Final = pa.schema(
    [
        ("i", pa.int64()), ("x", pa.float64()), ("d", pa.decimal128(12, 2)), ("b", pa.bool_()), ("day", pa.date32()),
        ("at", pa.timestamp("us", "UTC")), ("text", pa.string()), ("list", pa.list_(pa.string())),
    ]
)  # fmt: skip
# What XML 1.0 cannot hold is written otherwise by spreadsheets; formulas, markup and quotes are what matters here.
TEXT: Final = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12) | st.sampled_from(
    [
        "=1+1",
        "+1",
        "-1",
        "@SUM(A1)",
        "<script>alert(1)</script>",
        '"quoted", yes',
        "a&amp;b",
        "'",
        " ",
        "null",
    ]
)
MOMENTS: Final = st.datetimes(
    datetime(1950, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    datetime(2200, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)
ROWS: Final = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | st.integers(-(2**63), 2**63 - 1),
            "x": st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32),
            "d": st.none() | st.decimals(-9_999_999, 9_999_999, places=2, allow_nan=False),
            "b": st.none() | st.booleans(),
            "day": st.none() | st.dates(date(1900, 3, 2), date(2200, 1, 1)),
            "at": st.none() | MOMENTS,
            "text": st.none() | TEXT,
            "list": st.none() | st.lists(st.none() | TEXT, max_size=3),
        }
    ),
    max_size=12,
)


def batches(rows: list[dict[str, Any]], size: int) -> list[pa.RecordBatch]:
    return pa.Table.from_pylist(rows, SCHEMA).to_batches(max_chunksize=size)  # type: ignore[no-any-return]


def written(form: ResultFormat, parts: list[pa.RecordBatch]) -> bytes:
    with contextlib.closing(make_encoder(form, COLUMNS, SCHEMA)) as encoder:
        head = encoder.begin({"endpoint": "all", "row_count": sum(part.num_rows for part in parts)})
        return b"".join([head, *(encoder.encode(part) for part in parts), *encoder.finish()])


def as_json(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows as JSON shows them, told from the values and not from our code."""
    shown = []
    for row in rows:
        plain = {column.name: row[column.name] for column in COLUMNS}
        if plain["i"] is not None and abs(plain["i"]) > 2**53 - 1:
            plain["i"] = str(plain["i"])
        plain["d"] = None if plain["d"] is None else f"{plain['d']:.2f}"
        plain["day"] = plain["day"] and plain["day"].isoformat()
        plain["at"] = plain["at"] and plain["at"].isoformat().replace("+00:00", "Z")
        shown.append(plain)
    return shown


def read_csv(body: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(body.decode(), newline="")))


def cells(row: dict[str, Any]) -> list[str]:
    texts = []
    for value in row.values():
        match value:
            case None:
                texts.append("")
            case bool():
                texts.append(str(value).lower())
            case list():
                texts.append(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
            case _:
                texts.append(str(value))
    return texts


NUMBERS: Final = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def sheet(body: bytes) -> dict[int, dict[str, tuple[str, str]]]:
    """Return the kind and text of every cell by the number of its row and its column's letter."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        tree = ET.fromstring(archive.read("xl/worksheets/sheet1.xml"))
    found = {}
    for row in tree.iter(f"{NUMBERS}row"):
        line = {}
        for cell in row:
            assert cell.find(f"{NUMBERS}f") is None, "no cell may be a formula"
            letter = re.sub(r"\d", "", cell.attrib["r"])
            texts = [*(cell.find(f"{NUMBERS}is") or ())] or [cell.find(f"{NUMBERS}v")]
            line[letter] = cell.attrib.get("t", "n"), "".join(text.text or "" for text in texts if text is not None)
        found[int(row.attrib["r"])] = line
    return found


def unescaped(text: str) -> str:
    return re.sub(r"_x([0-9A-F]{4})_", lambda match: chr(int(match[1], 16)), text)


@settings(deadline=None, max_examples=30)
@given(rows=ROWS, size=st.integers(1, 5))
def test_every_format_holds_the_same_rows(rows: list[dict[str, Any]], size: int) -> None:
    parts = batches(rows, size)
    expected = as_json(rows)
    whole = json.loads(written(ResultFormat.JSON, parts))
    assert whole["data"] == expected
    columnar = json.loads(written(ResultFormat.COLUMNS, parts))
    assert {name: list(values) for name, values in columnar["data"].items()} == {
        column.name: [row[column.name] for row in expected] for column in COLUMNS
    }
    assert columnar["meta"] == whole["meta"]
    assert [json.loads(line) for line in written(ResultFormat.NDJSON, parts).splitlines()] == expected
    assert pa.ipc.open_stream(written(ResultFormat.ARROW, parts)).read_all().to_pylist() == rows
    stored = pq.read_table(io.BytesIO(written(ResultFormat.PARQUET, parts)))
    assert stored.to_pylist() == rows
    assert json.loads(stored.schema.metadata[b"headwater"]) == {"endpoint": "all"}
    head, *lines = read_csv(written(ResultFormat.CSV, parts))
    assert head == [column.name for column in COLUMNS]
    assert [line[:1] + line[3:4] + line[6:] for line in lines] == [
        (found := cells(row))[:1] + found[3:4] + found[6:] for row in expected
    ]


@settings(deadline=None, max_examples=30)
@given(rows=ROWS, size=st.integers(1, 5))
def test_a_page_shows_the_rows_and_never_their_markup(rows: list[dict[str, Any]], size: int) -> None:
    page = written(ResultFormat.HTML, batches(rows, size)).decode()
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    found = [
        re.findall(r"<td[^>]*>(.*?)</td>", line, re.DOTALL) for line in re.findall(r"<tr>(.*?)</tr>", body, re.DOTALL)
    ]
    assert set(re.findall(r"<[^>]*>", body)) <= {
        "<tbody>",
        "<tr>",
        "</tr>",
        "<td>",
        '<td class="n">',
        "</td>",
        "<i>",
        "</i>",
    }
    for row, shown in zip(as_json(rows), found, strict=True):
        assert [html.unescape(shown[index]) for index in (0, 6)] == [
            "<i>null</i>" if value is None else str(value) for value in (row["i"], row["text"])
        ]


@settings(deadline=None, max_examples=25)
@given(rows=ROWS, size=st.integers(1, 5))
def test_a_workbook_holds_the_rows_and_no_formula(rows: list[dict[str, Any]], size: int) -> None:
    lines = sheet(written(ResultFormat.XLSX, batches(rows, size)))
    assert [text for _, text in lines[1].values()] == [column.name for column in COLUMNS]
    epoch = datetime(1899, 12, 30, tzinfo=UTC)
    for index, row in enumerate(as_json(rows), start=2):
        line = lines.get(index, {})
        for letter, name in zip("ABCDEFGH", [column.name for column in COLUMNS], strict=True):
            value = row[name]
            kind, text = line.get(letter, ("", ""))
            match name:
                case _ if value is None:
                    assert letter not in line
                case "i" | "x":
                    is_number = not isinstance(value, str)
                    assert kind == ("n" if is_number else "inlineStr")
                    assert float(text) == pytest.approx(value, rel=1e-15) if is_number else text == value
                case "d":
                    assert Decimal(text).quantize(Decimal("0.01")) == Decimal(value)
                case "day" | "at":
                    moment = epoch + timedelta(days=float(text))
                    wanted = datetime.fromisoformat(value).replace(tzinfo=UTC)
                    assert abs(moment - wanted) < timedelta(milliseconds=2)
                case "b":
                    assert (kind, text) == ("b", str(int(value)))
                case _:
                    shown = value if isinstance(value, str) else cells({"x": value})[0]
                    assert (kind, unescaped(text)) == ("inlineStr", unescaped(shown))


@pytest.mark.parametrize("form", [ResultFormat.NDJSON_TRAILER, ResultFormat.ARROW_TRAILER])
def test_a_trailer_says_that_nothing_was_cut_off(form: ResultFormat) -> None:
    rows = [{"i": number} for number in range(10)]
    body = written(form, batches(rows, 3))
    if form is ResultFormat.NDJSON_TRAILER:
        assert json.loads(body.splitlines()[-1]) == {"_trailer": {"complete": True, "rows": 10}}
        return
    reader = pa.ipc.open_stream(body)
    read = [reader.read_next_batch_with_custom_metadata() for _ in range(5)]
    assert [one.batch.num_rows for one in read] == [3, 3, 3, 1, 0]
    assert dict(read[-1].custom_metadata) == {b"complete": b"true", b"rows": b"10"}


class Many:
    """A reading of more rows than memory should hold, made as they are read."""

    columns = COLUMNS[:1] + COLUMNS[6:7]
    schema = pa.schema([SCHEMA.field("i"), SCHEMA.field("text")])

    def __init__(self, count: int) -> None:
        self.count = count
        self.batch = pa.RecordBatch.from_arrays(
            [pa.array(range(1_024), pa.int64()), pa.array(["x" * 4_000] * 1_024)], schema=self.schema
        )

    def batches(self) -> Iterator[pa.RecordBatch]:
        for _ in range(self.count):
            yield self.batch

    def interrupt(self) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("form", [ResultFormat.CSV, ResultFormat.NDJSON, ResultFormat.ARROW, ResultFormat.PARQUET])
def test_a_long_export_holds_no_more_of_it_than_a_short_one(form: ResultFormat) -> None:
    """Four times the rows take no more memory: what is sent is not kept."""
    peaks = []
    for count in (10, 40):
        result = read_result(Many(count), Shape(form, 10_000_000, {}))  # type: ignore[arg-type]
        assert result.is_live
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        arrow = 0
        size = 0
        for chunk in result.chunks:
            size += len(chunk)
            arrow = max(arrow, pa.total_allocated_bytes() - before)
        peaks.append(tracemalloc.get_traced_memory()[1] + arrow)
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.5 + (8 << 20), peaks


def test_a_workbook_leaves_nothing_behind_when_nobody_reads_it_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    result = read_result(Many(1), Shape(ResultFormat.XLSX, 10_000, {}))  # type: ignore[arg-type]
    assert next(result.chunks) == b""
    assert list(tmp_path.iterdir())
    result.chunks.close()  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


def test_what_a_workbook_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    long = [{"text": "x" * 32_768}]
    with pytest.raises(HeadwaterError, match="characters in a cell"):
        written(ResultFormat.XLSX, batches(long, 1))
    monkeypatch.setattr("headwater.services.query.workbook.MAX_ROWS", 2)
    with pytest.raises(HeadwaterError, match="2 rows"):
        written(ResultFormat.XLSX, batches([{"i": 1}] * 3, 3))


def test_the_names_of_formats_are_those_that_may_be_asked_for() -> None:
    assert set(NAMED_FORMATS) == {"json", "columns", "ndjson", "csv", "arrow", "parquet", "xlsx", "html"}
    assert plain_columns(batches([{"i": 1}], 1)[0], COLUMNS)[0] == [1]
