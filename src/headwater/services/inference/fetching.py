"""Fetching features while there is time: what does not come is the view's default, where the view says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureRefSpec, FeatureViewSpec
from headwater.engines.features.fetch import Fetched

_SHARE: Final = 0.8  # of the time that is left; the rest is for the model


class Fetching(Protocol):
    """What fetches features: ``engines.features.fetch.FeatureFetcher``."""

    async def fetch(
        self,
        environment_id: str,
        views: Mapping[str, FeatureViewSpec],
        needs: Sequence[FeatureRefSpec],
        entities: Sequence[Mapping[str, Any]],
        *,
        now_us: int,
    ) -> Any:
        """Return values, provenance and errors by row."""
        ...


async def fetch_in_time(
    fetcher: Fetching,
    environment_id: str,
    views: Mapping[str, FeatureViewSpec],
    needs: Sequence[FeatureRefSpec],
    entities: Sequence[Mapping[str, Any]],
    *,
    now_us: int,
    deadline: float | None,
) -> Any:
    """Return values, provenance and errors by row.

    Args:
        fetcher: who fetches.
        environment_id: as for the fetcher; so are ``views``, ``needs``, ``entities`` and ``now_us``.
        views: the environment's views.
        needs: what is fetched.
        entities: for whom.
        now_us: as of when.
        deadline: instant of ``time.monotonic`` after which nobody waits for the prediction.

    Raises:
        HeadwaterError: ``features_late`` or ``features_unavailable`` where a view does not say that its defaults will
            do, or a feature has none; and whatever else the fetcher raises.
    """
    seconds = None if deadline is None else max(_SHARE * (deadline - time.monotonic()), 0.0)
    try:
        async with asyncio.timeout(seconds):
            return await fetcher.fetch(environment_id, views, needs, entities, now_us=now_us)
    except TimeoutError as error:
        late = HeadwaterError(
            "features_late",
            f"the features did not come within {1_000 * (seconds or 0.0):.0f} ms",
            hint="allow more time in Hw-Timeout-Ms, or declare 'on_unavailable: default' in the view",
        )
        return _defaults(views, needs, len(entities), late, error)
    except HeadwaterError as error:
        if error.code != "features_unavailable":
            raise
        return _defaults(views, needs, len(entities), error, error.__cause__)


def _defaults(
    views: Mapping[str, FeatureViewSpec],
    needs: Sequence[FeatureRefSpec],
    rows: int,
    otherwise: HeadwaterError,
    cause: BaseException | None,
) -> Fetched:
    """Return every feature's default, or raise ``otherwise`` where one may not stand in, or there is none."""
    values: dict[str, Any] = {}
    for need in needs:
        view = views.get(need.view)
        default = _default(view, need.feature) if view is not None and view.on_unavailable == "default" else None
        if default is None:
            raise otherwise from cause
        values[need.field] = default
    provenance = {f"{need.view}.{need.feature}": (values[need.field], None) for need in needs}
    return Fetched([dict(values) for _ in range(rows)], [dict(provenance) for _ in range(rows)])


def _default(view: FeatureViewSpec, name: str) -> Any:
    return next((feature.default for feature in view.features if feature.name == name), None)
