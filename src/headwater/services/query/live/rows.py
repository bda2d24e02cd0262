"""One state of a live result: its rows as JSON holds them, and which of them are the same rows as before."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

Row = dict[str, Any]
Identity = tuple[Any, ...]

SAME_RATIO: Final = 1e-12
"""Doubles that differ by less are the same: sums over threads end on other last digits each time they are made."""
_NATURE: Final = ("columns", "policy", "hidden_columns", "masked_columns", "notes", "truncated")


@dataclass(frozen=True, slots=True)
class State:
    """A result as its viewers have it.

    Attributes:
        meta: what the answer says about itself.
        rows: its rows, in order.
        key: the columns that tell rows apart; none where nothing does.
        places: the position of each row by the values of its key; empty without one.
    """

    meta: Mapping[str, Any]
    rows: list[Row]
    key: tuple[str, ...]
    places: Mapping[Identity, int]

    @property
    def nature(self) -> list[Any]:
        """Return what the rows are beside their values: where it changes, differences would mislead."""
        return [self.key, *(self.meta.get(name) for name in _NATURE)]

    def identity(self, row: Row) -> Identity:
        """Return the values of a row's key."""
        return tuple([row[name] for name in self.key])


def read_state(body: bytes, key: Sequence[str], *, is_ordered: bool) -> State:
    """Return the state that an answer in JSON is.

    Args:
        body: the answer.
        key: the columns that should tell rows apart; where they do not, or are not all shown, there is no key.
        is_ordered: the order of the rows means something; else they are put in one that stays.
    """
    document = orjson.loads(body)
    meta, rows = document["meta"], document["data"]
    names = [column["name"] for column in meta["columns"]]
    columns = tuple(key) if set(key) <= set(names) else ()
    if not is_ordered:
        rows = _in_order(rows, columns or names)
    places = _places(rows, columns)
    return State(meta, rows, columns if places is not None else (), places or {})


def settle(before: State | None, after: State) -> tuple[State, bool]:
    """Return ``after`` with the rows of ``before`` in place of those that are the same, and whether anything changed.

    What is compared is what viewers were told, so that many small changes do not add up unnoticed.
    """
    if before is None:
        return after, True
    if after.key and after.key == before.key:
        rows = [_kept(before, after, row) for row in after.rows]
    else:
        rows = [
            old if is_same(old, row) else row for old, row in zip(before.rows, after.rows, strict=False)
        ] + after.rows[len(before.rows) :]
    changed = (
        len(rows) != len(before.rows)
        or any(row is not old for row, old in zip(rows, before.rows, strict=True))
        or before.nature != after.nature
    )
    return replace(after, rows=rows), changed


def is_same(one: Row, other: Row) -> bool:
    """Return whether two rows say the same, but for the last digits of doubles."""
    if one == other:
        return True
    if one.keys() != other.keys():
        return False
    return all(_is_same_value(value, other[name]) for name, value in one.items())


def _is_same_value(one: Any, other: Any) -> bool:
    if one == other:
        return True
    if isinstance(one, float) or isinstance(other, float):
        numbers = isinstance(one, int | float) and isinstance(other, int | float)
        return numbers and math.isclose(one, other, rel_tol=SAME_RATIO)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same_value, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return is_same(one, other)
    return False


def _kept(before: State, after: State, row: Row) -> Row:
    place = before.places.get(after.identity(row))
    if place is None:
        return row
    old = before.rows[place]
    return old if is_same(old, row) else row


def _places(rows: list[Row], key: tuple[str, ...]) -> dict[Identity, int] | None:
    if not key:
        return None
    try:
        places = {tuple([row[name] for name in key]): place for place, row in enumerate(rows)}
    except TypeError:  # a list or a struct is nothing to tell rows apart by
        return None
    return places if len(places) == len(rows) else None


def _in_order(rows: list[Row], names: Sequence[str]) -> list[Row]:
    def plain(row: Row) -> list[tuple[bool, Any]]:
        return [((value := row[name]) is not None, value) for name in names]

    def as_text(row: Row) -> bytes:
        return orjson.dumps([row[name] for name in names])

    order: Callable[[Row], Any]
    for order in (plain, as_text):
        try:
            return sorted(rows, key=order)
        except TypeError:  # values of one column that are not all of one kind
            continue
    return rows
