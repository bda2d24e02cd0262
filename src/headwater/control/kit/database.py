"""URLs of the database and the mail server as Django wants them."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from headwater.core.errors import HeadwaterError
from headwater.core.home import Home

BUSY_TIMEOUT_SECONDS: Final = 5
_FIXED_BACKPORTS: Final = {(3, 44): 6, (3, 50): 7}
_FIXED: Final = (3, 51, 3)


def wal_is_safe(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> bool:
    """Return whether this SQLite may checkpoint one WAL database from several connections.

    Releases 3.7.0 to 3.51.2 can corrupt it (fixed in 3.51.3, and in 3.44.6 and 3.50.7).
    """
    return version >= _FIXED or version[2] >= _FIXED_BACKPORTS.get((version[0], version[1]), 1 << 30)


def database_settings(url: str | None, home: Home) -> dict[str, Any]:
    """Return the ``DATABASES`` entry for ``database.url``; None is the home's own SQLite file.

    Raises:
        HeadwaterError: ``setting_invalid`` for a scheme that is neither SQLite nor PostgreSQL.
    """
    parts = urlsplit(url or f"sqlite:///{quote(str(home.control_database))}")
    if parts.scheme == "sqlite":
        # Three slashes and a relative path, four and an absolute one.
        return _sqlite(unquote(parts.path.removeprefix("/")))
    if parts.scheme in ("postgresql", "postgres"):
        options = dict(parse_qsl(parts.query))
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": unquote(parts.path.removeprefix("/")),
            "USER": unquote(parts.username or ""),
            "PASSWORD": unquote(parts.password or ""),
            "HOST": options.pop("host", None) or parts.hostname or "",
            "PORT": str(parts.port or options.pop("port", "")),
            "OPTIONS": options,
            "CONN_HEALTH_CHECKS": True,
        }
    raise HeadwaterError(
        "setting_invalid",
        f"'database.url': the scheme {parts.scheme!r} is not supported",
        hint="use sqlite:////path/to/file or postgresql://user:password@host:port/name",
    )


def embedded_database(url: str | None, home: Home) -> Path | None:
    """Return the file of an SQLite database; None when ``database.url`` names a server."""
    entry = database_settings(url, home)
    return Path(entry["NAME"]) if "sqlite" in entry["ENGINE"] else None


def _sqlite(path: str) -> dict[str, Any]:
    journal_mode = "WAL" if wal_is_safe() else "TRUNCATE"
    return {
        "ENGINE": "headwater.control.kit.sqlite",
        "NAME": path,
        "OPTIONS": {
            # Taking the write lock at the start is what makes the busy timeout work: upgrades never wait.
            "transaction_mode": "IMMEDIATE",
            "timeout": BUSY_TIMEOUT_SECONDS,
            # Recursive triggers: without them REPLACE deletes a sealed row unseen.
            "init_command": f"PRAGMA journal_mode={journal_mode}; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; "
            "PRAGMA recursive_triggers=ON;",
        },
    }


def email_settings(url: str) -> dict[str, Any]:
    """Return Django's mail settings for ``control.email_url``; raises ``setting_invalid`` for an unknown scheme."""
    parts = urlsplit(url)
    if parts.scheme == "console":
        return {"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}
    if parts.scheme == "file":
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "EMAIL_FILE_PATH": unquote(parts.path),
        }
    if parts.scheme in ("smtp", "smtps"):
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "EMAIL_HOST": parts.hostname or "localhost",
            "EMAIL_PORT": parts.port or (465 if parts.scheme == "smtps" else 587),
            "EMAIL_HOST_USER": unquote(parts.username or ""),
            "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
            "EMAIL_USE_SSL": parts.scheme == "smtps",
            "EMAIL_USE_TLS": parts.scheme == "smtp" and bool(parts.username),
            # A page that sends a mail waits for the server: not for ever.
            "EMAIL_TIMEOUT": 10,
        }
    raise HeadwaterError(
        "setting_invalid",
        f"'control.email_url': the scheme {parts.scheme!r} is not supported",
        hint="use console://, smtp://user:password@host:port, smtps://… or file:///folder",
    )
