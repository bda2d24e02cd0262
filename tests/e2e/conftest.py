"""One running system, or one running flights example, for all end-to-end tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.builders.flights import Flights, copy_flights
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


@pytest.fixture(scope="module")
def module_flights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flights]:
    flights = copy_flights(tmp_path_factory.mktemp("flights"))
    try:
        flights.start()
        flights.accounts = flights.sealed_accounts()
        yield flights
    finally:
        if flights.system.process is not None:
            flights.system.stop()


@pytest.fixture
def flights(module_flights: Flights) -> Flights:
    """Return the example, running, whatever the test before did to it."""
    if module_flights.system.process is None:
        module_flights.start()
    return module_flights
