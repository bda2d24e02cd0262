"""What the tests of model monitoring share: a served version, an alert about it, and charts drawn by a stand-in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone
from tests.builders.registry import make_model, make_version
from tests.fakes.charts import StandIn

from headwater.control.kit.actions import SYSTEM
from headwater.control.monitoring import drawing, export
from headwater.control.monitoring.actions import MONITOR, raise_alert
from headwater.control.monitoring.models import ModelAlert
from headwater.control.orgs.models import Environment
from headwater.control.registry.actions import promote_version
from headwater.control.registry.models import ModelVersion
from headwater.engines.monitoring.alerts import Reading

ROWS = {"dataset": "predictions_delay", "sql": "SELECT 7", "rows": "some rows"}


@pytest.fixture
def charts(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    stand_in = StandIn()
    monkeypatch.setattr(drawing, "RENDERER", stand_in)
    monkeypatch.setattr(export, "RENDERER", stand_in)
    return stand_in


@pytest.fixture
def version(environment: Environment) -> ModelVersion:
    made = make_version(make_model(environment))
    promote_version(actor=SYSTEM, version=made, environment=environment)
    return made


@pytest.fixture
def raised(version: ModelVersion, environment: Environment) -> Callable[..., ModelAlert]:
    """Raise an alert about a field of the version."""

    def run(field: str = "hour") -> ModelAlert:
        return raise_alert(
            actor=MONITOR, environment=environment, version=version, reading=Reading("psi", 0.6, 0.2, field, "input"),
            since=timezone.now(), window_minutes=60, evidence=ROWS,
        )  # fmt: skip

    return run
