"""The states of one live result, one after the other, and what each viewer has to be told."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.services.query.live import events
from headwater.services.query.live.differences import difference
from headwater.services.query.live.events import Event
from headwater.services.query.live.rows import State, read_state, settle
from headwater.services.query.plain import dump_json

HELD_STATES: Final = 8
HELD_ROWS: Final = 5_000
"""Of a result with more rows no older state is held, and no difference worked out for a viewer of his own."""
_HELD_IDS: Final = 64


@dataclass(frozen=True, slots=True)
class Shape:
    """How a result is read: who it is for, its key, and whether its order means something.

    ``label`` begins the id of every event; ``reads_clock`` says that equal table versions may have unequal results.
    """

    label: str
    path: str
    key: tuple[str, ...] = ()
    is_ordered: bool = True
    reads_clock: bool = False


class Timeline:
    """What happened to a result. ``number`` counts what viewers have to be told of; 0: nothing yet."""

    def __init__(self, shape: Shape) -> None:
        """Begin without any result."""
        self._shape = shape
        self._epoch = secrets.token_hex(4)
        self._states: OrderedDict[int, State] = OrderedDict()
        self._ids: OrderedDict[str, int] = OrderedDict()
        self._id = ""
        self._events: dict[int | None, Event] = {}
        self._problem: tuple[str, str] | None = None
        self._told: Event | None = None
        self.number = 0

    @property
    def problem(self) -> Event | None:
        """Return why there is no result now."""
        return self._told

    def prepare(self, body: bytes) -> tuple[State, bool]:
        """Return the next state, and whether it is news; may run in a thread while nothing else happens here."""
        before = self._states[self.number] if self.number else None
        return settle(before, read_state(body, self._shape.key, is_ordered=self._shape.is_ordered))

    def advance(self, vector: str, state: State, *, is_news: bool) -> bool:
        """Take a state in; return whether viewers have to be told.

        After a problem they always have, if only that it is over.
        """
        is_news = is_news or self._told is not None
        self._problem = self._told = None
        if is_news:
            self.number += 1
        self._states[self.number] = state
        self._events.clear()
        self._id = self._make_id(vector)
        self._ids[self._id] = self.number
        self._forget()
        return is_news

    def fail(self, error: HeadwaterError) -> bool:
        """Take in that there is no result; return whether viewers have not been told so."""
        problem = (error.code, error.detail)
        if problem == self._problem:
            return False
        self._problem = problem
        self._told = events.problem(error, instance=self._shape.path, id=f"{self._shape.label}:")
        return True

    def resume(self, last_id: str | None) -> int | None:
        """Return the number of the state that a viewer with this last id has, if it is still held."""
        number = self._ids.get(last_id or "")
        return number if number in self._states else None

    def event(self, since: int | None) -> Event:
        """Return what makes of state ``since`` the newest one; of none the snapshot."""
        event = self._events.get(since)
        if event is None:
            event = self._events[since] = self._difference(since) or self._snapshot()
        return event

    def _snapshot(self) -> Event:
        event = self._events.get(None)
        if event is None:
            state = self._states[self.number]
            data = dump_json({"meta": {**state.meta, "key": list(state.key)}, "data": state.rows})
            event = self._events[None] = events.make_event("snapshot", data, id=self._id)
        return event

    def _difference(self, since: int | None) -> Event | None:
        before = self._states.get(since) if since is not None else None
        after = self._states[self.number]
        if before is None:
            return None
        found = difference(before, after)
        if found is None:
            return None
        meta = {name: value for name, value in after.meta.items() if name != "columns"}
        event = events.make_event("patch", dump_json({"meta": meta, **found.to_plain()}), id=self._id)
        if found.size * 2 <= len(after.rows) or event.size <= self._snapshot().size:
            return event
        return None

    def _make_id(self, vector: str) -> str:
        unique = f".{self._epoch}.{self.number}" if self._shape.reads_clock else ""
        return f"{self._shape.label}:{vector}{unique}"

    def _forget(self) -> None:
        """Let go of old states: all but the newest where they are large."""
        held = HELD_STATES if len(self._states[self.number].rows) <= HELD_ROWS else 2
        while len(self._states) > held:
            self._states.popitem(last=False)
        while len(self._ids) > _HELD_IDS:
            self._ids.popitem(last=False)
