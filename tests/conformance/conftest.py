"""The adapters under test. A new one adds a line here and inherits every promise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.core.settings import JournalSettings, LakeSettings, Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import TableStore


@pytest.fixture(params=["sqlite"])
def journal_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    urls = {"sqlite": f"sqlite:///{tmp_path}/journal.sqlite3"}
    return Settings(home=tmp_path, journal=JournalSettings(url=urls[request.param], min_free_bytes=0))


@pytest.fixture
def journal(journal_settings: Settings) -> Iterator[Journal]:
    journal = open_journal(journal_settings)
    yield journal
    journal.close()


@pytest.fixture(params=["delta"])
def lake_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    urls = {"delta": f"file://{tmp_path}/lake"}
    return Settings(home=tmp_path, lake=LakeSettings(url=urls[request.param], compact_every_commits=5))


@pytest.fixture
def lake(lake_settings: Settings) -> TableStore:
    return open_lake(lake_settings)
