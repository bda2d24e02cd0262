"""A snapshot's feature views as this service reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import DatasetSpec, FeatureViewSpec, Snapshot
from headwater.engines.features.reading import ViewReader
from headwater.services.kit.policies import require_whole_rows
from headwater.services.kit.service import Caller


@dataclass(frozen=True, slots=True)
class CompiledFeatures:
    """The views of an environment that can be read, and why others cannot."""

    views: Mapping[str, FeatureViewSpec]
    datasets: Mapping[str, DatasetSpec]
    faults: Mapping[str, str] = field(default_factory=dict)


def compile_features(snapshot: Snapshot, previous: CompiledFeatures | None) -> CompiledFeatures:
    """Compile a snapshot; views that did not change are kept, with whatever was compiled for them."""
    views: dict[str, FeatureViewSpec] = {}
    faults: dict[str, str] = {}
    for name, view in snapshot.features.items():
        kept = previous.views.get(name) if previous is not None else None
        if kept is not None and kept == view:
            views[name] = kept
            continue
        try:
            ViewReader(view)
        except HeadwaterError as error:
            faults[name] = error.detail
        else:
            views[name] = view
    return CompiledFeatures(views, snapshot.datasets, faults)


def find_view(caller: Caller, service: str, name: str, now: datetime) -> FeatureViewSpec:
    """Return a view of the caller's environment, which policies show them whole at ``now``.

    Raises:
        HeadwaterError: ``forbidden``, before it is told whether the view exists, and for a view of a dataset that
            policies do not show the caller whole; ``feature_view_not_found``.
    """
    if not caller.key.can("feature.read", name):
        raise HeadwaterError(
            "forbidden",
            f"the key {caller.key.prefix}… lacks feature.read on {name[:80]!r}",
            hint="use a key whose role has it, or ask for a grant",
        )
    compiled: CompiledFeatures = caller.environment.compiled[service]
    view = compiled.views.get(name)
    if view is None:
        if name in compiled.faults:
            raise HeadwaterError("features_unavailable", f"feature view {name!r}: {compiled.faults[name]}")
        raise caller.environment.missing(
            "feature_view_not_found", f"there is no feature view {name[:80]!r}", hint="GET /v1/features lists them"
        )
    dataset = compiled.datasets.get(view.dataset)
    if dataset is not None and (dataset.protected or caller.environment.snapshot.policies):
        require_whole_rows(
            caller,
            view.dataset,
            now,
            protected=dataset.protected,
            columns=_columns(view),
            what=f"feature view {name!r} is computed from",
        )
    return view


def _columns(view: FeatureViewSpec) -> frozenset[str]:
    """Return the columns of its dataset that a view shows or computes from."""
    columns = {feature.column for feature in view.features if feature.column is not None}
    return frozenset({*columns, *view.entities, view.event_time})
