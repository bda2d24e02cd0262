from __future__ import annotations

import pytest

from headwater.engines.query.result_types import fits, json_schema, read_type


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Integer", "integer"),
        ("decimal(18, 2)", "decimal(18,2)"),
        ("string [] []", "string[][]"),
        ("int64", "BIGINT"),
        ("timestamptz", "TIMESTAMP WITH TIME ZONE"),
        ("struct(a int, b varchar)", "STRUCT(a INTEGER, b VARCHAR)"),
    ],
)
def test_a_declared_type_has_one_form(text: str, read: str) -> None:
    assert read_type(text) == read


@pytest.mark.parametrize("text", ["", "no such type", "integer; DROP TABLE x", "SELECT 1", "integer)"])
def test_what_is_no_type_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a type"):
        read_type(text)


@pytest.mark.parametrize(
    ("promised", "actual", "kept"),
    [
        ("integer", "HUGEINT", True),
        ("integer", "DOUBLE", False),
        ("string", "ENUM('a', 'b')", True),
        ("string", "VARCHAR[]", False),
        ("string[]", "VARCHAR[]", True),
        ("decimal", "DECIMAL(38,2)", True),
        ("decimal(18,2)", "DECIMAL(18,2)", True),
        ("decimal(18,2)", "DECIMAL(38,2)", False),
        ("json", "STRUCT(a INTEGER)", True),
        ("json", "STRUCT(a INTEGER)[]", False),
        ("BIGINT", "BIGINT", True),
        ("BIGINT", "INTEGER", False),
        ("timestamp", "TIMESTAMP", False),
    ],
)
def test_a_word_promises_what_json_shows_and_an_exact_type_itself(promised: str, actual: str, kept: bool) -> None:
    assert fits(promised, actual) is kept


def test_every_type_has_a_json_schema_that_allows_null() -> None:
    assert json_schema("DECIMAL(18,2)")["type"] == ["string", "null"]
    assert json_schema("BIGINT")["type"] == ["integer", "string", "null"]
    assert json_schema("INTEGER")["type"] == ["integer", "null"]
    assert json_schema("date[]") == {
        "type": ["array", "null"],
        "items": {"type": ["string", "null"], "format": "date"},
    }
    assert json_schema("VARCHAR[3]")["items"]["type"] == ["string", "null"]
    assert json_schema("TIMESTAMP_NS")["type"] == ["string", "null"]
    assert "type" not in json_schema("STRUCT(a INTEGER)")
