from __future__ import annotations

from typing import Any

import pytest
from tests.builders.live import answer

from headwater.services.query.live.rows import State, is_same, read_state, settle


def state(*rows: dict[str, Any], key: tuple[str, ...] = ("k",), **meta: Any) -> State:
    return read_state(answer(*rows, **meta), key, is_ordered=True)


def test_rows_are_told_apart_by_the_key_where_it_is_one() -> None:
    found = state({"k": "a", "n": 1}, {"k": None, "n": 2})
    assert (found.key, found.places) == (("k",), {("a",): 0, (None,): 1})


@pytest.mark.parametrize(
    "rows",
    [
        [{"k": "a"}, {"k": "a"}],
        [{"k": ["a"]}],
        [{"n": 1}],
    ],
    ids=["twice", "a list", "left out by a policy"],
)
def test_a_key_that_tells_no_rows_apart_is_none(rows: list[dict[str, Any]]) -> None:
    found = state(*rows)
    assert (found.key, found.places) == ((), {})


def test_rows_in_no_order_are_put_in_one_that_stays() -> None:
    rows: list[dict[str, Any]] = [{"k": "b", "n": 10}, {"k": None, "n": 1}, {"k": "a", "n": 9}]
    for given in (rows, rows[::-1]):
        for key, names in ((("k",), [None, "a", "b"]), ((), [None, "a", "b"])):
            found = read_state(answer(*given), key, is_ordered=False)
            assert [row["k"] for row in found.rows] == names


def test_numbers_are_put_in_order_as_numbers_and_mixed_values_as_text() -> None:
    found = read_state(answer({"k": 10}, {"k": 9}), ("k",), is_ordered=False)
    assert [row["k"] for row in found.rows] == [9, 10]
    mixed = read_state(answer({"k": 10}, {"k": "9007199254740993"}), ("k",), is_ordered=False)
    assert len(mixed.rows) == 2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (0.1 + 0.2, 0.3, True),
        (1e9, 1e9 + 0.01, False),
        (1.0, 1, True),
        (0.0, 1e-300, False),
        (None, 0.0, False),
        ("1.0", 1.0, False),
        ([0.1 + 0.2, {"x": 0.3}], [0.3, {"x": 0.1 + 0.2}], True),
        ([1.0], [1.0, 2.0], False),
        ({"x": 1.0}, {"y": 1.0}, False),
    ],
)
def test_doubles_are_the_same_but_for_their_last_digits(one: Any, other: Any, same: bool) -> None:
    assert is_same({"v": one}, {"v": other}) is same


def test_a_sum_that_ends_on_another_digit_is_no_news_and_many_of_them_are_not_forgotten() -> None:
    before = state({"k": "a", "n": 1.0})
    after, is_news = settle(before, state({"k": "a", "n": 1.0 + 5e-13}))
    assert not is_news
    assert after.rows[0] is before.rows[0]
    _, is_news = settle(after, state({"k": "a", "n": 1.0 + 2e-12}))
    assert is_news


def test_what_changes_beside_the_rows_is_news_and_versions_alone_are_not() -> None:
    before = state({"k": "a", "n": 1}, table_versions={"t": 1})
    assert not settle(before, state({"k": "a", "n": 1}, table_versions={"t": 2}))[1]
    assert settle(before, state({"k": "a", "n": 1}, policy={"t": "other"}))[1]
    assert settle(before, state({"k": "a", "n": 1}, {"k": "b", "n": 1}))[1]
    assert settle(before, state({"k": "a", "n": 1}, key=()))[1]


def test_without_a_key_rows_are_held_against_those_at_their_places() -> None:
    before = state({"n": 1.0}, {"n": 2.0}, key=())
    after, is_news = settle(before, state({"n": 1.0 + 1e-13}, {"n": 3.0}, {"n": 4.0}, key=()))
    assert is_news
    assert after.rows == [{"n": 1.0}, {"n": 3.0}, {"n": 4.0}]
    assert not settle(before, state({"n": 1.0}, {"n": 2.0}, key=()))[1]
    assert settle(before, state({"n": 1.0}, key=()))[1]
