"""The lake: the tables of record."""

from __future__ import annotations

from pathlib import Path

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.engines.lake.delta import DeltaTableStore
from headwater.engines.lake.protocol import TableStore


def open_lake(settings: Settings) -> TableStore:
    """Open the lake that the settings name.

    Raises:
        HeadwaterError: ``setting_invalid`` for a URL no adapter serves.
    """
    url = settings.lake.url
    if url is None:
        return DeltaTableStore(Home(settings.home).lake, settings.lake)
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "file":
        raise HeadwaterError(
            "setting_invalid",
            f"lake.url {url[:80]!r} names a kind of storage that this version does not have",
            hint="use file:///path or a plain path, or leave it out",
        )
    return DeltaTableStore(Path(rest if separator else url), settings.lake)
