"""Fetching features by entity key: one read of the online store for all rows and views of a request."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Final

from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureRefSpec, FeatureViewSpec
from headwater.engines.features.progress import Progress, note_name, read_progress, space_name
from headwater.engines.features.reading import MISSING, PRESENT, STALE, Reading, ViewReader
from headwater.engines.online.protocol import OnlineStore, space_of

_MAX_PLANS: Final = 1_000
_SPACE_SECONDS: Final = 1.0  # how long a view's space is taken for granted before it is looked up again


UNKNOWN: Final = "nothing is known about the entity"
TOO_OLD: Final = "what is known is older than the view allows"
NO_VALUE: Final = "there is no value"


@dataclass(frozen=True, slots=True)
class Defaulted:
    """Features of a view that are its defaults for a row, and for what ``reason``."""

    view: str
    features: Sequence[str]
    reason: str


@dataclass(slots=True)
class Fetched:
    """What was found for each row.

    Attributes:
        values: input field to value, defaults applied.
        provenance: ``"view.feature"`` to the value used and its event time in microseconds (None for a default).
        errors: row number to what is wrong with it: ``entity_missing``, ``feature_stale``, ``key_missing``,
            ``type_mismatch``. Such a row has no values.
        defaulted: row number to which of its values are defaults.
    """

    values: list[dict[str, Any]]
    provenance: list[dict[str, Sequence[Any]]]
    errors: dict[int, list[FieldError]] = field(default_factory=dict)
    defaulted: dict[int, list[Defaulted]] = field(default_factory=dict)


@dataclass(slots=True)
class _Opened:
    """A view as it is read now: its compiled form, and the space that holds it."""

    reader: ViewReader
    space: bytes = b""
    until: float = 0.0


class FeatureFetcher:
    """Reads features of many entities at once. One per process; used from event loops and threads alike."""

    def __init__(self, store: OnlineStore) -> None:
        """Read from ``store``."""
        self._store = store
        self._opened: dict[tuple[str, str], _Opened] = {}
        self._planned: dict[tuple[object, ...], _Planned] = {}

    async def fetch(
        self,
        environment_id: str,
        views: Mapping[str, FeatureViewSpec],
        needs: Sequence[FeatureRefSpec],
        entities: Sequence[Mapping[str, Any]],
        *,
        now_us: int,
    ) -> Fetched:
        """Return the features that ``needs`` name, for every entity.

        Args:
            environment_id: whose views they are.
            views: the environment's feature views by name.
            needs: which input fields are filled from which features.
            entities: entity keys by name, with what expressions of the views need of the request.
            now_us: the instant asked about, in microseconds; now.

        Raises:
            HeadwaterError: ``feature_view_not_found``, or ``features_unavailable`` when the store does not answer or a
                view is not materialised yet.
        """
        plans = self._plans(environment_id, views, needs)
        for plan in plans:
            await self._look_up(environment_id, plan.opened)
        errors: dict[int, list[FieldError]] = {}
        readings = await self._read([plan.opened for plan in plans], entities, now_us, errors)
        fetched = Fetched([{} for _ in entities], [{} for _ in entities], errors)
        for plan, found in zip(plans, readings, strict=True):
            plan.take(found, fetched)
        for row in errors:
            fetched.values[row], fetched.provenance[row] = {}, {}
        return fetched

    async def read(
        self, environment_id: str, view: FeatureViewSpec, entities: Sequence[Mapping[str, Any]], *, now_us: int
    ) -> tuple[ViewReader, list[Reading | None], dict[int, list[FieldError]]]:
        """Return all features of one view for every entity; None, and errors, for one whose key is not valid.

        Raises:
            HeadwaterError: ``features_unavailable``.
        """
        errors: dict[int, list[FieldError]] = {}
        opened = self._open(environment_id, view)
        await self._look_up(environment_id, opened)
        readings = await self._read([opened], entities, now_us, errors)
        return opened.reader, readings[0], errors

    async def progress(self, environment_id: str, view: FeatureViewSpec) -> Progress | None:
        """Return how far a view's online state goes; None while there is none. Raises ``features_unavailable``."""
        digest = self._open(environment_id, view).reader.layout.digest
        return read_progress(await self._store.fetch_note(note_name(environment_id, view.name, digest)))

    async def _read(
        self,
        opened: Sequence[_Opened],
        entities: Sequence[Mapping[str, Any]],
        now_us: int,
        errors: dict[int, list[FieldError]],
    ) -> list[list[Reading | None]]:
        """Return the readings by view and row, from one read of the store."""
        keys = [view.reader.keys(view.space, entities, errors) for view in opened]
        wanted = [key for of_view in keys for key in of_view if key is not None]
        store = self._store
        found = (store.read(wanted) if store.is_immediate else await store.fetch(wanted)) if wanted else []
        readings: list[list[Reading | None]] = []
        begin = 0
        for view, of_view in zip(opened, keys, strict=True):
            good = [entity for key, entity in zip(of_view, entities, strict=True) if key is not None]
            read: list[Any] = view.reader.read_all(found[begin : begin + len(good)], now_us, good)
            begin += len(good)
            if len(good) < len(entities):
                left = iter(read)
                read = [None if key is None else next(left) for key in of_view]
            readings.append(read)
        return readings

    def _plans(
        self, environment_id: str, views: Mapping[str, FeatureViewSpec], needs: Sequence[FeatureRefSpec]
    ) -> list[_Plan]:
        """Return how ``needs`` are met, which is worked out once for a model."""
        # By identity: comparing specs member by member would take longer than the read. The plans keep them alive.
        key = (environment_id, *map(id, needs))
        kept = self._planned.get(key)
        if kept is not None and all(views.get(name) is view for name, view in kept.views):
            return kept.plans
        names = dict.fromkeys(need.view for need in needs)
        plans = [
            _Plan(self._open(environment_id, _view(views, name)), [need for need in needs if need.view == name])
            for name in names
        ]
        used = [(plan.opened.reader.view.name, plan.opened.reader.view) for plan in plans]
        if len(self._planned) >= _MAX_PLANS:
            self._planned.clear()
        self._planned[key] = _Planned(tuple(needs), used, plans)
        return plans

    def _open(self, environment_id: str, view: FeatureViewSpec) -> _Opened:
        opened = self._opened.get((environment_id, view.name))
        if opened is None or opened.reader.view is not view:
            opened = self._opened[environment_id, view.name] = _Opened(ViewReader(view))
        return opened

    async def _look_up(self, environment_id: str, opened: _Opened) -> None:
        """Find the space that holds a view now."""
        now = time.monotonic()
        if now < opened.until:
            return
        view, digest = opened.reader.view, opened.reader.layout.digest
        progress = await self.progress(environment_id, view)
        if progress is None:
            raise HeadwaterError(
                "features_unavailable",
                f"feature view {view.name!r} is not materialised yet",
                hint="the sealer does so within seconds of its being applied"
                if view.online
                else "it is not kept online; set 'online: true' in its file",
                retry_after_seconds=2,
            )
        opened.space = space_of(space_name(environment_id, view.name, digest, progress.generation))
        opened.until = now + _SPACE_SECONDS


