"""What has to be done to the rows of one state to make them those of another."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from headwater.services.query.live.rows import Identity, Row, State


@dataclass(frozen=True, slots=True)
class Difference:
    """Rows to take away by their keys, and rows to put in at their places.

    To apply it, take away the rows whose keys are in ``delete`` and those whose keys ``upsert`` brings; then put the
    rows of ``upsert`` in at their places, the first first.
    """

    upsert: list[tuple[int, Row]]
    delete: list[Identity]

    @property
    def size(self) -> int:
        """Return how many rows it names."""
        return len(self.upsert) + len(self.delete)

    def to_plain(self) -> dict[str, Any]:
        """Return it as an event's data has it."""
        return {
            "upsert": [{"at": place, "row": row} for place, row in self.upsert],
            "delete": [list(identity) for identity in self.delete],
        }


def difference(before: State, after: State) -> Difference | None:
    """Return what leads from ``before`` to ``after``; None where rows cannot be told apart, or mean something else."""
    if not after.key or before.nature != after.nature:
        return None
    delete = [identity for identity in before.places if identity not in after.places]
    same: list[int] = []  # places in ``after`` of rows that are as they were
    origins: list[int] = []  # and their places in ``before``
    for identity, place in after.places.items():
        origin = before.places.get(identity)
        if origin is None:
            continue
        old, new = before.rows[origin], after.rows[place]
        if old is new or old == new:
            same.append(place)
            origins.append(origin)
    stay = {same[index] for index in _longest_rise(origins)}
    return Difference([(place, row) for place, row in enumerate(after.rows) if place not in stay], delete)


def _longest_rise(numbers: list[int]) -> list[int]:
    """Return the indices of a longest rising subsequence: the rows that need not move."""
    if all(one < other for one, other in pairwise(numbers)):
        return list(range(len(numbers)))
    tails: list[int] = []  # the least last number of a rise of each length, and its index
    holders: list[int] = []
    before = [-1] * len(numbers)
    for index, number in enumerate(numbers):
        length = bisect_left(tails, number)
        if length == len(tails):
            tails.append(number)
            holders.append(index)
        else:
            tails[length] = number
            holders[length] = index
        before[index] = holders[length - 1] if length else -1
    rise: list[int] = []
    index = holders[-1] if holders else -1
    while index >= 0:
        rise.append(index)
        index = before[index]
    return rise[::-1]
