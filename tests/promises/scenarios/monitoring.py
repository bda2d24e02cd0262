"""How to raise an alert about a model, and to clear it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.utils import timezone
from tests.builders.registry import make_model, make_version

from headwater.control.monitoring.actions import MONITOR, clear_alert, raise_alert
from headwater.control.monitoring.models import ModelAlert
from headwater.control.orgs.models import Environment
from headwater.engines.monitoring.alerts import Reading

Scenario = Callable[[Environment], object]


def _raised(e: Environment) -> ModelAlert:
    return raise_alert(
        actor=MONITOR, environment=e, version=make_version(make_model(e)),
        reading=Reading("psi", 0.4, 0.2, "hour", "input"), since=timezone.now(), window_minutes=60, evidence={},
    )  # fmt: skip


SCENARIOS: Final[dict[str, Scenario]] = {
    "monitoring.alert.raised": _raised,
    "monitoring.alert.cleared": lambda e: clear_alert(actor=MONITOR, alert=_raised(e), reason="within"),
}
