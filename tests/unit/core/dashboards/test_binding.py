"""From filters to parameters: what readers choose, time ranges included, as the endpoints take it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.core.dashboards import parse_board
from headwater.core.dashboards.binding import chosen, parameters_of
from headwater.core.dashboards.numbers import ABSENT, format_number
from headwater.core.dashboards.times import PRESETS, parse_range
from headwater.core.errors import HeadwaterError

NOW = datetime(2026, 3, 31, 13, 45, 30, tzinfo=UTC)
BOARD = parse_board(
    {
        "title": "x",
        "filters": [
            {"name": "region", "values": ["north", "south"]},
            {"name": "period", "type": "time_range", "default": "last 7 days"},
            {"name": "late", "type": "boolean", "default": False},
            {"name": "day", "type": "date"},
            {"name": "top", "type": "integer"},
        ],
        "tiles": [
            {
                "name": "t", "kind": "table", "endpoint": "e",
                "parameters": {
                    "region": {"filter": "region"}, "first": {"filter": "period.from"},
                    "until": {"filter": "period.to"}, "late": {"filter": "late"}, "limit": 3, "many": ["a", 2],
                },
            }
        ],
    }
)  # fmt: skip
TILE: Any = BOARD.tiles[0]
TYPES = {"first": "date", "until": "timestamp"}


def test_defaults_hold_and_what_nobody_chose_is_left_out() -> None:
    assert parameters_of(TILE, chosen(BOARD, {}), TYPES, now=NOW) == {
        "first": "2026-03-25", "until": "2026-03-31T13:46:00Z", "late": "false", "limit": "3", "many": ["a", "2"],
    }  # fmt: skip


def test_what_a_reader_chooses_comes_before_the_default_and_strangers_are_ignored() -> None:
    given_ = {"region": " south ", "period": "2013-01-01/2013-01-31", "late": "", "zzz": "1"}
    assert parameters_of(TILE, chosen(BOARD, given_), TYPES, now=NOW) == {
        "region": "south", "first": "2013-01-01", "until": "2013-02-01T00:00:00Z", "limit": "3", "many": ["a", "2"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("region", "west", "filter Region: 'west' is none of north, south"),
        ("period", "last week", "filter Period: 'last week' is no time range"),
        ("period", "2013-02-30/2013-03-01", "day is out of range"),
        ("period", "2013-02-03/2013-02-01", "ends before it begins"),
        ("late", "yes", "is no boolean"),
        ("day", "31.12.2026", "is no date"),
        ("top", "many", "is no integer"),
        ("region", "x" * 3_000, "3,000 characters are too many"),
    ],
)
def test_a_value_that_a_filter_cannot_have_is_refused_by_its_name(name: str, text: str, words: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        chosen(BOARD, {name: text})
    assert caught.value.code == "invalid_parameter"
    assert words in caught.value.detail


@pytest.mark.parametrize(
    ("text", "first", "last", "starts_at"),
    [
        ("today", "2026-03-31", "2026-03-31", "2026-03-31T00:00:00Z"),
        ("yesterday", "2026-03-30", "2026-03-30", "2026-03-30T00:00:00Z"),
        ("this month", "2026-03-01", "2026-03-31", "2026-03-01T00:00:00Z"),
        ("This  Year", "2026-01-01", "2026-03-31", "2026-01-01T00:00:00Z"),
        ("last 24 hours", "2026-03-30", "2026-03-31", "2026-03-30T13:46:00Z"),
        ("last 1 day", "2026-03-31", "2026-03-31", "2026-03-30T13:46:00Z"),
        ("last 2 weeks", "2026-03-18", "2026-03-31", "2026-03-17T13:46:00Z"),
        ("last 1 month", "2026-03-01", "2026-03-31", "2026-03-01T00:00:00Z"),
        ("last 13 months", "2025-03-01", "2026-03-31", "2025-03-01T00:00:00Z"),
    ],
)
def test_relative_ranges_are_what_people_mean(text: str, first: str, last: str, starts_at: str) -> None:
    span = parse_range(text)(NOW)
    assert (str(span.first), str(span.last), span.end("from", "timestamp")) == (first, last, starts_at)


@pytest.mark.parametrize("text", ["last 100001 days", "last 99999 months", "last 0 days", "next 3 days", "", "last 5"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"range|begin"):
        parse_range(text)(NOW)


@given(
    st.sampled_from(PRESETS),
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_every_preset_begins_before_it_ends_whenever_it_is_asked(text: str, now: datetime) -> None:
    span = parse_range(text)(now)
    assert span.first <= span.last
    assert span.starts_at < span.ends_at
    assert span.starts_at.date() <= span.last


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (1234.5, "", "1,234.50"), (1234, "", "1,234"), (0.1234567, "", "0.1235"), (None, "", ABSENT), ("x", "", "x"),
        ("12.50", ",.1f", "12.5"), (1234567, ",d", "1,234,567"), (0.256, ".1%", "25.6%"), (0.256, "%", "26%"),
        (12_345, "s", "12.3k"), (2_500_000, ".2s", "2.50M"), (999, "s", "999"), (float("inf"), "", "inf"),
        (True, "", "True"), (-1234.5, ",.0f", "-1,234"), ("9007199254740993", ",d", "9,007,199,254,740,992"),
    ],
)  # fmt: skip
def test_numbers_are_written_in_the_form_asked_for(value: Any, form: str, text: str) -> None:
    assert format_number(value, form) == text
