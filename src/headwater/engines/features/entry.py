"""What is kept online of one entity: packed small, merged with newer rows, and asked for its values at an instant.

An entry holds the newest visible row's columns, the windows' accumulators by step of time, and rows that are not
visible yet because of the view's delay. The values are computed when it is written, with the instant until which they
hold, so that reading is decoding; only after that instant the windows are added up again.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec

from headwater.engines.features.layout import Fold, Group, Layout
from headwater.engines.online.protocol import put_head

_MAX_INTEGER: Final = (1 << 63) - 1

Row = Sequence[Any]
"""A row that is not visible yet: event time, sequence number, and the values of the layout's sources."""


class Steps(msgspec.Struct, array_like=True):
    """A group's accumulators: ``starts`` are numbers of steps in rising order, with one list for each accumulator."""

    starts: list[int]
    kept: list[list[Any]]


class State(msgspec.Struct, array_like=True):
    """What an entry's values are computed from, where they change as time goes by."""

    groups: list[Steps]
    pending: list[Row]


class Entry(msgspec.Struct, array_like=True):
    """An entity as it is stored.

    ``event`` and ``seq`` are those of the newest visible row (None and 0 before there is one); ``values`` are by the
    layout's names and hold for reads before ``until`` (None: for ever). ``state`` is null where nothing ever changes.
    """

    event: int | None
    seq: int
    until: int | None
    values: Sequence[Any]
    state: msgspec.Raw


decode_entry: Final = msgspec.msgpack.Decoder(Entry).decode
_decode_state: Final = msgspec.msgpack.Decoder(State).decode
_encode: Final = msgspec.msgpack.Encoder().encode
_NOTHING: Final = msgspec.Raw(_encode(None))


