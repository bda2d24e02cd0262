"""Which settings this process runs with: those it was given, else those that files and environment say."""

from __future__ import annotations

from headwater.core.home import Home
from headwater.core.settings import Settings, load_settings

_given: Settings | None = None


def use(settings: Settings) -> None:
    """Let ``settings`` be this process's settings; to be called before Django is set up.

    Raises:
        RuntimeError: the process already runs with other settings.
    """
    global _given  # noqa: PLW0603 - Django's own settings are one per process too
    if _given is not None and _given != settings:
        raise RuntimeError("this process already runs with other settings")
    _given = settings


def current() -> Settings:
    """Return this process's settings."""
    if _given is None:
        use(load_settings())
    assert _given is not None
    return _given


def home() -> Home:
    """Return the home of this process."""
    return Home(current().home)
