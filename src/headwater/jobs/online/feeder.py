"""Bringing one view's online state up to the lake: built when it is new, caught up when it is behind.

Sequence numbers say what is in. They belong to one journal: where the journal is younger than the table, what the table
held before it is in from the start and numbers are counted in the journal.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.core.snapshot import DatasetSpec, FeatureViewSpec, Snapshot
from headwater.core.streams import stream_name
from headwater.engines.features.fold import SEQ, Scope
from headwater.engines.features.lake import dataset_rows
from headwater.engines.features.layout import layout_of
from headwater.engines.features.materialise import Materialiser, ViewState, lifetime_us
from headwater.engines.features.progress import Progress, note_name, space_name, write_progress
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.protocol import TableState, TableStore
from headwater.engines.online.protocol import OnlineStore, space_of

PART_ROWS: Final = 500_000  # in Python they take some hundred megabytes
CATCH_UP_ROWS: Final = 500_000
_FORGET_SECONDS: Final = 2.0  # readers look up once a second which generation they read
_PINS: Final = 20
_PIN_SECONDS: Final = 0.05

Report = Callable[[int, int], None]
"""Told how many parts are done, of how many. Raising stops the build, which goes on from there the next time."""


class Build(msgspec.Struct):
    """A generation under construction: how far it is, so that it goes on where it stopped."""

    generation: int
    journal: str
    seq: int
    parts: int
    done: int
    from_us: int | None = None
    to_us: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A view of an environment, with the table it is computed from at one version."""

    environment_id: str
    view: FeatureViewSpec
    dataset: DatasetSpec
    table: TableState | None

    @property
    def rows(self) -> str:
        """Return the table's rows as SQL reads them."""
        return dataset_rows(self.dataset, self.table)

    def at(self, table: TableState | None) -> Target:
        """Return the target at another version of the table."""
        return replace(self, table=table)