class Entity:
    """An entity's state while rows are merged into it. ``last_event`` and ``last_seq`` are the highest it has seen."""

    __slots__ = ("columns", "event", "groups", "last_event", "last_seq", "pending", "seq")

    def __init__(self, layout: Layout, *, fresh: bool = True) -> None:
        """Begin with no row; not ``fresh``: columns, groups and pending rows are for the caller to set."""
        self.event: int | None = None
        self.seq = 0
        self.last_event = 0
        self.last_seq = 0
        if fresh:
            self.columns: list[Any] = [None] * len(layout.columns)
            self.groups = [Steps([], [[] for _ in group.accumulators]) for group in layout.groups]
            self.pending: list[Row] = []

    @classmethod
    def load(cls, layout: Layout, entry: Entry, head: tuple[int, int]) -> Entity:
        """Return the state of a stored entry."""
        stores_state = has_state(entry)
        entity = cls(layout, fresh=not stores_state)
        entity.event, entity.seq = entry.event, entry.seq
        entity.columns = list(entry.values[: len(layout.columns)])
        if stores_state:
            state = _decode_state(entry.state)
            entity.groups, entity.pending = state.groups, state.pending
        entity.last_event, entity.last_seq = head
        return entity

    def merge(self, layout: Layout, newer: Entity) -> None:
        """Take in what later rows added up to."""
        if newer.event is not None and (self.event is None or (newer.event, newer.seq) > (self.event, self.seq)):
            self.event, self.seq, self.columns = newer.event, newer.seq, newer.columns
        for group, mine, theirs in zip(layout.groups, self.groups, newer.groups, strict=True):
            _merge_steps(group, mine, theirs)
        self.pending.extend(newer.pending)
        self.last_event = max(self.last_event, newer.last_event) if self.last_seq else newer.last_event
        self.last_seq = max(self.last_seq, newer.last_seq)

    def advance(self, layout: Layout, now_us: int) -> None:
        """Take in the rows that have become visible, and forget the steps that no window reaches any more."""
        visible = now_us - layout.delay_us
        if self.pending:
            self.pending.sort(key=itemgetter(0, 1))
            count = bisect_left(self.pending, visible + 1, key=itemgetter(0))
            for row in self.pending[:count]:
                self._take(layout, row)
            del self.pending[:count]
        for group, steps in zip(layout.groups, self.groups, strict=True):
            gone = bisect_left(steps.starts, (visible - group.window_us) // group.step_us)
            if gone:
                del steps.starts[:gone]
                for kept in steps.kept:
                    del kept[:gone]

    def values(self, layout: Layout, now_us: int) -> tuple[list[Any], int | None]:
        """Return the values at an instant, after ``advance`` to it, and until when they hold."""
        visible = now_us - layout.delay_us
        until = self.pending[0][0] + layout.delay_us if self.pending else None
        values = list(self.columns)
        for fold in layout.folds:
            steps, step = self.groups[fold.group], layout.groups[fold.group].step_us
            first = bisect_left(steps.starts, (visible - fold.window_us) // step)
            values.append(_VALUES[fold.aggregate](fold, [steps.kept[place][first:] for place in fold.accumulators]))
            if first < len(steps.starts):
                leaves = (steps.starts[first] + 1) * step + fold.window_us + layout.delay_us
                until = leaves if until is None else min(until, leaves)
        return values, until

    def pack(self, layout: Layout, now_us: int) -> bytes:
        """Return the value to store, after ``advance`` to ``now_us``."""
        values, until = self.values(layout, now_us)
        state = msgspec.Raw(_encode(State(self.groups, self.pending))) if layout.folds or self.pending else _NOTHING
        entry = Entry(self.event, self.seq, until, values, state)
        return put_head(self.last_event, self.last_seq, _encode(entry))

    def _take(self, layout: Layout, row: Row) -> None:
        event, seq = row[0], row[1]
        values = dict(zip(layout.sources, row[2:], strict=True))
        if self.event is None or (event, seq) > (self.event, self.seq):
            self.event, self.seq = event, seq
            self.columns = [values[source] for source in layout.columns]
        for group, steps in zip(layout.groups, self.groups, strict=True):
            added = []
            for item in group.accumulators:
                value = None if item.source is None else values[item.source]
                added.append([_of_one(item.kind, value, event, seq)])
            _merge_steps(group, steps, Steps([event // group.step_us], added))


def has_state(entry: Entry) -> bool:
    """Return whether an entry holds more than columns."""
    return entry.state != _NOTHING


def pack_columns(event: int | None, seq: int, columns: Sequence[Any], head: tuple[int, int]) -> bytes:
    """Return the value to store of an entity that has nothing but columns, all of its rows being visible."""
    return put_head(*head, _encode(Entry(event, seq, None, columns, _NOTHING)))


def _merge_steps(group: Group, mine: Steps, theirs: Steps) -> None:
    """Add accumulators to others, step by step."""
    if not theirs.starts:
        return
    if not mine.starts or theirs.starts[0] > mine.starts[-1]:
        mine.starts.extend(theirs.starts)
        for kept, added in zip(mine.kept, theirs.kept, strict=True):
            kept.extend(added)
        return
    combines = [_COMBINE[item.kind] for item in group.accumulators]
    for index, start in enumerate(theirs.starts):
        place = bisect_left(mine.starts, start)
        if place < len(mine.starts) and mine.starts[place] == start:
            for combine, kept, added in zip(combines, mine.kept, theirs.kept, strict=True):
                kept[place] = combine(kept[place], added[index])
        else:
            mine.starts.insert(place, start)
            for kept, added in zip(mine.kept, theirs.kept, strict=True):
                kept.insert(place, added[index])


def _of_one(kind: str, value: Any, event: int, seq: int) -> Any:
    """Return what one row adds up to."""
    match kind:
        case "rows":
            return 1
        case "count":
            return int(value is not None)
        case "last":
            return None if value is None else [event, seq, value]
        case "distinct":
            return [] if value is None else [value]
        case _:
            return value


def _add(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return one if other is None else other
    total = one + other
    # What no longer fits 64 bits goes on as a float and shows as no value.
    return float(total) if isinstance(total, int) and abs(total) > _MAX_INTEGER else total


def _pick(choose: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    def combine(one: Any, other: Any) -> Any:
        if one is None or other is None:
            return one if other is None else other
        return choose(one, other)

    return combine


def _union(one: list[Any], other: list[Any]) -> list[Any]:
    return sorted({*one, *other})


_COMBINE: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "rows": _add,
    "count": _add,
    "sum": _add,
    "min": _pick(min),
    "max": _pick(max),
    "last": _pick(max),
    "distinct": _union,
}


def _count(_fold: Fold, kept: list[list[Any]]) -> int:
    return sum(kept[0])


def _sum(fold: Fold, kept: list[list[Any]]) -> Any:
    total = None
    for part in kept[0]:
        total = _add(total, part)
    return _typed(fold, total)


def _mean(fold: Fold, kept: list[list[Any]]) -> Any:
    count = sum(kept[1])
    return _typed(fold, sum(part for part in kept[0] if part is not None) / count) if count else None


def _least(_fold: Fold, kept: list[list[Any]]) -> Any:
    return min((part for part in kept[0] if part is not None), default=None)


def _greatest(_fold: Fold, kept: list[list[Any]]) -> Any:
    return max((part for part in kept[0] if part is not None), default=None)


def _last(_fold: Fold, kept: list[list[Any]]) -> Any:
    newest = next((part for part in reversed(kept[0]) if part is not None), None)
    return None if newest is None else newest[2]


def _distinct(_fold: Fold, kept: list[list[Any]]) -> int:
    return len({value for part in kept[0] for value in part})


def _typed(fold: Fold, total: Any) -> Any:
    """Return a total as the feature's type; None where it cannot be held."""
    if total is None or (fold.type == "integer" and isinstance(total, float)):
        return None
    total = float(total) if fold.type == "number" else total
    return total if math.isfinite(total) else None


_VALUES: Final[dict[str, Callable[[Fold, list[list[Any]]], Any]]] = {
    "count": _count,
    "sum": _sum,
    "mean": _mean,
    "min": _least,
    "max": _greatest,
    "last": _last,
    "distinct": _distinct,
}
