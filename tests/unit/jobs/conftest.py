"""A real journal and lake in a temporary home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.core.home import Home
from headwater.core.setting_sections import JournalSettings, LakeSettings
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import TableStore


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    Home(tmp_path).prepare()
    return Settings(
        home=tmp_path, journal=JournalSettings(min_free_bytes=0), lake=LakeSettings(compact_every_commits=5)
    )


@pytest.fixture
def journal(settings: Settings) -> Iterator[Journal]:
    journal = open_journal(settings)
    yield journal
    journal.close()


@pytest.fixture
def lake(settings: Settings) -> TableStore:
    return open_lake(settings)
