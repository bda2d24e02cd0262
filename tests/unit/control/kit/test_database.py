from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction

from headwater.control.kit.database import database_settings, email_settings, wal_is_safe
from headwater.control.kit.sqlite import base
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home

HOME = Home(Path("/home/x"))


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 9), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
    ],
)
def test_wal_is_used_only_where_sqlite_is_mended(version: tuple[int, ...], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_without_a_url_the_database_lies_in_the_home() -> None:
    settings = database_settings(None, HOME)
    assert settings["NAME"] == "/home/x/control.sqlite3"
    assert settings["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


@pytest.mark.parametrize(
    ("url", "path"), [("sqlite:////var/lib/c.db", "/var/lib/c.db"), ("sqlite:///here.db", "here.db")]
)
def test_a_sqlite_url_names_a_file(url: str, path: str) -> None:
    assert database_settings(url, HOME)["NAME"] == path


def test_a_postgresql_url_is_taken_apart() -> None:
    settings = database_settings("postgresql://ada:p%40ss@db.example:5433/control?sslmode=require", HOME)
    assert (settings["USER"], settings["PASSWORD"], settings["HOST"]) == ("ada", "p@ss", "db.example")
    assert (settings["PORT"], settings["NAME"], settings["OPTIONS"]) == ("5433", "control", {"sslmode": "require"})
    socket = database_settings("postgresql:///control?host=/run/pg", HOME)
    assert (socket["HOST"], socket["PORT"]) == ("/run/pg", "")


def test_an_unknown_scheme_names_the_setting() -> None:
    with pytest.raises(HeadwaterError, match=r"database\.url.*mysql"):
        database_settings("mysql://x", HOME)
    with pytest.raises(HeadwaterError, match=r"control\.email_url.*carrier"):
        email_settings("carrier://pigeon")


def test_mail_goes_to_the_console_or_to_a_server() -> None:
    assert "console" in email_settings("console://")["EMAIL_BACKEND"]
    smtp = email_settings("smtp://ada:secret@mail.example:2525")
    assert (smtp["EMAIL_HOST"], smtp["EMAIL_PORT"], smtp["EMAIL_USE_TLS"]) == ("mail.example", 2525, True)
    assert email_settings("smtps://mail.example")["EMAIL_PORT"] == 465


on_sqlite = pytest.mark.skipif(connection.vendor != "sqlite", reason="about SQLite")


@on_sqlite
def test_the_open_database_is_durable_and_checks_references(db: None) -> None:
    with connection.cursor() as cursor:
        found = {
            name: cursor.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "recursive_triggers", "busy_timeout")
        }
    assert found == {
        "journal_mode": "wal" if wal_is_safe() else "truncate",
        "synchronous": 2,
        "foreign_keys": 1,
        "recursive_triggers": 1,
        "busy_timeout": 5_000,
    }


class Holder(threading.Thread):
    """Another process, as far as SQLite can tell: it holds the write lock for a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.held = threading.Event()
        self.released_at = 0.0
        self._path = str(connection.settings_dict["NAME"])
        self._seconds = seconds

    def run(self) -> None:
        database = sqlite3.connect(self._path, isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        self.held.set()
        time.sleep(self._seconds)
        self.released_at = time.monotonic()
        database.execute("ROLLBACK")
        database.close()


@on_sqlite
def test_a_transaction_begins_as_soon_as_the_one_before_ends(transactional_db: None) -> None:
    late = []
    for _ in range(6):
        holder = Holder(0.4)
        holder.start()
        holder.held.wait()
        with transaction.atomic():
            late.append(time.monotonic() - holder.released_at)
        holder.join()
    # Looking again after SQLite's own pauses would be up to 0.1 s late each time.
    assert sum(late) < 0.1


@on_sqlite
def test_a_transaction_that_gets_no_turn_says_so_in_the_end(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "PATIENCE_SECONDS", 0.05)
    holder = Holder(0.5)
    holder.start()
    holder.held.wait()
    with pytest.raises(OperationalError, match="locked"), transaction.atomic():
        pass
    holder.join()
    with transaction.atomic(), connection.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone()[0] == 5_000
