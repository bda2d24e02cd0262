from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.contracts import grammar, jsontext
from headwater.contracts.assembly import build_column
from headwater.contracts.columns import Doubts
from headwater.contracts.grammar import FEW, TINY, TextPattern, parse_timestamp
from headwater.contracts.model import Field, LogicalType
from headwater.contracts.record import build_check
from headwater.contracts.shapes import FixedShape

TIMES = st.sampled_from(
    [
        "2026-01-01T10:00:00Z",
        "2024-02-29T23:59:59.123456+14:00",
        "0001-01-01T00:00:00.5-00:00",
        "9999-12-31T23:59:59.9Z",
        "2026-01-01T10:00:00.25-23:59",
    ]
)
MARKS = st.sampled_from("0123456789TtZz:.+- ,é/")
GOOD = "2026-01-01T10:00:00Z"
COLUMN = build_column(build_check(Field("at", LogicalType.TIMESTAMP)))


@st.composite
def nearly_times(draw: st.DrawFn) -> str:
    text = draw(TIMES)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(text) - 1))
        cut = draw(st.integers(0, 2))
        text = text[:at] + draw(st.text(MARKS, max_size=2)) + text[at + cut :]
    return text


@pytest.mark.parametrize("size", [1, TINY + 5, FEW + 5])
@given(text=nearly_times(), null=st.booleans())
@example(text="0000-12-31T23:00:00-02:00", null=False)
@example(text="2026-01-01 10:00:00Z", null=True)
@example(text="", null=False)
def test_a_column_takes_the_instants_that_the_grammar_takes(size: int, text: str, null: bool) -> None:
    values = [None if null else GOOD, *[GOOD] * (size - 2), text][-size:]
    doubts = Doubts()
    array = COLUMN.build(values, None, doubts)
    try:
        micros = parse_timestamp(text)
    except grammar.GrammarFault:
        assert doubts.rows().tolist() == [size - 1]
        return
    if doubts.rows().size == 0:
        assert array.cast(pa.int64())[size - 1].as_py() == micros


JSON = st.lists(st.sampled_from(["[", "]", "{", "}", '"e', "1e", "E+", "9" * 150, "0", ",", "1e999"]), max_size=80).map(
    "".join
)


@given(texts=st.lists(JSON, max_size=4), depth=st.integers(1, 8))
def test_json_that_is_surely_sound_together_is_sound_one_by_one(texts: list[str], depth: int) -> None:
    if jsontext.is_surely_sound("".join(texts).encode(), depth):
        assert not any(jsontext.is_too_deep(text.encode(), depth) for text in texts)
        assert not any(jsontext._HUGE.search(text.encode()) for text in texts)


PATTERNS = [
    "[0-9a-f]{8}-[0-9a-f]{4}",
    "[A-Z]{2}",
    r"\d{3}",
    "^AB[x-z]$",
    r"[A-Z]\.[0-9]",
    "(?:a|b)c",
    "a*",
    "[^a]b",
    ".",
]


@pytest.mark.parametrize("pattern", PATTERNS)
@given(texts=st.lists(st.text(st.sampled_from("abcxzAB019-.\né"), max_size=13), min_size=1, max_size=4))
def test_a_pattern_means_the_same_to_numpy_python_and_re2(pattern: str, texts: list[str]) -> None:
    compiled = TextPattern(pattern)
    expected = [number for number, text in enumerate(texts) if not re.fullmatch(f"(?:{pattern})", text, re.ASCII)]
    assert [number for number, text in enumerate(texts) if not compiled.matches(text)] == expected
    for repeat in (1, FEW):
        values = texts * repeat
        misses = compiled.misses(values, pa.array(values, pa.string())).tolist()
        assert misses == [number for number in range(len(values)) if number % len(texts) in expected]


def test_only_patterns_of_fixed_classes_have_a_shape() -> None:
    assert [FixedShape.parse(pattern) is not None for pattern in PATTERNS] == [True] * 5 + [False] * 4


def test_a_pattern_that_would_hang_python_does_not_hang_us() -> None:
    for pattern in ("(a+)+b", "a*a*a*a*a*b", "(?:a|aa)+$"):
        assert not TextPattern(pattern).matches("a" * 5_000 + "c")
