"""One way to run every action of feature views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from headwater.control.catalog.actions import create_dataset
from headwater.control.features import actions
from headwater.control.features.models import FeatureView
from headwater.control.kit.actions import SYSTEM
from headwater.control.orgs.models import Environment

SPEC: Final = {
    "name": "recent",
    "dataset": "orders",
    "entities": ["id"],
    "event_time": "at",
    "features": [{"name": "total", "type": "number", "kind": "column", "column": "total"}],
}


def _view(e: Environment) -> FeatureView:
    create_dataset(actor=SYSTEM, project=e.project, name="orders")
    return actions.publish_view(actor=SYSTEM, environment=e, spec=SPEC, source="dataset: orders").view


def _archive(e: Environment) -> None:
    actions.archive_view(actor=SYSTEM, view=_view(e), reason="unused")


SCENARIOS: Final[dict[str, Callable[[Environment], object]]] = {
    "features.view.published": _view,
    "features.view.archived": _archive,
}
