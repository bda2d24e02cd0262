"""A feature store that knows what a test tells it, behind the face of ``engines.features.fetch.FeatureFetcher``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headwater.contracts.rows import FieldError
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureRefSpec, FeatureViewSpec
from headwater.engines.features.fetch import Fetched


class FakeFetcher:
    """Has values by the entity's ``id``; what it does not know is ``entity_missing``."""

    def __init__(self, values: Mapping[int, Mapping[str, Any]]) -> None:
        self.values = values
        self.asked: list[tuple[list[str], list[Mapping[str, Any]]]] = []
        self.is_down = False

    async def fetch(
        self,
        environment_id: str,
        views: Mapping[str, FeatureViewSpec],
        needs: Sequence[FeatureRefSpec],
        entities: Sequence[Mapping[str, Any]],
        *,
        now_us: int,
    ) -> Fetched:
        if self.is_down:
            raise HeadwaterError("features_unavailable", "the store does not answer", retry_after_seconds=2)
        del views
        assert environment_id == "env_1"
        assert now_us > 1e15
        self.asked.append(([need.field for need in needs], list(entities)))
        fetched = Fetched([{} for _ in entities], [{} for _ in entities])
        for row, entity in enumerate(entities):
            known = self.values.get(entity["id"])
            if known is None:
                error = FieldError("entity_missing", f"/{needs[0].field}", f"nothing is known about {entity['id']}")
                fetched.errors[row] = [error]
                continue
            for need in needs:
                fetched.values[row][need.field] = known[need.feature]
                fetched.provenance[row][f"{need.view}.{need.feature}"] = [known[need.feature], 1_700_000_000_000_000]
        return fetched
