"""Children are started, watched, started again and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from headwater.cli.supervisor import ready, tether
from headwater.cli.supervisor.child import ChildSpec
from headwater.cli.supervisor.keeper import Backoff, Patience
from headwater.cli.supervisor.logs import LogStream
from headwater.cli.supervisor.processes import identity, is_alive, resident_bytes
from headwater.cli.supervisor.state import ProcessState, UpState, end_leftovers
from headwater.cli.supervisor.supervisor import Supervisor
from headwater.core.home import Home

BEAT = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()\n"
STEADY = BEAT + "import time\nprint('up', flush=True)\ntime.sleep(60)"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + STEADY
POLITE = (
    "import signal, sys\n"
    "def stop(*_):\n    print('bye', flush=True)\n    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, stop)\n" + STEADY
)
FAILING = "import sys\nprint('no luck', flush=True)\nsys.exit(3)"


class System:
    """A supervisor with its log at hand."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.output = io.StringIO()
        self.supervisor = Supervisor(
            home,
            UpState(os.getpid(), identity(os.getpid()), "http://c", "http://s"),
            LogStream(self.output),
            backoff=lambda: Backoff(first_seconds=0.01, longest_seconds=0.05),
        )

    def spec(self, name: str, code: str, *, grace_seconds: float = 5.0) -> ChildSpec:
        beat = self.home.run / f"{name}.beat"
        return ChildSpec(
            name, (sys.executable, "-S", "-c", code, str(beat)), ready.fresh_file(beat), grace_seconds=grace_seconds
        )

    @property
    def log(self) -> str:
        return self.output.getvalue()


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[System]:
    home = Home(tmp_path / "home")
    home.prepare()
    system = System(home)
    yield system
    system.supervisor.hurry.set()
    await system.supervisor.stop()


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - looks at other processes
            await asyncio.sleep(0.02)


async def test_children_become_ready_and_their_state_is_on_disk(system: System) -> None:
    keeper = system.supervisor.keep(system.spec("control", STEADY))
    await system.supervisor.wait_ready()

    state = UpState.read(system.home)
    assert state is not None
    assert keeper.child is not None
    assert state.ready
    assert state.processes["control"].pid == keeper.child.pid
    assert "control   │ up" in system.log
    assert system.supervisor.memory()["control"] > 1 << 20


def test_what_is_waited_for_is_told_late_and_the_same_seldom() -> None:
    patience = Patience(100.0)
    said = [
        (second, missing)
        for second in range(100, 181)
        for missing in ("it starts" if second < 103 else "a port" if second < 150 else "a disk",)
        if patience.runs_out(missing, float(second))
    ]
    assert said == [(108, "a port"), (138, "a port"), (150, "a disk"), (180, "a disk")]


async def test_a_line_that_concerns_nobody_is_not_shown(system: System) -> None:
    spec = replace(
        system.spec("valkey", "print('overcommit of memory'); print('now for the queue')"), unshown="overcommit"
    )
    await system.supervisor.run_once(spec)
    assert "now for the queue" in system.log
    assert "overcommit" not in system.log


async def test_a_killed_child_is_started_again(system: System) -> None:
    keeper = system.supervisor.keep(system.spec("services", STEADY))
    await system.supervisor.wait_ready()
    assert keeper.child is not None
    first = keeper.child.pid

    os.kill(first, signal.SIGKILL)
    await until(lambda: keeper.restarts == 1 and keeper.ready.is_set())

    assert keeper.child.pid != first
    assert "services ended unexpectedly (killed by SIGKILL)" in system.log
    assert "services is back" in system.log


async def test_what_a_killed_child_had_started_does_not_work_on_beside_its_successor(system: System) -> None:
    note = system.home.run / "grandchild"
    code = (
        f"import pathlib, subprocess, sys\n"
        f"one = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(one.pid))\n"
    )
    keeper = system.supervisor.keep(system.spec("services", code + STEADY))
    await system.supervisor.wait_ready()
    grandchild = int(note.read_text())
    assert keeper.child is not None

    os.kill(keeper.child.pid, signal.SIGKILL)
    await until(lambda: keeper.restarts == 1 and keeper.ready.is_set())

    assert not is_alive(grandchild)


async def test_a_crash_loop_is_told_and_the_others_go_on(system: System) -> None:
    steady = system.supervisor.keep(system.spec("services", STEADY))
    looping = system.supervisor.keep(system.spec("control", FAILING))

    await until(lambda: "control has ended 4 times in a row" in system.log)

    assert steady.ready.is_set()
    assert steady.restarts == 0
    assert not looping.ready.is_set()
    assert "no luck" in system.log


async def test_the_stop_is_ordered_and_lets_each_finish(system: System) -> None:
    for name in ("valkey", "control", "worker", "sealer", "services"):
        system.supervisor.keep(system.spec(name, POLITE))
    await system.supervisor.wait_ready()

    await system.supervisor.stop()

    farewells = [line.split("│")[0].strip() for line in system.log.splitlines() if line.endswith("│ bye")]
    assert farewells == ["services", "sealer", "worker", "control", "valkey"]


