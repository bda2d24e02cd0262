"""What every test shares: bounded, reproducible property tests."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import pytest
from hypothesis import HealthCheck, settings

# Django reads its settings once a process, so the home they name must be a throw-away one before that.
os.environ["HEADWATER_HOME"] = tempfile.mkdtemp(prefix="headwater-tests-")
atexit.register(shutil.rmtree, os.environ["HEADWATER_HOME"], ignore_errors=True)

settings.register_profile("dev", max_examples=50, deadline=None)
settings.register_profile(
    "ci", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: of two processes, none is left with a long file when the other has ended."""
    items.sort(key=lambda item: item.get_closest_marker("e2e") is None)
