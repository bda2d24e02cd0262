"""Processes that write to a journal or seal it, and die by ``kill -9`` where they are told to.

Run as ``python -m tests.builders.children <command> …`` with the settings in the environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deltalake import DeltaTable
from tests.builders.journal import STREAM, make_block, make_record

from headwater.core.clock import SystemClock
from headwater.core.settings import Settings, load_settings
from headwater.engines.journal import open_journal
from headwater.engines.journal.protocol import IdempotencyConflict, JournalTransaction
from headwater.engines.lake import compaction, delta, files, log, open_lake
from headwater.jobs.seal import seal_segment
from headwater.jobs.sealer import serve

ROOT = Path(__file__).parents[2]


def start(settings: Settings, *arguments: object) -> subprocess.Popen[str]:
    """Start a child; its standard output is a pipe."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADWATER_")}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.builders.children", *map(str, arguments)],
        cwd=ROOT,
        env={**environment, **settings.to_environment(), "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(settings: Settings, *arguments: object) -> list[str]:
    """Run a child to its end, however it ends; return the lines it printed."""
    child = start(settings, *arguments)
    out, err = child.communicate(timeout=60)
    assert child.returncode in (0, -signal.SIGKILL), err
    return out.split()


def die(*_arguments: object, **_keywords: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _after(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        function(*arguments, **keywords)
        die()

    return call


def _append(settings: Settings, first: str, count: str, point: str = "") -> None:
    """Append ``count`` blocks of one row and print each id once it is acknowledged; die at the last one."""
    journal = open_journal(settings)
    for number in range(int(first), int(first) + int(count)):
        last = number == int(first) + int(count) - 1

        def change(tx: JournalTransaction, number: int = number, last: bool = last) -> None:
            tx.append(make_block([number], receipt=f"rcp_{number}"))
            if last and point == "before-commit":
                die()

        journal.write(change)
        if last and point == "after-commit":
            die()
        print(number, flush=True)  # noqa: T201 - how the parent hears of an acknowledgement


def _claim(settings: Settings, count: str) -> None:
    """Try to be the first with each of ``count`` idempotency keys; print those won."""
    journal = open_journal(settings)
    for number in range(int(count)):
        record = make_record(str(number), body=str(os.getpid()).encode())
        try:
            journal.write(lambda tx, record=record: tx.put_idempotency([record]))  # type: ignore[misc]
        except IdempotencyConflict:
            continue
        print(number, flush=True)  # noqa: T201


POINTS: dict[str, Callable[[], None]] = {
    "before the file is synced": lambda: setattr(files, "sync", die),
    "before the commit": lambda: setattr(delta, "_commit", die),
    "after the commit, before it is synced": lambda: setattr(delta, "_commit", _after(delta._commit)),
    "before the journal hears of it": lambda: None,
    "after the table is made": lambda: setattr(delta, "_admit", die),
    "before files are swapped": lambda: setattr(compaction, "RemoveAction", die),
    "after files are swapped": lambda: setattr(delta, "compact", _after(compaction.compact)),
    "before the checkpoint is synced": lambda: setattr(
        DeltaTable, "create_checkpoint", _after(DeltaTable.create_checkpoint)
    ),
    "after the checkpoint": lambda: setattr(log, "sync_checkpoint", _after(log.sync_checkpoint)),
}


def _seal(settings: Settings, point: str = "", after: str = "0") -> None:
    """Seal segment after segment, with upkeep after each; from the ``after``-th on, die at ``point``."""
    journal, lake = open_journal(settings), open_lake(settings)
    done = 0
    while backlogs := [b for b in journal.backlogs() if b.stream == STREAM]:
        if point and done == int(after):
            POINTS[point]()
            if point == "before the journal hears of it":
                journal.seal = die  # type: ignore[method-assign]
        seal_segment(journal, lake, backlogs[0], limits=settings.lake, clock=SystemClock())
        lake.maintain(STREAM)
        done += 1
    journal.close()


def main(command: str, *arguments: str) -> None:
    settings = load_settings()
    commands: dict[str, Callable[..., None]] = {"append": _append, "claim": _claim, "seal": _seal, "serve": serve}
    commands[command](settings, *arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
