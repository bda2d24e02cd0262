"""``headwater up`` from the first check to the last process's end."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

from headwater.cli.supervisor import ready
from headwater.cli.supervisor.banner import Banner
from headwater.cli.supervisor.child import ChildSpec
from headwater.cli.supervisor.logs import LogStream
from headwater.cli.supervisor.ports import claim_port
from headwater.cli.supervisor.processes import identity
from headwater.cli.supervisor.setup import SetUp, read_setup, setup_spec
from headwater.cli.supervisor.specs import process_specs
from headwater.cli.supervisor.state import UpState, end_leftovers, hold_home, state_file
from headwater.cli.supervisor.supervisor import Supervisor
from headwater.cli.valkey import valkey_spec
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.settings import Settings

#: After this long the addresses are shown although something is still missing.
_PATIENCE_SECONDS: Final = 60.0


def run(settings: Settings, output: TextIO) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP; returns after a clean stop.

    Raises:
        HeadwaterError: it cannot be started: the home, a port, the settings or the set-up; nothing is left running.
    """
    home = Home(settings.home)
    home.prepare()
    with hold_home(home):
        stream = LogStream(output, home.logs / "up.log", as_json=settings.log.format == "json")
        try:
            for ended in end_leftovers(home):
                stream.say(f"ended {ended}, which a killed run had left behind")
            asyncio.run(_Up(_claim_ports(settings), home, stream).run())
        finally:
            state_file(home).unlink(missing_ok=True)
            stream.close()


def _claim_ports(settings: Settings) -> Settings:
    """Return the settings with ports that can be had; a port of 0 becomes a free one."""
    control, services = settings.control, settings.services
    control_port = claim_port(control.host, control.port, flag="--control-port", variable="HEADWATER_CONTROL__PORT")
    services_port = claim_port(
        services.host, services.port, flag="--services-port", variable="HEADWATER_SERVICES__PORT"
    )
    if control_port == services_port:
        raise HeadwaterError(
            "port_taken",
            f"control and services cannot both listen on port {control_port}",
            hint="choose another with --control-port or --services-port",
        )
    return settings.model_copy(
        update={
            "control": control.model_copy(update={"port": control_port}),
            "services": services.model_copy(update={"port": services_port}),
        }
    )


class _Up:
    """One run."""

    def __init__(self, settings: Settings, home: Home, stream: LogStream) -> None:
        self._settings = settings
        self._home = home
        self._stream = stream
        self._began = time.monotonic()
        state = UpState(
            os.getpid(),
            identity(os.getpid()),
            settings.control_url,
            settings.services_url,
            target=settings.target.model_dump(),
        )
        self._supervisor = Supervisor(home, state, stream)
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Bring everything up, wait for a signal, stop everything."""
        with self._signals():
            work = asyncio.create_task(self._bring_up())
            asked = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
                if work.done() and work.exception() is None:
                    await asked
            finally:
                for task in (work, asked):
                    task.cancel()
                with suppress(asyncio.CancelledError, HeadwaterError):
                    await work
                await self._supervisor.stop()
                self._stream.say("stopped")
            if not work.cancelled():
                work.result()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._on_signal)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._stream.say("stopping at once")
            self._supervisor.hurry.set()
        else:
            self._stream.say("stopping (again to hurry)")
            self._stopping.set()

    async def _bring_up(self) -> None:
        """Start in order: Valkey first; services and sealer while the set-up runs; control and worker after it."""
        valkey = valkey_spec(self._settings, self._home)
        if valkey is not None:
            self._supervisor.keep(valkey)
        specs = process_specs(self._settings, self._home)
        self._supervisor.keep(specs["services"])
        self._supervisor.keep(specs["sealer"])
        setup = await self._set_up()
        if setup.password is not None:
            # At once: it is not to be had again, and who stops before everything is ready must have seen it.
            shown = {"login": setup.email, "password": setup.password}
            self._stream.show("\n".join(f"  {name:<9} {value}" for name, value in shown.items()), shown)
        self._supervisor.keep(specs["control"])
        self._supervisor.keep(specs["worker"])
        try:
            await asyncio.wait_for(self._supervisor.wait_ready(), _PATIENCE_SECONDS)
        except TimeoutError:
            banner = self._show(setup)
            await self._supervisor.wait_ready()
            self._stream.say("everything is ready now")
        else:
            banner = self._show(setup)
        if self._settings.up.after_start:
            await self._finish(banner)

    async def _set_up(self) -> SetUp:
        """Make what a first start needs and apply the project.

        When that fails but the services have a configuration from before, they go on with it.
        """
        child = await self._supervisor.run_once(setup_spec(self._settings))
        if child.returncode == 0:
            return read_setup(child.answer)
        told = [line.removeprefix("error: ") for line in child.last_lines if line.startswith("error: ")]
        reason = told[-1] if told else f"exit code {child.returncode}"
        if any(self._home.snapshots.iterdir()):
            self._stream.say("the set-up failed, see above; the services go on with the configuration they have")
            return SetUp(problem=reason)
        raise HeadwaterError("home_unusable", f"the set-up failed: {reason}", hint="see the lines above")

    def _show(self, setup: SetUp) -> Banner:
        banner = Banner(
            seconds=time.monotonic() - self._began,
            memory=self._supervisor.memory(),
            control_url=self._settings.control_url,
            services_url=self._settings.services_url,
            email=setup.email,
            password=setup.password,
            api_key=setup.api_key,
            key_file=self._home.demo_key,
            try_path=setup.try_path,
            missing=self._supervisor.missing(),
        )
        for line in banner.public_lines():
            self._stream.say(line)
        if setup.problem:
            self._stream.say(f"the project was not applied: {setup.problem}")
        if setup.strangers:
            self._stream.say(
                f"WARNING: this home holds data of {', '.join(setup.strangers)}, which the control database does not "
                "know: it was lost or replaced. Services go on with the configuration they kept. Stop, restore "
                f"{self._home.control_database.name} from a backup, and start again"
            )
        self._stream.show(banner.private_text(), banner.private_facts())
        return banner

    async def _finish(self, banner: Banner) -> None:
        """Run the project's own commands; on a first start their output pushes the login out of sight: say it again."""
        await self._after_start()
        self._stream.say("the project's commands have run; Ctrl-C stops everything")
        if banner.password is not None:
            self._stream.show(banner.private_text(), banner.private_facts())

    async def _after_start(self) -> None:
        """Run the project's own commands; a failure is told and stops nothing."""
        settings = self._settings
        environment = {
            **settings.to_environment(),
            "HEADWATER_URL": settings.services_url,
            "HEADWATER_CONTROL__URL": settings.control_url,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        }
        with suppress(OSError):
            environment["HEADWATER_API_KEY"] = self._home.demo_key.read_text(encoding="ascii").strip()
        for line in settings.up.after_start:
            self._stream.line("start", f"$ {line}")
            try:
                words = tuple(shlex.split(line))
                spec = ChildSpec("start", words, ready.always, environment=environment, directory=settings.project)
                code = (await self._supervisor.run_once(spec)).returncode
            except (OSError, ValueError) as error:
                self._stream.say(f"`{line}` cannot be run: {error}; everything else goes on")
            else:
                if code != 0:
                    self._stream.say(f"`{line}` failed with exit code {code}; everything else goes on")
