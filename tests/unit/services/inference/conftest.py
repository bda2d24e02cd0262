"""Tests deploy after the process started, so it had better look for new environments often."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders.fleet import Fleet, Remote
from tests.fakes.control import FakeControl
from tests.fakes.process import running

from headwater.core.home import Home
from headwater.core.setting_sections import InferenceSettings
from headwater.core.settings import Settings
from headwater.core.snapshot import ModelVersionSpec
from headwater.engines.models import open_executor as open_real
from headwater.services import inference


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.services.kit.snapshot_client.LIST_SECONDS", 0.02)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, inference=InferenceSettings(sidecar=False))


@pytest.fixture
def control(settings: Settings) -> FakeControl:
    control = FakeControl()
    control.establish_trust(Home(settings.home))
    return control


@pytest.fixture
async def fleet(settings: Settings, control: FakeControl) -> AsyncIterator[Fleet]:
    async with running(settings.home, control, inference.create) as process:
        yield Fleet(process, control)


@pytest.fixture
def remotes(monkeypatch: pytest.MonkeyPatch) -> dict[int, Remote]:
    """Return executors by version number that stand in for what would be loaded."""
    found: dict[int, Remote] = {}

    def open_executor(spec: ModelVersionSpec, *arguments: Any, **options: Any) -> Any:
        return found.get(spec.number) or open_real(spec, *arguments, **options)

    monkeypatch.setattr("headwater.services.inference.version.open_executor", open_executor)
    return found
