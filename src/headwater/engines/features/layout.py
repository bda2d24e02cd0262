"""What of a view is kept for each entity, and in which order.

The layout follows from the parts of a view that rows are added up by: columns, aggregates, entity keys and delay.
Defaults, freshness and expressions only matter when values are read, so changing them leaves what is kept as it is.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Final, Literal

from headwater.core.snapshot import FeatureSpec, FeatureViewSpec
from headwater.engines.features.windows import SECOND, step_us

Kind = Literal["rows", "count", "sum", "min", "max", "last", "distinct"]
TEXT: Final = "text"
_NEEDS: Final[dict[str, tuple[Kind, ...]]] = {
    "count": ("count",),
    "sum": ("sum",),
    "mean": ("sum", "count"),
    "min": ("min",),
    "max": ("max",),
    "last": ("last",),
    "distinct": ("distinct",),
}
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Source:
    """A column as it is read: its values as ``type``, or as text where only their sameness matters."""

    column: str
    type: str


@dataclass(frozen=True, slots=True)
class Accumulator:
    """What is kept of a source for each step of time; ``rows`` has no source."""

    kind: Kind
    source: Source | None


@dataclass(frozen=True, slots=True)
class Group:
    """The accumulators that share a step. ``window_us`` is the longest window they serve."""

    step_us: int
    window_us: int
    accumulators: tuple[Accumulator, ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """A windowed feature: where its accumulators are."""

    aggregate: str
    type: str
    window_us: int
    group: int
    accumulators: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """What is kept of an entity. ``names`` are the stored features: first the columns, then the folds.

    ``sources`` are the columns that a row which is not visible yet is kept with.
    """

    names: tuple[str, ...]
    columns: tuple[Source, ...]
    folds: tuple[Fold, ...]
    groups: tuple[Group, ...]
    sources: tuple[Source, ...]
    delay_us: int
    digest: str

    @property
    def horizon_us(self) -> int | None:
        """Return how long after its event a row can matter; None: for ever, because a column shows it."""
        if self.columns or not self.groups:
            return None
        return self.delay_us + max(group.window_us + group.step_us for group in self.groups)


@lru_cache(maxsize=1_024)
def layout_of(view: FeatureViewSpec) -> Layout:
    """Return the layout of a view."""
    columns = [feature for feature in view.features if feature.kind == "column"]
    windowed = [feature for feature in view.features if feature.kind == "aggregate"]
    members: dict[int, list[Accumulator]] = {}
    longest: dict[int, int] = {}
    for feature in windowed:
        step, window = _times(feature)
        longest[step] = max(longest.get(step, 0), window)
        kept = members.setdefault(step, [])
        kept.extend(item for item in _accumulators(feature) if item not in kept)
    steps = list(members)
    groups = tuple(Group(step, longest[step], tuple(members[step])) for step in steps)
    folds = tuple(_fold(feature, steps, groups) for feature in windowed)
    column_sources = tuple(Source(feature.column or "", feature.type) for feature in columns)
    sources = dict.fromkeys(column_sources)
    for group in groups:
        sources.update(dict.fromkeys(item.source for item in group.accumulators if item.source is not None))
    return Layout(
        names=tuple(feature.name for feature in (*columns, *windowed)),
        columns=column_sources,
        folds=folds,
        groups=groups,
        sources=tuple(sources),
        delay_us=view.delay_seconds * SECOND,
        digest=_digest(view, columns, windowed),
    )


def _times(feature: FeatureSpec) -> tuple[int, int]:
    assert feature.window_seconds is not None, f"{feature.name}: an aggregate has a window"
    return step_us(feature.window_seconds), feature.window_seconds * SECOND


def _accumulators(feature: FeatureSpec) -> list[Accumulator]:
    aggregate = feature.aggregate or "count"
    if feature.column is None:
        return [Accumulator("rows", None)]
    value = Source(feature.column, "number" if aggregate == "mean" else feature.type)
    text = Source(feature.column, TEXT)
    sources = {"count": text, "distinct": text}
    return [Accumulator(kind, sources.get(kind, value)) for kind in _NEEDS[aggregate]]


def _fold(feature: FeatureSpec, steps: list[int], groups: tuple[Group, ...]) -> Fold:
    step, window = _times(feature)
    group = steps.index(step)
    kept = groups[group].accumulators
    places = tuple(kept.index(item) for item in _accumulators(feature))
    return Fold(feature.aggregate or "count", feature.type, window, group, places)


def _digest(view: FeatureViewSpec, columns: list[FeatureSpec], windowed: list[FeatureSpec]) -> str:
    stored = [
        [item.name, item.type, item.column, item.aggregate, item.window_seconds] for item in (*columns, *windowed)
    ]
    parts = [_FORMAT, view.dataset, view.entities, view.event_time, view.delay_seconds, stored]
    return blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
