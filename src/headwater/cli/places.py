"""Where the parts of an installation are, by its settings."""

from __future__ import annotations

from pathlib import Path

from headwater.control.kit.database import embedded_database
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings
from headwater.jobs.backup import JOURNAL_FILE, Sources


def backup_sources(settings: Settings) -> Sources:
    """Return where everything is that a backup holds.

    Raises:
        HeadwaterError: ``setting_invalid`` for a part in a place that cannot be copied from here.
    """
    home = Home(settings.home)
    return Sources(
        home=home,
        journal=_local("journal.url", settings.journal.url, "sqlite:///", home.journal / JOURNAL_FILE),
        lake=_local("lake.url", settings.lake.url, "file://", home.lake),
        artifacts=_local("artifacts.url", settings.artifacts.url, "file://", home.artifacts),
        control_database=embedded_database(settings.database.url, home),
    )


def outside_the_home(settings: Settings) -> list[str]:
    """Return the settings that put a part of the installation outside its home."""
    sections = ("database", "journal", "lake", "artifacts")
    return [f"{name}.url" for name in sections if getattr(settings, name).url is not None]


def _local(setting: str, url: str | None, prefix: str, default: Path) -> Path:
    if url is None:
        return default
    if "://" not in url:
        return Path(url)
    if not url.startswith(prefix):
        hint = "back it up where it is"
        raise HeadwaterError("setting_invalid", f"{setting} {url[:80]!r} cannot be copied from here", hint=hint)
    return Path(url.removeprefix(prefix))
