"""What the first start makes and finds."""

from __future__ import annotations

import pytest

from headwater.control import configuration
from headwater.control.access.queries import get_environment
from headwater.control.start import ensure_target
from headwater.core.home import Home
from headwater.core.ids import format_id, new_uuid


@pytest.mark.django_db
def test_data_of_environments_that_the_database_does_not_know_is_told() -> None:
    settings = configuration.current()
    home = Home(settings.home)
    first = ensure_target(settings)
    assert first.strangers == ()
    target = settings.target
    known = get_environment(target.organization, target.project, target.environment).public_id
    lost = home.snapshots / format_id("env", new_uuid())
    (home.snapshots / known).mkdir()
    lost.mkdir()
    try:
        assert ensure_target(settings).strangers == (lost.name,)
    finally:
        lost.rmdir()
        (home.snapshots / known).rmdir()
        home.demo_key.unlink()
