"""Profiles and traffic of what was predicted, by version and minute, kept in memory and written at each epoch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.engines.blobs.protocol import BlobStore
from headwater.engines.monitoring.layout import subjects_of
from headwater.engines.monitoring.merging import hour_of
from headwater.engines.monitoring.profile import Profile, build_profile, extended, without
from headwater.engines.monitoring.store import FirstRows, MonitoringStore, Span
from headwater.engines.monitoring.traffic import Traffic
from headwater.services.inference.encoding import LoggedVersion
from headwater.services.inference.rows import Rows
from headwater.services.inference.sidecar.profiled import Columns, rows_table
from headwater.services.inference.sidecar.wire import Failed

FIRST_ROWS: Final = 1_000
"""How many predictions make a reference where a version brings none."""
PROFILED_ROWS: Final = 1_024
"""How many rows of a version are profiled of one epoch, evenly out of all: beyond, more would tell nothing new."""
FIRST_WRITER: Final = "first-rows"
RETRY_SECONDS: Final = 30.0
_MICROSECONDS: Final = 60_000_000
_MINUTES_IN_MEMORY: Final = 3

_log = get_logger(__name__)


@dataclass(slots=True)
class _Minute:
    """What this worker counted of a version in a minute. ``epoch`` is the last one in it."""

    traffic: Traffic
    profile: Profile | None
    epoch: int
    is_dirty: bool = False


@dataclass(slots=True)
class _Watched:
    """A version's reference: the one in force, or what is there of it while rows are gathered for the rest."""

    reference: Profile | None = None
    training: Profile | None = None
    columns: Columns | None = None
    is_gathering: bool = False
    look_at: float = 0.0


