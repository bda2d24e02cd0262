"""Fetching features while there is time: what does not come is the view's default, where the view says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureRefSpec, FeatureViewSpec
from headwater.engines.features.fetch import Defaulted, Fetched

_LATE: Final = "it did not come in time"
_AWAY: Final = "it cannot be read now"
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
        fetched = _defaults(views, needs, len(entities), _LATE)
        if fetched is None:
            raise HeadwaterError(
                "features_late",
                f"the features did not come within {1_000 * (seconds or 0.0):.0f} ms",
                hint="allow more time in Hw-Timeout-Ms, or declare 'on_unavailable: default' in the view",
            ) from error
    except HeadwaterError as error:
        fetched = _defaults(views, needs, len(entities), _AWAY) if error.code == "features_unavailable" else None
        if fetched is None:
            raise
    return fetched


def _defaults(
    views: Mapping[str, FeatureViewSpec], needs: Sequence[FeatureRefSpec], rows: int, reason: str
) -> Fetched | None:
    """Return every feature's default for ``reason``; None where one may not stand in, or there is none."""
    values: dict[str, Any] = {}
    for need in needs:
        view = views.get(need.view)
        default = _default(view, need.feature) if view is not None and view.on_unavailable == "default" else None
        if default is None:
            return None
        values[need.field] = default
    provenance = {f"{need.view}.{need.feature}": (values[need.field], None) for need in needs}
    names = {need.view: [other.feature for other in needs if other.view == need.view] for need in needs}
    defaulted = [Defaulted(view, features, reason) for view, features in names.items()]
    return Fetched(
        [dict(values) for _ in range(rows)],
        [dict(provenance) for _ in range(rows)],
        defaulted=dict.fromkeys(range(rows), defaulted),
    )


def _default(view: FeatureViewSpec, name: str) -> Any:
    return next((feature.default for feature in view.features if feature.name == name), None)
