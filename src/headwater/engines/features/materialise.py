"""Keeping views' online state: rows are added up, merged into what the store has of their entities, and written back.

Each row has its effect once. The note on a view's state says up to which sequence number rows are in, and every
entity's value carries the highest it was made of: whatever was written before a crash, the same rows again change
nothing, and what is missing is told by the note.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.entry import Entity, decode_entry, has_state, pack_columns
from headwater.engines.features.fold import ALL, SEQ, Folded, Folder, Scope
from headwater.engines.features.layout import Layout, layout_of
from headwater.engines.features.progress import Progress, note_name, read_progress, space_name, write_progress
from headwater.engines.features.windows import SECOND
from headwater.engines.online.protocol import HEAD_BYTES, Item, OnlineStore, read_head, space_of

_BATCH: Final = 20_000  # entities that are read, merged and written at a time
_MEMORY: Final = "512MB"
_decode_key: Final = msgspec.msgpack.decode


@dataclass(slots=True)
class ViewState:
    """The online state of a view: where it is, and how far it goes."""

    environment_id: str
    view: FeatureViewSpec
    layout: Layout
    progress: Progress

    @property
    def note(self) -> str:
        """Return the name of the state's note."""
        return note_name(self.environment_id, self.view.name, self.layout.digest)

    @property
    def space(self) -> bytes:
        """Return the prefix of its keys."""
        name = space_name(self.environment_id, self.view.name, self.layout.digest, self.progress.generation)
        return space_of(name)


