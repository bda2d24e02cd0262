"""A stream is cut into whole rows, whatever the rows hold."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.client import framing
from headwater.client.errors import ClientError
from headwater.client.framing import Piece, split


def pieces(data: bytes, form: framing.Format, **limits: int) -> list[Piece]:
    return list(split(io.BytesIO(data), form, **limits))


def test_ndjson_is_cut_by_rows_and_blank_lines_are_no_rows() -> None:
    found = pieces(b'\xef\xbb\xbf{"a":1}\r\n\n{"a":2}\n   \n{"a":3}', "ndjson", batch_rows=2)

    assert [(piece.body, piece.rows, piece.first_row) for piece in found] == [
        (b'{"a":1}\n{"a":2}\n', 2, 0),
        (b'{"a":3}\n', 1, 2),
    ]


def test_ndjson_is_cut_by_bytes() -> None:
    found = pieces(b"[1111]\n[2222]\n[3333]\n", "ndjson", batch_bytes=12)

    assert [piece.rows for piece in found] == [1, 1, 1]


def test_csv_repeats_the_header_and_keeps_line_ends_inside_quotes() -> None:
    found = pieces(b'id,text\r\n1,"a\r\nb"\r\n2,"say ""hi"""\r\n3,c', "csv", batch_rows=2)

    assert [(piece.body, piece.rows, piece.first_row) for piece in found] == [
        (b'id,text\r\n1,"a\r\nb"\r\n2,"say ""hi"""\r\n', 2, 0),
        (b"id,text\r\n3,c", 1, 2),
    ]


def test_a_csv_header_without_rows_has_no_pieces() -> None:
    assert pieces(b"id,text", "csv") == []


def test_an_open_quote_is_told() -> None:
    with pytest.raises(ClientError, match="double quote"):
        pieces(b'id\n"never closed\n', "csv")


@pytest.mark.parametrize(
    "text", ['[{"a": "]}{,\\""}, {"b": [1, {"c": 2}]}]', '{"rows": [{"a": "]}{,\\""}, {"b": [1, {"c": 2}]}], "x": 1}']
)
def test_an_array_is_cut_into_its_elements(text: str) -> None:
    found = pieces(text.encode(), "json", batch_rows=1)

    assert [json.loads(piece.body) for piece in found] == [[{"a": ']}{,"'}], [{"b": [1, {"c": 2}]}]]


def test_a_single_object_is_one_row() -> None:
    assert pieces(b' {"a": [1, 2]} ', "json") == [Piece(b'[{"a": [1, 2]}]', 1, 0)]


@pytest.mark.parametrize("text", ['[{"a": 1}', '[{"a": "never closed}]', "["])
def test_a_cut_off_array_is_told(text: str) -> None:
    with pytest.raises(ClientError, match="cut off"):
        pieces(text.encode(), "json")


def test_an_empty_array_has_no_rows() -> None:
    assert pieces(b"[ ]", "json") == []


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(rows=st.lists(st.dictionaries(st.text(), _JSON), max_size=12), chunk=st.integers(1, 7), indent=st.booleans())
def test_no_element_is_lost_wherever_the_chunks_end(rows: list[dict[str, Any]], chunk: int, *, indent: bool) -> None:
    text = json.dumps(rows, ensure_ascii=False, indent=2 if indent else None).encode()
    whole = framing._CHUNK
    framing._CHUNK = chunk  # type: ignore[misc]
    try:
        found = [row for piece in pieces(text, "json", batch_rows=5) for row in json.loads(piece.body)]
    finally:
        framing._CHUNK = whole  # type: ignore[misc]

    assert found == rows
