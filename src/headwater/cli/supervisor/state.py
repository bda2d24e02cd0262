"""Who runs this home: a lock while it runs, and ``run/up.json`` that says what runs where."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from headwater.cli.supervisor.processes import identity, is_alive
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home

_LEFTOVER_GRACE_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.05


@dataclass(slots=True)
class ProcessState:
    """One child as it stands. ``identity`` tells it from a later process with the same id."""

    pid: int
    identity: str | None
    restarts: int = 0
    ready: bool = False


@dataclass(slots=True)
class UpState:
    """What ``run/up.json`` holds: the supervisor, its servers, its children by name, and what commands act on."""

    pid: int
    identity: str | None
    control_url: str
    services_url: str
    ready: bool = False
    processes: dict[str, ProcessState] = field(default_factory=dict)
    target: dict[str, str] = field(default_factory=dict)

    @property
    def is_current(self) -> bool:
        """Return whether the run that wrote this still goes on."""
        return self.identity is not None and identity(self.pid) == self.identity and is_alive(self.pid)

    def write(self, home: Home) -> None:
        """Replace the file, so that a reader sees the old state or the new one."""
        path = state_file(home)
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, home: Home) -> UpState | None:
        """Return the state that the last run wrote, or None when there is none that can be read."""
        try:
            plain = json.loads(state_file(home).read_text(encoding="utf-8"))
            processes = {name: ProcessState(**one) for name, one in plain.pop("processes").items()}
            return cls(**plain, processes=processes)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None


def state_file(home: Home) -> Path:
    """Return where the state lies."""
    return home.run / "up.json"


@contextmanager
def hold_home(home: Home) -> Iterator[None]:
    """Hold the home's lock; the kernel releases it when this process ends, however it ends.

    Raises:
        HeadwaterError: ``home_in_use`` naming the process that holds it.
    """
    with (home.run / "up.lock").open("a+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            pid = file.read(20).strip()
            raise HeadwaterError(
                "home_in_use",
                f"{home.root} is in use by another `headwater up`" + (f" (pid {pid})" if pid else ""),
                hint=f"stop it (kill {pid or '<pid>'}) or choose another home with --home",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def end_leftovers(home: Home) -> list[str]:
    """End what a killed run left behind; call only while holding the home. Returns what was ended, in words."""
    state = UpState.read(home)
    if state is None:
        return []
    left = {
        name: one.pid
        for name, one in state.processes.items()
        if one.identity is not None and identity(one.pid) == one.identity and is_alive(one.pid)
    }
    for pid in left.values():
        _signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + _LEFTOVER_GRACE_SECONDS
    while time.monotonic() < deadline and any(map(is_alive, left.values())):
        time.sleep(_POLL_SECONDS)
    for pid in left.values():
        _signal_group(pid, signal.SIGKILL)
    return [f"{name} (pid {pid})" for name, pid in left.items()]


def _signal_group(pid: int, number: signal.Signals) -> None:
    """Signal a child and what it started; children lead their own groups."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
