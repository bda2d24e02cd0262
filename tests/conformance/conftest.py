"""The adapters under test. A new one adds a line here and inherits every promise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from tests.builders.valkey import running_valkey

from headwater.core.setting_sections import JournalSettings, LakeSettings, OnlineSettings
from headwater.core.settings import Settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import Journal
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import TableStore
from headwater.engines.online import open_online
from headwater.engines.online.protocol import OnlineStore


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


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with running_valkey() as url:
        yield url


@pytest.fixture(params=["sqlite", "valkey"])
def online_settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "sqlite":
        return Settings(home=tmp_path)
    url: str = request.getfixturevalue("valkey_url")
    client = redis.Redis.from_url(url)
    client.flushall()
    client.close()
    return Settings(home=tmp_path, online=OnlineSettings(url=url))


@pytest.fixture
async def online(online_settings: Settings) -> AsyncIterator[OnlineStore]:
    store = open_online(online_settings)
    yield store
    store.close()
    await asyncio.sleep(0)  # connections of the loop close in it
