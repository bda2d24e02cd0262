"""Tests deploy after the process started, so it had better look for new environments often."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.services.kit.snapshot_client.LIST_SECONDS", 0.02)