async def test_a_child_that_does_not_stop_is_killed_after_its_grace(system: System) -> None:
    keeper = system.supervisor.keep(system.spec("sealer", STUBBORN, grace_seconds=0.2))
    await system.supervisor.wait_ready()
    assert keeper.child is not None

    await system.supervisor.stop()

    assert not is_alive(keeper.child.pid)
    assert "sealer does not stop; killing it" in system.log


async def test_hurry_cuts_every_grace_short(system: System) -> None:
    keepers = [system.supervisor.keep(system.spec(name, STUBBORN, grace_seconds=60)) for name in ("control", "sealer")]
    await system.supervisor.wait_ready()
    stopping = asyncio.create_task(system.supervisor.stop())
    await asyncio.sleep(0.1)

    system.supervisor.hurry.set()
    await asyncio.wait_for(stopping, 10)

    assert not any(is_alive(keeper.child.pid) for keeper in keepers if keeper.child)


async def test_a_stop_while_children_still_start_leaves_none(system: System) -> None:
    keepers = [system.supervisor.keep(system.spec(name, STEADY)) for name in ("control", "sealer")]

    await system.supervisor.stop()

    assert not any(is_alive(keeper.child.pid) for keeper in keepers if keeper.child)


async def test_a_passing_child_reports_its_end(system: System) -> None:
    child = await system.supervisor.run_once(system.spec("setup", FAILING))

    assert (child.returncode, list(child.last_lines)) == (3, ["no luck"])


async def test_an_answer_is_kept_and_stays_out_of_the_log(system: System) -> None:
    code = "import sys; print('secret'); print('progress', file=sys.stderr)"
    spec = dataclasses.replace(system.spec("setup", code), answers=True)

    child = await system.supervisor.run_once(spec)

    assert child.answer == b"secret\n"
    assert "progress" in system.log
    assert "secret" not in system.log


async def test_a_program_that_does_not_exist_is_told(system: System) -> None:
    child = await system.supervisor.run_once(
        ChildSpec("start", ("/nowhere/program",), ready.fresh_file(system.home.run))
    )

    assert child.returncode == 127
    assert list(child.last_lines) == ["/nowhere/program cannot be started: No such file or directory"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_children_end_with_a_killed_parent(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); time.sleep(60)"
    command = [sys.executable, "-I", "-S", tether.__file__, "PID", sys.executable, "-S", "-c", child]
    starter = (
        "import json, os, subprocess, sys\n"
        "command = json.loads(sys.argv[1])\n"
        "command[command.index('PID')] = str(os.getpid())\n"
        "subprocess.run(command)"
    )
    parent = subprocess.Popen([sys.executable, "-S", "-c", starter, json.dumps(command)])
    wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()))
    pid = int(pid_file.read_text())
    assert resident_bytes(parent.pid) > resident_bytes(pid) > 0

    parent.kill()
    parent.wait()

    wait_until(lambda: not is_alive(pid))


def test_a_tethered_command_does_not_start_below_another_parent() -> None:
    outcome = subprocess.run(
        [sys.executable, "-I", "-S", tether.__file__, "1", sys.executable, "-c", "print('started')"],
        capture_output=True,
        check=False,
    )

    assert outcome.stdout == b"" or sys.platform != "linux"


def test_what_a_killed_run_left_behind_is_ended_but_no_later_process_with_its_id(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    command = [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    with contextlib.ExitStack() as stack:
        left, other = (stack.enter_context(subprocess.Popen(command, start_new_session=True)) for _ in range(2))
        stack.callback(other.kill)
        state = UpState(1, None, "", "")
        state.processes["services"] = ProcessState(left.pid, identity(left.pid))
        state.processes["control"] = ProcessState(other.pid, "the one before")
        state.write(home)
        reaper = asyncio.get_event_loop_policy().new_event_loop()
        try:
            # A real leftover has no parent that waits for it; here the test must reap it.
            ended = reaper.run_in_executor(None, left.wait)
            assert end_leftovers(home) == [f"services (pid {left.pid})"]
            reaper.run_until_complete(ended)
        finally:
            reaper.close()
        assert left.returncode == -signal.SIGTERM
        assert other.poll() is None


def test_without_a_readable_state_there_is_nothing_to_end(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    assert end_leftovers(home) == []
    (home.run / "up.json").write_text("{")
    assert end_leftovers(home) == []


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_pauses_double_up_to_the_longest_and_a_long_life_clears_the_slate() -> None:
    backoff = Backoff(first_seconds=1, longest_seconds=5, calm_seconds=60, loop_after=3)

    assert [backoff.pause_seconds(0) for _ in range(4)] == [1, 2, 4, 5]
    assert backoff.looping
    assert backoff.pause_seconds(61) == 1
    assert not backoff.looping
