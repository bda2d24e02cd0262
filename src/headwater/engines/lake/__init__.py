"""The lake: the tables of record."""

from __future__ import annotations

from headwater.core.settings import Settings
from headwater.engines.lake.lazy import LazyTableStore
from headwater.engines.lake.protocol import TableStore


def open_lake(settings: Settings) -> TableStore:
    """Open the lake that the settings name.

    Raises:
        HeadwaterError: ``setting_invalid`` for a URL no adapter serves.
    """
    return LazyTableStore(settings.lake_folder, settings.lake)