def _view(views: Mapping[str, FeatureViewSpec], name: str) -> FeatureViewSpec:
    view = views.get(name)
    if view is None:
        raise HeadwaterError("feature_view_not_found", f"there is no feature view {name[:80]!r}")
    return view


class _Plan:
    """Which of a view's features go where."""

    def __init__(self, opened: _Opened, needs: Sequence[FeatureRefSpec]) -> None:
        """Place each need; raises ``feature_view_not_found`` for a feature that the view does not have."""
        names = opened.reader.names
        for need in needs:
            if need.feature not in names:
                raise HeadwaterError(
                    "feature_view_not_found",
                    f"feature view {need.view!r} has no feature {need.feature[:80]!r}",
                    hint=f"it has {', '.join(names)}",
                )
        self.opened = opened
        self._places = [names.index(need.feature) for need in needs]
        self._fields = [need.field for need in needs]
        self._full_names = [f"{need.view}.{need.feature}" for need in needs]
        self._is_whole = self._places == list(range(len(names)))

    def take(self, readings: Sequence[Reading | None], fetched: Fetched) -> None:
        """Add what was read to what was fetched."""
        fields, full_names, places = self._fields, self._full_names, self._places
        for row, reading in enumerate(readings):
            if reading is None:
                continue
            if reading.statuses is not None:
                self._take_slowly(row, reading, fetched)
                continue
            found, event = reading.values, reading.event_us
            if not self._is_whole:
                found = [found[place] for place in places]
            # Pairs made in C, for this runs for every row of every prediction.
            pairs = zip(full_names, zip(found, repeat(event)), strict=True)
            if fetched.values[row]:
                fetched.values[row].update(zip(fields, found, strict=True))
                fetched.provenance[row].update(pairs)
            else:
                fetched.values[row], fetched.provenance[row] = dict(zip(fields, found, strict=True)), dict(pairs)

    def _take_slowly(self, row: int, reading: Reading, fetched: Fetched) -> None:
        """Take a reading in which something is missing, stale or a default."""
        statuses, reader = reading.statuses or (), self.opened.reader
        defaults: dict[str, list[str]] = {}
        for place, field_name, full_name in zip(self._places, self._fields, self._full_names, strict=True):
            value, status = reading.values[place], statuses[place]
            if value is None:
                error = reader.explain(reader.names[place], status, f"/{field_name}")
                fetched.errors.setdefault(row, []).append(error)
            elif status != PRESENT:
                defaults.setdefault(_reason(status, reading), []).append(reader.names[place])
            fetched.values[row][field_name] = value
            fetched.provenance[row][full_name] = (value, reading.event_us if status == PRESENT else None)
        for reason, names in defaults.items():
            fetched.defaulted.setdefault(row, []).append(Defaulted(reader.view.name, names, reason))


def _reason(status: str, reading: Reading) -> str:
    """Return why a feature is its default."""
    if status == STALE:
        return TOO_OLD
    return UNKNOWN if status == MISSING and reading.event_us is None else NO_VALUE


@dataclass(frozen=True, slots=True)
class _Planned:
    """Plans with what they were made for."""

    needs: Sequence[FeatureRefSpec]
    views: Sequence[tuple[str, FeatureViewSpec]]
    plans: list[_Plan]
