"""Online stores: the newest state of entities, by key, for serving features in microseconds."""

from __future__ import annotations

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.engines.online.protocol import OnlineStore
from headwater.engines.online.sqlite import SqliteOnlineStore


def open_online(settings: Settings) -> OnlineStore:
    """Open the online store that the settings name.

    Raises:
        HeadwaterError: ``setting_invalid`` for a URL no adapter serves, ``home_unusable`` when the file cannot be made.
    """
    url = settings.online.url
    if url is None:
        return SqliteOnlineStore(Home(settings.home).online / "online.sqlite3")
    scheme = url.partition(":")[0]
    if scheme not in ("redis", "rediss", "unix"):
        raise HeadwaterError(
            "setting_invalid",
            f"online.url {url[:80]!r} names a kind of store that this version does not have",
            hint="use redis://host:port/0, rediss://… or unix:///path, or leave it out",
        )
    from headwater.engines.online.valkey import ValkeyOnlineStore  # noqa: PLC0415 - only who asked for it pays

    return ValkeyOnlineStore(url)
