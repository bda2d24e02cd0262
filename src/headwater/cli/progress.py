"""How far a load is: a moving bar in a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from headwater.client.results import Counts

_LINE_SECONDS: Final = 2.0
_BAR_WIDTH: Final = 24


class LoadProgress(Protocol):
    """Somebody who is told how far a load is."""

    def file(self, name: str) -> None:
        """Hear which file comes next."""
        ...

    def bytes(self, count: int) -> None:
        """Hear of bytes read."""
        ...

    def rows(self, counts: Counts) -> None:
        """Hear of all rows answered so far."""
        ...


@contextmanager
def show_progress(title: str, sizes: Sequence[int | None]) -> Iterator[LoadProgress]:
    """Show the progress of reading inputs of these sizes (bytes; None when unknown) on stderr."""
    known = [size for size in sizes if size is not None]
    total = sum(known) if len(known) == len(sizes) else None
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title, total)
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rows]}"),
        TimeRemainingColumn(),
        console=console,
    ) as bar:
        yield _Bar(bar, title, total)


class _Bar:
    def __init__(self, bar: Progress, title: str, total: int | None) -> None:
        self._bar = bar
        self._title = title
        self._task = bar.add_task(title, total=total, rows="")

    def file(self, name: str) -> None:
        self._bar.update(self._task, description=f"{self._title} {name}")

    def bytes(self, count: int) -> None:
        self._bar.advance(self._task, count)

    def rows(self, counts: Counts) -> None:
        self._bar.update(self._task, rows=f"{counts.received:,} rows")


class _Lines:
    def __init__(self, title: str, total: int | None) -> None:
        self._title = title
        self._total = total
        self._read = 0
        self._name = ""
        self._told = time.monotonic()

    def file(self, name: str) -> None:
        self._name = name

    def bytes(self, count: int) -> None:
        self._read += count

    def rows(self, counts: Counts) -> None:
        finished = self._total is not None and self._read >= self._total
        if not finished and time.monotonic() - self._told < _LINE_SECONDS:
            return
        self._told = time.monotonic()
        share = min(1.0, self._read / self._total) if self._total else None
        bar = f"{'█' * round(share * _BAR_WIDTH):░<{_BAR_WIDTH}} {share:4.0%} " if share is not None else ""
        sys.stderr.write(f"{self._title} {self._name} {bar}{counts.received:,} rows\n")
        sys.stderr.flush()
