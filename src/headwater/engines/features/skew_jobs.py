"""Checks of train/serve skew as jobs: what one needs, made from a snapshot."""

from __future__ import annotations

import hashlib
from typing import Final

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.core.jobs import FEATURE_SKEW, FeatureSkewCheck
from headwater.core.snapshot import ModelSpec, ModelVersionSpec, Snapshot
from headwater.engines.queue.protocol import Job, JobStore, Keyed, NewJob

DEFAULT_HOURS: Final = 24
DEFAULT_SAMPLE: Final = 1_000
MOST_WAITING: Final = 100
_LOOKED_AT: Final = 200
_SETTLED_US: Final = 60_000_000  # rows that were on their way are in the lake by then
_HOUR_US: Final = 3_600_000_000


def plan_check(
    snapshot: Snapshot,
    model: ModelSpec,
    version: ModelVersionSpec,
    *,
    now_us: int,
    hours: int = DEFAULT_HOURS,
    sample: int = DEFAULT_SAMPLE,
) -> FeatureSkewCheck:
    """Return the check of a version's predictions of the last ``hours``.

    Raises:
        HeadwaterError: ``invalid_parameter`` when it fetches no features, ``feature_view_not_found``.
    """
    if not version.features:
        raise HeadwaterError(
            "invalid_parameter",
            f"version {version.number} of model {model.name!r} fetches no features",
            hint="there is nothing to compare",
        )
    views = {}
    for need in version.features:
        view = snapshot.features.get(need.view)
        if view is None or view.dataset not in snapshot.datasets:
            raise HeadwaterError("feature_view_not_found", f"there is no feature view {need.view[:80]!r}")
        views[need.view] = view
    return FeatureSkewCheck(
        environment_id=snapshot.environment.id,
        model=model.name,
        version=version.number,
        version_id=version.id,
        needs=version.features,
        views=views,
        datasets={view.dataset: snapshot.datasets[view.dataset] for view in views.values()},
        since_us=now_us - hours * _HOUR_US,
        until_us=now_us - _SETTLED_US,
        sample=sample,
    )


def queue_check(
    store: JobStore, check: FeatureSkewCheck, *, principal_id: str, now_us: int, once_for: str | None = None
) -> Job:
    """Queue a check; return it, or the one of the same version that is not finished.

    Args:
        store: the queue.
        check: what to do.
        principal_id: who wants it.
        now_us: now.
        once_for: queue at most one of the version for this, such as a day.

    Raises:
        HeadwaterError: ``rate_limited`` when too many jobs wait.
    """
    open_one = find_check(store, check.environment_id, check.version_id)
    if open_one is not None and not open_one.state.is_final:
        return open_one
    job = NewJob(
        id=new_id("job"),
        kind=FEATURE_SKEW,
        environment_id=check.environment_id,
        subject=check.model,
        principal_id=principal_id,
        payload=check.model_dump_json().encode(),
        total=check.sample,
        created_us=now_us,
    )
    keyed = None
    if once_for is not None:
        name = f"{FEATURE_SKEW}\0{check.environment_id}\0{check.version_id}\0{once_for}".encode()
        digest = hashlib.blake2b(name, digest_size=32).digest()
        keyed = Keyed(digest, digest)
    return store.add(job, keyed, most_waiting=MOST_WAITING)[0]


def find_check(store: JobStore, environment_id: str, version_id: str) -> Job | None:
    """Return the newest check of a version that the queue knows."""
    jobs = store.recent(environment_id, limit=_LOOKED_AT)
    return next((job for job in jobs if job.new.kind == FEATURE_SKEW and _task(job).version_id == version_id), None)


def _task(job: Job) -> FeatureSkewCheck:
    return FeatureSkewCheck.model_validate_json(job.new.payload)
