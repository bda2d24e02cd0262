"""The accelerator of a process: what it answers, and the thread that has files built, taken into use and let go."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import duckdb

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.logging import get_logger
from headwater.core.settings import Settings
from headwater.core.streams import stream_name
from headwater.engines.lake.protocol import TableState
from headwater.engines.query.accelerator.builder import Builder
from headwater.engines.query.accelerator.demand import Asked, Demand
from headwater.engines.query.accelerator.files import Base, Shelf, remove, touch
from headwater.engines.query.accelerator.instance import AcceleratedInstance, ReadFiles, size_of
from headwater.engines.query.instance import DuckLimits, DuckReading
from headwater.engines.query.protocol import ResultPolicy, TableSource
from headwater.engines.query.walk import CheckedQuery

ASKED_OFTEN: Final = 20.0
_LOOK_SECONDS: Final = 1.0
_TOUCH_SECONDS: Final = 60.0
_FORGOTTEN: Final = 0.01
_LARGE_TAIL_BYTES: Final = 4 << 20
_KEPT_FAULTS: Final = 20

NewestState = Callable[[str], TableState | None]
_log = get_logger(__name__)


class Accelerator:
    """Answers queries from DuckDB files where it has good ones. Asked on an event loop; its thread does the rest."""

    def __init__(self, settings: Settings, newest: NewestState, read_files: Callable[[str], ReadFiles]) -> None:
        """Build nothing yet.

        Args:
            settings: the budget and where files lie.
            newest: the newest state of a stream.
            read_files: what reads Parquet files of an environment.
        """
        query = settings.query
        self._newest = newest
        self._read_files = read_files
        self._limits = DuckLimits(query.accelerator_memory_bytes, query.threads)
        self._shelf = Shelf(Home(settings.home).accelerator)
        self._builder = Builder(settings, self._shelf, self._counted)
        self._demand = Demand()
        self._instances: dict[str, AcceleratedInstance] = {}
        self._broken: set[Base] = set()
        self._faults: dict[str, str] = {}
        self._touched_at = 0.0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()

    def start(
        self,
        environment_id: str,
        query: CheckedQuery,
        parameters: Mapping[str, Any],
        tables: Mapping[str, TableSource],
        *,
        batch_rows: int,
        shown: ResultPolicy | None,
        is_wanted: bool,
    ) -> DuckReading | None:
        """Return a reading of the files, None when Parquet has to answer; either way the question counts."""
        if not query.tables:
            return None
        self._demand.add(environment_id, query, tables, is_wanted=is_wanted)
        if self._thread is None:
            self._begin()
        instance = self._instances.get(environment_id)
        if instance is None or not instance.covers(tables, query.tables):
            self.counts["missed"] += 1
            return None
        self.counts["answered"] += 1
        return instance.start(query, parameters, tables, batch_rows=batch_rows, shown=shown)

    def failed(self, environment_id: str, tables: Sequence[str], *, is_broken: bool) -> None:
        """Note that a reading failed; broken files are not used again."""
        self.counts["fell_back"] += 1
        if not is_broken:
            return
        with self._lock:
            instance = self._instances.pop(environment_id, None)
            if instance is not None:
                self._broken.update(base for name, base in instance.bases.items() if name in tables)

    def problems(self) -> list[str]:
        """Return what is wrong, one sentence each; queries are answered from Parquet meanwhile."""
        return [*self._builder.problems(), *list(self._faults.values())]

    def stats(self) -> dict[str, int]:
        """Return how many files are in use and their bytes."""
        bases = [base for instance in list(self._instances.values()) for base in instance.bases.values()]
        return {"files": len(bases), "bytes": sum(base.size for base in bases)}

    def close(self) -> None:
        """End the thread and a build under way; the files stay."""
        self._stopping.set()
        self._builder.stop()
        if self._thread is not None:
            self._thread.join()
        self._instances.clear()

    def _counted(self, outcome: str) -> None:
        self.counts[outcome] += 1

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="accelerator", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        with suppress(OSError):
            self._shelf.sweep()
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - queries are answered without it, and the next look may do better
                _log.exception("accelerator_failed")

    def look(self) -> None:
        """Take good files into use, let go of the others, and have what is missing built."""
        asked: dict[str, dict[str, Asked]] = {}
        for environment_id, name, one in self._demand.all():
            asked.setdefault(environment_id, {})[name] = one
        for environment_id, tables in asked.items():
            states = dict(self._states(environment_id, tables))
            bases = self._good(environment_id, states)
            self._use(environment_id, bases)
            for name, state in states.items():
                if self._is_due(tables[name], bases.get(name), state):
                    self._builder.build(environment_id, name, state, tables[name])
                    return  # one at a time; the next look finds what came of it
        if time.monotonic() - self._touched_at > _TOUCH_SECONDS:
            self._touched_at = time.monotonic()
            for environment_id, tables in asked.items():
                instance = self._instances.get(environment_id)
                if instance is not None:
                    touch(base for name, base in instance.bases.items() if name in tables and tables[name].now() > 1)

    def _states(self, environment_id: str, tables: Mapping[str, Asked]) -> Iterator[tuple[str, TableState]]:
        for name, one in tables.items():
            if one.now() > _FORGOTTEN or one.is_wanted:
                try:
                    state = self._newest(stream_name(environment_id, name))
                except HeadwaterError:
                    continue  # it is gone: who asks is told
                if state is not None and state.files:
                    yield name, state

    def _good(self, environment_id: str, states: Mapping[str, TableState]) -> dict[str, Base]:
        """Return the best file of each table; those that no query can use any more go."""
        found, bad = self._shelf.bases(environment_id)
        for path, reason in bad:
            self._let_go(path, f"{path.parent.name}: {reason}")
        good: dict[str, Base] = {}
        for base in found:
            state = states.get(base.table)
            if base in self._broken:
                self._broken.discard(base)
                self._let_go(base.path, f"{base.table}: its file is damaged")
            elif state is None:
                continue  # nobody asks: the budget decides
            elif not base.files <= set(state.files):
                remove(base.path)
                self.counts["outdated"] += 1
            else:
                best = good.get(base.table)
                if best is None or best.manifest.rows <= base.manifest.rows:
                    good[base.table] = base
        return good

    def _let_go(self, path: Any, reason: str) -> None:
        _log.warning("accelerator_file_removed", file=str(path), reason=reason)
        self.counts["damaged"] += 1
        remove(path)

    def _use(self, environment_id: str, bases: Mapping[str, Base]) -> None:
        """Answer from ``bases`` from now on; queries under way keep what they began with."""
        instance = self._instances.get(environment_id)
        if (instance.bases if instance is not None else {}) == dict(bases):
            return
        if not bases:
            self._instances.pop(environment_id, None)
            self._faults.pop(environment_id, None)
            return
        try:
            self._instances[environment_id] = self._open(environment_id, bases)
        except duckdb.Error as error:
            self._instances.pop(environment_id, None)
            with self._lock:
                self._broken.update(base for name, base in bases.items() if not self._opens(environment_id, name, base))
            reason = str(error).split("\n", 1)[0][:200]
            self._faults[environment_id] = f"the accelerator of {environment_id} cannot be opened: {reason}"
        else:
            self._faults.pop(environment_id, None)

    def _open(self, environment_id: str, bases: Mapping[str, Base]) -> AcceleratedInstance:
        return AcceleratedInstance(bases, self._limits, self._read_files(environment_id))

    def _opens(self, environment_id: str, name: str, base: Base) -> bool:
        try:
            self._open(environment_id, {name: base}).close()
        except duckdb.Error:
            return False
        return True

    def _is_due(self, asked: Asked, base: Base | None, state: TableState) -> bool:
        if not asked.is_wanted and asked.now() < ASKED_OFTEN:
            return False
        if base is None:
            return True
        tail = size_of(frozenset(state.files) - base.files)
        return tail > min(_LARGE_TAIL_BYTES, max(1 << 16, base.size // 4))
