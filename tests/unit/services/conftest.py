"""Log lines of services under test are set up as a process does it, so that a traceback costs what it will cost."""

from __future__ import annotations

import pytest

from headwater.core.logging import configure_logging
from headwater.core.setting_sections import LogSettings


@pytest.fixture(autouse=True, scope="session")
def _logging() -> None:
    configure_logging(LogSettings(level="warning"), process="test")
