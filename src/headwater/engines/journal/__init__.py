"""The journal: where accepted rows are durable before they reach the lake."""

from __future__ import annotations

from pathlib import Path

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal
from headwater.engines.journal.sqlite import SqliteJournal


def open_journal(settings: Settings) -> Journal:
    """Open the journal that the settings name, creating it if need be.

    Raises:
        HeadwaterError: ``setting_invalid`` for a URL no adapter serves; else what the adapter raises.
    """
    url = settings.journal.url
    if url is None:
        path = Home(settings.home).journal / "journal.sqlite3"
    elif url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
    else:
        raise HeadwaterError(
            "setting_invalid",
            f"journal.url {url[:80]!r} names a kind of journal that this version does not have",
            hint="use sqlite:///path (four slashes for an absolute path), or leave it out",
        )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return SqliteJournal(path, settings.journal)
