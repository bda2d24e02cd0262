"""All children of one home together: their state on disk, their readiness, their stop in order."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Final

from headwater.cli.supervisor.child import Child, ChildSpec
from headwater.cli.supervisor.keeper import Backoff, Keeper
from headwater.cli.supervisor.logs import LogStream
from headwater.cli.supervisor.processes import resident_bytes
from headwater.cli.supervisor.state import ProcessState, UpState
from headwater.core.home import Home

#: Services first, so that what is in flight finishes; then the sealer's last pass; the servers they need last.
STOP_ORDER: Final = ("services", "sealer", "worker", "control", "valkey")


class Supervisor:
    """Runs children until told to stop."""

    def __init__(
        self, home: Home, state: UpState, stream: LogStream, *, backoff: Callable[[], Backoff] = Backoff
    ) -> None:
        """Prepare; nothing runs yet."""
        self.hurry = asyncio.Event()
        self.state = state
        self._home = home
        self._stream = stream
        self._backoff = backoff
        self._keepers: dict[str, Keeper] = {}
        self._passing: set[Child] = set()

    def keep(self, spec: ChildSpec) -> Keeper:
        """Start a child and keep it running."""
        keeper = Keeper(spec, self._stream, changed=self._write, backoff=self._backoff())
        self._keepers[spec.name] = keeper
        keeper.start()
        return keeper

    async def run_once(self, spec: ChildSpec) -> Child:
        """Run a child to its end and return it, for its exit code, its last lines and its answer."""
        child = await Child.start(spec, self._stream)
        self._passing.add(child)
        try:
            await child.wait()
        finally:
            if child.returncode is None:
                await child.stop(self.hurry)
            self._passing.discard(child)
        return child

    async def wait_ready(self) -> None:
        """Wait until every child is ready."""
        for keeper in self._keepers.values():
            await keeper.ready.wait()
        self.state.ready = True
        self._write()

    def missing(self) -> list[str]:
        """Return what is not ready, each with what it waits for."""
        return [f"{name} ({keeper.waiting_for})" for name, keeper in self._keepers.items() if not keeper.ready.is_set()]

    def memory(self) -> dict[str, int]:
        """Return the resident bytes of each process with everything below it, the supervisor's own last."""
        found = {
            name: resident_bytes(keeper.child.pid) for name, keeper in self._keepers.items() if keeper.child is not None
        }
        return {**found, "headwater": resident_bytes(os.getpid()) - sum(found.values())}

    async def stop(self) -> None:
        """Stop everything in order, or all at once when ``hurry`` is set."""
        self.state.ready = False
        await asyncio.gather(*(child.stop(self.hurry) for child in self._passing))
        names = [*STOP_ORDER, *(name for name in self._keepers if name not in STOP_ORDER)]
        orderly = asyncio.create_task(self._stop_in_turn([name for name in names if name in self._keepers]))
        hurried = asyncio.create_task(self.hurry.wait())
        await asyncio.wait({orderly, hurried}, return_when=asyncio.FIRST_COMPLETED)
        if not orderly.done():
            await asyncio.gather(*(keeper.stop(self.hurry) for keeper in self._keepers.values()))
        hurried.cancel()
        await orderly

    async def _stop_in_turn(self, names: Sequence[str]) -> None:
        for name in names:
            self._stream.say(f"stopping {name}")
            await self._keepers[name].stop(self.hurry)

    def _write(self) -> None:
        for name, keeper in self._keepers.items():
            if keeper.child is not None:
                child = keeper.child
                self.state.processes[name] = ProcessState(
                    child.pid, child.identity, restarts=keeper.restarts, ready=keeper.ready.is_set()
                )
        try:
            self.state.write(self._home)
        except OSError as error:
            self._stream.say(f"run/up.json cannot be written: {error}")
