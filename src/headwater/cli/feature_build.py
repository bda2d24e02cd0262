"""Building the online state of a feature view on this machine, with a bar that shows how far it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headwater.cli.session import Session
from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import TargetSettings
from headwater.core.snapshot import Snapshot
from headwater.engines.journal import open_journal
from headwater.engines.lake import open_lake
from headwater.engines.online import open_online
from headwater.jobs.online.configuration import Configuration
from headwater.jobs.online.feeder import Feeder, Report


def build_view(session: Session, view: str, since_us: int | None, until_us: int | None) -> dict[str, Any]:
    """Build the next generation of a view's state and have it read.

    Raises:
        HeadwaterError: ``feature_view_not_found``, ``config_unavailable`` when services never kept a configuration.
    """
    snapshot = _snapshot(session, session.settings.target)
    found = snapshot.features.get(view)
    if found is None or not found.online:
        known = ", ".join(sorted(name for name, one in snapshot.features.items() if one.online)) or "none"
        raise HeadwaterError(
            "feature_view_not_found", f"there is no online feature view {view!r}", hint=f"there are: {known}"
        )
    settings = session.settings
    journal, store = open_journal(settings), open_online(settings)
    feeder = Feeder(store, journal, open_lake(settings), settings)
    try:
        with _bar(f"building {view}") as report:
            state = feeder.build(feeder.target(snapshot, view), report=report, from_us=since_us, to_us=until_us)
    finally:
        feeder.close()
        store.close()
        journal.close()
    return {"view": view, "generation": state.progress.generation, "seq": state.progress.seq}


def _snapshot(session: Session, target: TargetSettings) -> Snapshot:
    configuration = Configuration(session.home)
    configuration.refresh()
    wanted = (target.organization, target.project, target.environment)
    for snapshot in configuration.snapshots.values():
        one = snapshot.environment
        if (one.organization, one.project, one.key) == wanted:
            return snapshot
    raise HeadwaterError(
        "config_unavailable",
        f"no configuration of {'/'.join(wanted)} is kept in {session.home.snapshots}",
        hint="start `headwater up` once on this home",
    )


@contextmanager
def _bar(title: str) -> Iterator[Report]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, parts: print(f"{title}: {done} of {parts}", file=sys.stderr)  # noqa: T201 - it is the progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, parts: progress.update(task, completed=done, total=parts)
