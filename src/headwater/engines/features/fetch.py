"""Fetching features by entity key: one read of the online store for all rows and views of a request."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureRefSpec, FeatureViewSpec
from headwater.engines.features.progress import note_name, read_progress, space_name
from headwater.engines.features.reading import MISSING, PRESENT, Reading, ViewReader
from headwater.engines.online.protocol import OnlineStore, space_of

_SPACE_SECONDS: Final = 1.0  # how long a view's space is taken for granted before it is looked up again


@dataclass(slots=True)
class Fetched:
    """What was found for each row.

    Attributes:
        values: input field to value, defaults applied.
        provenance: ``"view.feature"`` to the value used and its event time in microseconds.
        errors: row number to what is wrong with it: ``entity_missing``, ``feature_stale``, ``key_missing``,
            ``type_mismatch``. Such a row has no values.
    """

    values: list[dict[str, Any]]
    provenance: list[dict[str, list[Any]]]
    errors: dict[int, list[FieldError]] = field(default_factory=dict)


@dataclass(slots=True)
class _Opened:
    """A view as it is read now: its compiled form, and the space that holds it."""

    reader: ViewReader
    space: bytes = b""
    until: float = 0.0
    needs: dict[tuple[FeatureRefSpec, ...], list[tuple[int, str, str]]] = field(default_factory=dict)


class FeatureFetcher:
    """Reads features of many entities at once. One per process; used from event loops and threads alike."""

    def __init__(self, store: OnlineStore) -> None:
        """Read from ``store``."""
        self._store = store
        self._opened: dict[tuple[str, str], _Opened] = {}

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
        count = len(entities)
        fetched = Fetched([{} for _ in range(count)], [{} for _ in range(count)])
        names = tuple(dict.fromkeys(need.view for need in needs))
        opened = [await self._open(environment_id, _view(views, name)) for name in names]
        readings = await self._read(opened, entities, now_us, fetched.errors)
        for view, found in zip(opened, readings, strict=True):
            wanted = _wanted(view, tuple(need for need in needs if need.view == view.reader.view.name))
            for row, reading in enumerate(found):
                if reading is not None:
                    _take(view.reader, wanted, row, reading, fetched)
        for row in fetched.errors:
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
        opened = await self._open(environment_id, view)
        readings = await self._read([opened], entities, now_us, errors)
        return opened.reader, readings[0], errors

    async def _read(
        self,
        opened: Sequence[_Opened],
        entities: Sequence[Mapping[str, Any]],
        now_us: int,
        errors: dict[int, list[FieldError]],
    ) -> list[list[Reading | None]]:
        """Return the readings by view and row, from one read of the store."""
        keys: list[bytes] = []
        places = [_keys(view, entities, keys, errors) for view in opened]
        store = self._store
        found = (store.read(keys) if store.is_immediate else await store.fetch(keys)) if keys else []
        return [
            [
                None if place < 0 else view.reader.read(found[place], now_us, entity)
                for place, entity in zip(rows, entities, strict=True)
            ]
            for view, rows in zip(opened, places, strict=True)
        ]

    async def _open(self, environment_id: str, view: FeatureViewSpec) -> _Opened:
        opened = self._opened.get((environment_id, view.name))
        if opened is None or opened.reader.view is not view:
            opened = self._opened[environment_id, view.name] = _Opened(ViewReader(view))
        now = time.monotonic()
        if now >= opened.until:
            digest = opened.reader.layout.digest
            note = await self._store.fetch_note(note_name(environment_id, view.name, digest))
            progress = read_progress(note)
            if progress is None:
                raise HeadwaterError(
                    "features_unavailable",
                    f"feature view {view.name!r} is not materialised yet",
                    hint="the sealer does so within seconds of its being applied; see `headwater features list`"
                    if view.online
                    else "it is not kept online; set 'online: true' in its file",
                    retry_after_seconds=2,
                )
            opened.space = space_of(space_name(environment_id, view.name, digest, progress.generation))
            opened.until = now + _SPACE_SECONDS
        return opened


def _view(views: Mapping[str, FeatureViewSpec], name: str) -> FeatureViewSpec:
    view = views.get(name)
    if view is None:
        raise HeadwaterError("feature_view_not_found", f"there is no feature view {name[:80]!r}")
    return view


def _keys(
    opened: _Opened, entities: Sequence[Mapping[str, Any]], keys: list[bytes], errors: dict[int, list[FieldError]]
) -> list[int]:
    """Append the keys of a view's entities to ``keys``; return the place of each, -1 for one that is not valid."""
    places: list[int] = []
    make, space = opened.reader.key, opened.space
    for row, entity in enumerate(entities):
        key = make(space, entity)
        wrong = key if isinstance(key, list) else opened.reader.check_inputs(entity)
        if wrong:
            known = errors.setdefault(row, [])
            known.extend(error for error in wrong if error not in known)
            places.append(-1)
        else:
            assert isinstance(key, bytes)
            places.append(len(keys))
            keys.append(key)
    return places


def _wanted(opened: _Opened, needs: tuple[FeatureRefSpec, ...]) -> list[tuple[int, str, str]]:
    """Return for each need the feature's place among the values, the input field and the feature's full name."""
    wanted = opened.needs.get(needs)
    if wanted is None:
        names = opened.reader.names
        for need in needs:
            if need.feature not in names:
                raise HeadwaterError(
                    "feature_view_not_found",
                    f"feature view {need.view!r} has no feature {need.feature[:80]!r}",
                    hint=f"it has {', '.join(names)}",
                )
        wanted = [(names.index(need.feature), need.field, f"{need.view}.{need.feature}") for need in needs]
        opened.needs[needs] = wanted
    return wanted


def _take(
    reader: ViewReader, wanted: Sequence[tuple[int, str, str]], row: int, reading: Reading, fetched: Fetched
) -> None:
    values, provenance = fetched.values[row], fetched.provenance[row]
    found, event, statuses = reading.values, reading.event_us, reading.statuses
    for place, name, full in wanted:
        value = found[place]
        if value is None:
            status = MISSING if statuses is None else statuses[place]
            error = reader.explain(reader.names[place], status, f"/{name}")
            fetched.errors.setdefault(row, []).append(error)
        values[name] = value
        is_own = statuses is None or statuses[place] == PRESENT
        provenance[full] = [value, event if is_own else None]