class Feeder:
    """Feeds views from the lake. For one thread."""

    def __init__(self, store: OnlineStore, journal: Journal, lake: TableStore, settings: Settings) -> None:
        """Write to ``store`` what ``lake`` holds."""
        home = Home(settings.home)
        spill = home.run / "spill"
        spill.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.online.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._store = store
        self._journal = journal
        self._lake = lake
        self._lock_file = home.online / "lock"
        self.materialiser = Materialiser(store, spill=str(spill))

    def close(self) -> None:
        """Release DuckDB."""
        self.materialiser.close()

    def target(self, snapshot: Snapshot, name: str) -> Target:
        """Return a view with the newest version of its dataset's table."""
        environment_id, view = snapshot.environment.id, snapshot.features[name]
        table = self._lake.state(stream_name(environment_id, view.dataset))
        return Target(environment_id, view, snapshot.datasets[view.dataset], table)

    def append(self, target: Target, rows: pa.Table) -> None:
        """Take in rows that were just sealed, and before them whatever else is not in yet."""
        first, last = int(pc.min(rows[SEQ]).as_py()), int(pc.max(rows[SEQ]).as_py())
        state = self.materialiser.find(target.environment_id, target.view)
        if state is None or state.progress.journal != self._journal.uuid or state.progress.seq + 1 < first:
            state = self.bring_up(target)
        if state.progress.seq < last:
            with self._locked():
                state = self.materialiser.find(target.environment_id, target.view) or state
                self.materialiser.append(state, rows, now_us=_now_us())

    def bring_up(self, target: Target, report: Report | None = None) -> ViewState:
        """Build a state that is new or of another journal, then take in what the table holds beyond it."""
        state = self.materialiser.find(target.environment_id, target.view)
        if state is None or state.progress.journal != self._journal.uuid:
            state = self.build(target, report=report)
        if state.progress.tells_by_seq:
            return self._catch_up(target, state)
        if self._sealed(stream_name(target.environment_id, target.view.dataset)) > state.progress.seq:
            # What is not in cannot be told from what is: the whole is quickly built.
            return self.build(target, report=report, afresh=True)
        return state

    def _catch_up(self, target: Target, state: ViewState) -> ViewState:
        """Take in the rows of the table that follow those which are in."""
        while True:
            with self._locked():
                state = self.materialiser.find(target.environment_id, target.view) or state
                after = state.progress.seq
                through = self._highest(target, after=after, within=CATCH_UP_ROWS)
                if through is None:
                    return state
                scope = Scope(after_seq=after, through_seq=through)
                self.materialiser.merge(state, target.rows, now_us=_now_us(), scope=scope)
                self.materialiser.advance(state, through)

    def build(
        self,
        target: Target,
        *,
        report: Report | None = None,
        from_us: int | None = None,
        to_us: int | None = None,
        afresh: bool = False,
    ) -> ViewState:
        """Build the next generation of a state from the whole table and have it read; goes on where it stopped.

        Args:
            target: the view and its table.
            report: told after each part.
            from_us: rows of earlier events are left out.
            to_us: rows of this event time and later are left out.
            afresh: begin anew even where an unfinished build of the same kind is there.
        """
        view, environment_id = target.view, target.environment_id
        note = note_name(environment_id, view.name, layout_of(view).digest)
        old = self.materialiser.find(environment_id, view)
        build = None if afresh else self._unfinished(note, old, from_us, to_us)
        if build is None:
            target, seq, tells_by_seq = self._pin(target)
            parts = 1 + (0 if target.table is None else target.table.rows) // PART_ROWS
            generation = 1 if old is None else old.progress.generation + 1
            build = Build(generation, self._journal.uuid, seq, parts, 0, from_us, to_us)
            self._store.drop(space_of(space_name(environment_id, view.name, layout_of(view).digest, generation)))
        else:
            tells_by_seq = True
        state = ViewState(
            environment_id,
            view,
            layout_of(view),
            Progress(build.generation, build.journal, build.seq, _now_us(), tells_by_seq),
        )
        for part in range(build.done, build.parts):
            if target.table is not None:
                self._build_part(target, state, build, part, by_seq=tells_by_seq)
            build.done = part + 1
            if tells_by_seq:
                self._store.write([], {f"{note}/build": msgspec.msgpack.encode(build)})
            if report is not None:
                report(build.done, build.parts)
        with self._locked():
            self._store.write([], {note: write_progress(state.progress), f"{note}/build": b""})
        if old is not None:
            time.sleep(_FORGET_SECONDS)
            self._store.drop(old.space)
        return state

    def _build_part(self, target: Target, state: ViewState, build: Build, part: int, *, by_seq: bool) -> None:
        now = _now_us()
        lifetime = lifetime_us(target.view, state.layout)
        floor = build.from_us if lifetime is None else max(now - lifetime, build.from_us or 0)
        through = build.seq if by_seq else None
        scope = Scope(through_seq=through, from_us=floor, to_us=build.to_us, part=part, parts=build.parts)
        self.materialiser.replace(state, target.rows, now_us=now, scope=scope, through_seq=build.seq)

    def _unfinished(self, note: str, old: ViewState | None, from_us: int | None, to_us: int | None) -> Build | None:
        """Return a build that was interrupted and is of the same kind."""
        kept = self._store.note(f"{note}/build")
        if not kept:
            return None
        build = msgspec.msgpack.decode(kept, type=Build)
        expected = 1 if old is None else old.progress.generation + 1
        same = (build.generation, build.journal, build.from_us, build.to_us) == (
            expected,
            self._journal.uuid,
            from_us,
            to_us,
        )
        return build if same else None

    def _pin(self, target: Target) -> tuple[Target, int, bool]:
        """Return a version of the table, up to which sequence number it holds, and whether its rows tell by theirs."""
        stream = stream_name(target.environment_id, target.view.dataset)
        highest = self._highest(target, after=0) or 0
        for _ in range(_PINS):
            # A segment may be in the table while the journal is just being told.
            if highest <= self._sealed(stream):
                return target, highest, True
            time.sleep(_PIN_SECONDS)
        # The table has numbers that the journal never gave: it is older than the journal.
        before, sealed = -1, self._sealed(stream)
        while sealed != before:
            target = target.at(self._lake.state(stream))
            before, sealed = sealed, self._sealed(stream)
        return target, sealed, False

    def _sealed(self, stream: str) -> int:
        """Return the last sequence number of the journal that lies in the table for sure."""
        waiting = sum(backlog.rows for backlog in self._journal.backlogs() if backlog.stream == stream)
        return self._journal.totals(stream).accepted - waiting

    def _highest(self, target: Target, *, after: int, within: int | None = None) -> int | None:
        """Return the highest sequence number above ``after`` (at most ``within`` above it); None when there is none."""
        if target.table is None:
            return None
        limit = "" if within is None else f" AND {SEQ} <= {after + within}"
        query = f"SELECT max({SEQ}) FROM {target.rows} WHERE {SEQ} > {after}"  # noqa: S608 - numbers and our names
        run = self.materialiser.connection.execute
        found: int | None = run(query + limit).fetchall()[0][0]
        if found is None and limit:
            # A gap wider than that, as where rows were deleted, is stepped over.
            found = run(query).fetchall()[0][0]
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock of whoever moves a state on: the sealer, and commands beside it."""
        with Path(self._lock_file).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _now_us() -> int:
    return time.time_ns() // 1_000
