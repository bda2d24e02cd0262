"""Where features come from at prediction: the online store, opened when the first request needs it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.core.settings import Settings
from headwater.core.snapshot import FeatureRefSpec, FeatureViewSpec
from headwater.engines.features.fetch import FeatureFetcher
from headwater.engines.online import open_online
from headwater.engines.online.protocol import OnlineStore


class LazyFetcher:
    """A ``Fetching`` that opens the store on its first use. Used from one event loop."""

    def __init__(self, settings: Settings) -> None:
        """Open what ``settings`` name, later."""
        self._settings = settings
        self._lock = asyncio.Lock()
        self._store: OnlineStore | None = None
        self._fetcher: FeatureFetcher | None = None

    async def fetch(
        self,
        environment_id: str,
        views: Mapping[str, FeatureViewSpec],
        needs: Sequence[FeatureRefSpec],
        entities: Sequence[Mapping[str, Any]],
        *,
        now_us: int,
    ) -> Any:
        """Return values, provenance and errors by row; raises ``features_unavailable`` and what opening raises."""
        fetcher = self._fetcher or await self._open()
        return await fetcher.fetch(environment_id, views, needs, entities, now_us=now_us)

    def close(self) -> None:
        """Close the store, if it was opened."""
        store, self._store, self._fetcher = self._store, None, None
        if store is not None:
            store.close()

    async def _open(self) -> FeatureFetcher:
        async with self._lock:
            if self._fetcher is None:
                self._store = await asyncio.to_thread(open_online, self._settings)
                self._fetcher = FeatureFetcher(self._store)
            return self._fetcher
