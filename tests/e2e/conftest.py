"""One running system for all end-to-end tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.builders.system import System, make_system


@pytest.fixture(scope="module")
def one_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Return the module's system and stop it in the end."""
    system = make_system(tmp_path_factory.mktemp("e2e"))
    try:
        yield system
    finally:
        if system.process is not None:
            system.stop()


@pytest.fixture
def system(one_system: System) -> System:
    """Return the module's system, running and ready, whatever the test before did to it."""
    if one_system.process is None or one_system.process_ended():
        one_system.start()
    return one_system