class Materialiser:
    """Writes views' online state. For one thread; one process at a time feeds a view."""

    def __init__(
        self, store: OnlineStore, *, threads: int = 1, memory: str = _MEMORY, spill: str | None = None
    ) -> None:
        """Write to ``store``, adding up in a DuckDB of its own; ``spill`` is a folder for what memory does not hold."""
        self._store = store
        config: dict[str, Any] = {"threads": threads, "memory_limit": memory}
        if spill is not None:
            config["temp_directory"] = spill
        self._connection = duckdb.connect(":memory:", config=config)

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """Return the DuckDB that adds rows up, for making tables in."""
        return self._connection

    def close(self) -> None:
        """Release DuckDB; the store is the caller's."""
        self._connection.close()

    def find(self, environment_id: str, view: FeatureViewSpec) -> ViewState | None:
        """Return the state of a view in its present layout; None when there is none."""
        layout = layout_of(view)
        progress = read_progress(self._store.note(note_name(environment_id, view.name, layout.digest)))
        return None if progress is None else ViewState(environment_id, view, layout, progress)

    def begin(self, environment_id: str, view: FeatureViewSpec, *, journal: str, seq: int = 0) -> ViewState:
        """Make a state that holds nothing, and have it read; ``seq`` is what counts as being in."""
        state = ViewState(environment_id, view, layout_of(view), Progress(1, journal, seq, time.time_ns() // 1_000))
        self._store.write([], {state.note: write_progress(state.progress)})
        return state

    def append(self, state: ViewState, rows: pa.Table, *, now_us: int, through_seq: int | None = None) -> int:
        """Merge rows that follow those which are in; return how many entities they touched.

        Args:
            state: the state; its progress moves on.
            rows: with the lake's system columns; those that are in already are passed over.
            now_us: the instant of writing, in microseconds.
            through_seq: up to where rows are in afterwards; default: the highest of ``rows``.
        """
        missing = {state.view.event_time, *state.view.entities} - set(rows.column_names)
        through = int(pc.max(rows[SEQ]).as_py()) if through_seq is None else through_seq
        touched = 0
        if not missing:
            rows = _with_columns(rows, [source.column for source in state.layout.sources])
            self._connection.register("segment", rows)
            try:
                touched = self.merge(state, "segment", now_us=now_us, scope=Scope(after_seq=state.progress.seq))
            finally:
                self._connection.unregister("segment")
        self.advance(state, through)
        return touched

    def advance(self, state: ViewState, through_seq: int) -> None:
        """Note that every row up to ``through_seq`` is in."""
        seq = max(through_seq, state.progress.seq)
        state.progress = msgspec.structs.replace(state.progress, seq=seq, at_us=time.time_ns() // 1_000)
        self._store.write([], {state.note: write_progress(state.progress)})

    def merge(self, state: ViewState, rows: str, *, now_us: int, scope: Scope = ALL) -> int:
        """Merge the rows of a table into what the store has; return how many entities they touched."""
        folder = Folder(self._connection, state.view, state.layout)
        newer = folder.fold(rows, now_us, scope)
        stored = self._read(state, newer.keys)
        seen = _overlap(newer.keys, stored, scope)
        if seen:
            newer = folder.fold(rows, now_us, scope, seen=_seen_table(seen, state.view))
            stored = self._read(state, newer.keys)
        self._write(_items(state, newer, stored, now_us))
        return len(newer.keys)

    def replace(self, state: ViewState, rows: str, *, now_us: int, scope: Scope, through_seq: int) -> int:
        """Write what the rows of a table add up to, for building a new generation; return how many entities.

        ``through_seq`` is up to where rows count as being in: numbers beyond it are another journal's.
        """
        newer = Folder(self._connection, state.view, state.layout).fold(rows, now_us, scope)
        newer.heads = [(event, min(seq, through_seq)) for event, seq in newer.heads]
        self._write(_items(state, newer, [None] * len(newer.keys), now_us))
        return len(newer.keys)

    def _read(self, state: ViewState, keys: Sequence[bytes]) -> list[bytes | None]:
        space = state.space
        found: list[bytes | None] = []
        for start in range(0, len(keys), _BATCH):
            found += self._store.read([space + key for key in keys[start : start + _BATCH]])
        return found

    def _write(self, items: Iterator[Item]) -> None:
        # Nothing here refers to itself, and looking for what does would take longer than the work.
        with _without_collection():
            while batch := list(islice(items, _BATCH)):
                self._store.write(batch)


def _items(state: ViewState, newer: Folded, stored: Sequence[bytes | None], now_us: int) -> Iterator[Item]:
    """Yield what to store, ordered by key, as stores like it."""
    layout, space = state.layout, state.space
    lifetime = lifetime_us(state.view, layout)
    pack = _pack_columns if not layout.folds and not newer.pending else _pack_entity
    keys = newer.keys
    for index in sorted(range(len(keys)), key=keys.__getitem__):
        expires = None if lifetime is None else newer.heads[index][0] + lifetime
        yield Item(space + keys[index], pack(layout, newer, index, stored[index], now_us), expires)


def _pack_entity(layout: Layout, newer: Folded, index: int, value: bytes | None, now_us: int) -> bytes:
    entity = newer.entity(layout, index)
    if value is not None:
        older = Entity.load(layout, decode_entry(memoryview(value)[HEAD_BYTES:]), read_head(value))
        older.merge(layout, entity)
        entity = older
    entity.advance(layout, now_us)
    return entity.pack(layout, now_us)


def _pack_columns(layout: Layout, newer: Folded, index: int, value: bytes | None, now_us: int) -> bytes:
    """Do as ``_pack_entity`` for what has columns alone, without making objects of them."""
    (event, seq), columns, head = newer.newest[index], newer.columns[index], newer.heads[index]
    if value is not None:
        older = decode_entry(memoryview(value)[HEAD_BYTES:])
        if has_state(older):
            return _pack_entity(layout, newer, index, value, now_us)
        last_event, last_seq = read_head(value)
        head = (max(head[0], last_event), max(head[1], last_seq))
        if older.event is not None and (event is None or seq is None or (event, seq) < (older.event, older.seq)):
            event, seq, columns = older.event, older.seq, tuple(older.values)
    return pack_columns(event, seq or 0, columns, head)


@contextmanager
def _without_collection() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def lifetime_us(view: FeatureViewSpec, layout: Layout) -> int | None:
    """Return how long after its newest event an entity can matter, in microseconds; None: for ever."""
    if view.freshness_seconds is not None:
        return max(view.freshness_seconds * SECOND, layout.delay_us) + SECOND
    return layout.horizon_us


def _with_columns(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return rows with the columns that an older contract's rows lack, as nulls."""
    for name in dict.fromkeys(names):
        if name not in rows.column_names:
            rows = rows.append_column(name, pa.nulls(rows.num_rows))
    return rows


def _overlap(keys: Sequence[bytes], stored: Sequence[bytes | None], scope: Scope) -> dict[bytes, int]:
    """Return the entities that have rows of this scope already, with the highest sequence number they have."""
    floor = scope.after_seq or 0
    heads = {key: read_head(value)[1] for key, value in zip(keys, stored, strict=True) if value is not None}
    return {key: seq for key, seq in heads.items() if seq > floor}


def _seen_table(seen: Mapping[bytes, int], view: FeatureViewSpec) -> pa.Table:
    keys = [_decode_key(key) for key in seen]
    columns: dict[str, Any] = {f"k{index}": [key[index] for key in keys] for index in range(len(view.entities))}
    return pa.table({**columns, "seen": pa.array(list(seen.values()), pa.int64())})