class Monitor:
    """The profiles of one worker's predictions."""

    def __init__(self, store: MonitoringStore, blobs: BlobStore, writer: str) -> None:
        """Write to ``store`` under the name ``writer``; reference profiles lie in ``blobs``."""
        self._store = store
        self._blobs = blobs
        self._writer = writer
        self._minutes: dict[tuple[str, str, int], _Minute] = {}
        self._watched: dict[tuple[str, str, frozenset[str]], _Watched] = {}

    def add(self, version: LoggedVersion, rows: Rows, epoch: int) -> None:
        """Count answered requests of an epoch, once."""
        minute_number = int(rows.predicted_at_us[-1]) // _MICROSECONDS
        minute = self._minute(version, minute_number)
        if minute.epoch >= epoch:
            return
        minute.traffic.add(rows.routes, len(rows), rows.latency_us.tolist())
        minute.is_dirty = True
        if len(rows) > PROFILED_ROWS:
            rows = rows.take(np.linspace(0, len(rows) - 1, PROFILED_ROWS).astype(np.intp))
        watched = self._watch(version)
        if watched.reference is None and watched.is_gathering:
            self._gather(version, watched, rows, minute_number, epoch)
        elif watched.reference is not None:
            self._profile(version, watched, watched.reference, minute, rows)

    def fail(self, version: LoggedVersion, failures: Sequence[Failed], epoch: int) -> None:
        """Count requests of an epoch that were not answered, once."""
        for failed in failures:
            minute = self._minute(version, failed.failed_at_us // _MICROSECONDS)
            if minute.epoch < epoch:
                minute.traffic.fail(failed.code, failed.count)
                minute.is_dirty = True

    def flush(self, epoch: int) -> None:
        """Write what changed in ``epoch``; what cannot be written now is with the next one."""
        dirty = {key: minute for key, minute in self._minutes.items() if minute.is_dirty}
        for minute in dirty.values():
            minute.epoch = epoch
        if dirty:
            self._store.put([self._span(key, minute) for key, minute in dirty.items()])
        for minute in dirty.values():
            minute.is_dirty = False
        newest = max((number for _, _, number in self._minutes), default=0)
        self._minutes = {key: minute for key, minute in self._minutes.items() if key[2] > newest - _MINUTES_IN_MEMORY}

    def condense(self) -> int:
        """Make hours of old minutes."""
        return self._store.condense(int(time.time()) // 60, self._hour)

    def _hour(self, spans: list[Span]) -> Span:
        reference = self._store.reference(spans[0].environment, spans[0].version)
        return hour_of(spans, None if reference is None else Profile.from_bytes(reference[1]).layout)

    def _minute(self, version: LoggedVersion, number: int) -> _Minute:
        """Return the counters of a minute: those in memory, else what this worker stored before its sidecar died."""
        described = version.described
        key = (described.environment_id, described.version_id, number)
        minute = self._minutes.get(key)
        if minute is None:
            stored = self._store.own(*key, self._writer)
            minute = _Minute(Traffic(), None, -1) if stored is None else self._restore(version, stored)
            self._minutes[key] = minute
        return minute

    def _restore(self, version: LoggedVersion, stored: Span) -> _Minute:
        profile: Profile | None = None
        reference = self._watch(version).reference
        if reference is not None and stored.counters is not None and stored.layout == reference.layout.id:
            profile = Profile.load(reference.layout, stored.counters)
        return _Minute(Traffic.from_bytes(stored.traffic), profile, stored.epoch)

    def _profile_of(self, minute: _Minute, reference: Profile) -> Profile:
        if minute.profile is None or minute.profile.layout is not reference.layout:
            minute.profile = Profile(reference.layout)
        return minute.profile

    def _span(self, key: tuple[str, str, int], minute: _Minute) -> Span:
        environment, version, number = key
        profile = minute.profile
        return Span(
            environment,
            version,
            number,
            1,
            self._writer,
            minute.epoch,
            minute.traffic.to_bytes(),
            "" if profile is None else profile.layout.id,
            None if profile is None else profile.counters(),
        )

    def _watch(self, version: LoggedVersion) -> _Watched:
        described = version.described
        key = (described.environment_id, described.version_id, frozenset(version.redacted))
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = _Watched()
        if watched.reference is None and time.monotonic() >= watched.look_at:
            watched.look_at = time.monotonic() + RETRY_SECONDS
            self._find_reference(version, watched)
        return watched

    def _find_reference(self, version: LoggedVersion, watched: _Watched) -> None:
        """Take the reference that is in force, or the version's own one, or begin to gather rows for one."""
        described = version.described
        place = described.environment_id, described.version_id
        stored = self._store.reference(*place)
        if stored is not None:
            source, data = stored
            kept = Profile.from_bytes(data)
            watched.reference = without(kept, version.redacted)
            if watched.reference is not kept:
                self._store.put_reference(*place, source, watched.reference.to_bytes())
            return
        if described.profile_sha256 is not None:
            try:
                own = Profile.from_bytes(self._blobs.read(described.profile_sha256))
            except HeadwaterError as error:
                _log.warning("reference_not_read", model=described.model, version=described.number, error=error.detail)
                return
            watched.training = without(own, version.redacted)
        if watched.training is not None and not _lacks(version, watched.training):
            self._store.put_reference(*place, "training", watched.training.to_bytes())
            watched.reference = watched.training
        watched.is_gathering = watched.reference is None

    def _profile(
        self, version: LoggedVersion, watched: _Watched, reference: Profile, minute: _Minute, rows: Rows
    ) -> None:
        if watched.columns is None or watched.columns.layout is not reference.layout:
            watched.columns = Columns(version, reference.layout)
        self._profile_of(minute, reference).update(*watched.columns.of(rows))

    def _gather(self, version: LoggedVersion, watched: _Watched, rows: Rows, minute: int, epoch: int) -> None:
        described = version.described
        table = rows_table(version, rows)
        place = described.environment_id, described.version_id
        found = FirstRows(*place, self._writer, epoch, minute, table.num_rows, _to_bytes(table))
        count = self._store.add_first_rows(found)
        if count is not None and count >= FIRST_ROWS:
            self._store.settle(*place, lambda waiting: _settle(version, watched.training, waiting))
        if count is None or count >= FIRST_ROWS:
            self._find_reference(version, watched)
        if count is None and watched.reference is not None:
            # Another worker was quicker: these rows were not among its first ones.
            self._profile(version, watched, watched.reference, self._minute(version, minute), rows)


def _settle(
    version: LoggedVersion, training: Profile | None, waiting: list[FirstRows]
) -> tuple[str, bytes, list[Span]]:
    """Return the reference out of first rows, and what these count in their minutes."""
    tables = [(found, _from_bytes(found.payload)) for found in waiting]
    whole = pa.concat_tables([table for _, table in tables], promote_options="permissive")
    first = build_profile(whole, version.fields, version.outputs)
    reference = first if training is None else extended(training, first)
    minutes: dict[int, Profile] = {}
    for found, table in tables:
        minutes.setdefault(found.minute, Profile(reference.layout)).add_table(table)
    empty = Traffic().to_bytes()
    place = version.described.environment_id, version.described.version_id
    spans = [
        Span(*place, minute, 1, FIRST_WRITER, 0, empty, reference.layout.id, profile.counters())
        for minute, profile in minutes.items()
    ]
    return "first_rows" if training is None else "training", reference.to_bytes(), spans


def _lacks(version: LoggedVersion, training: Profile) -> bool:
    """Return whether a reference has not every field that can be profiled."""
    hidden = {("input", name) for name in version.redacted}
    wanted = {subject.key for subject in subjects_of(version.fields, version.outputs)}
    return not wanted - hidden <= {field.subject.key for field in training.layout.fields}


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def _from_bytes(payload: bytes) -> pa.Table:
    return pa.ipc.open_stream(payload).read_all()
