"""What a command works with: settings, home, who it talks to and how it answers."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from headwater.cli.supervisor.state import UpState
from headwater.cli.tables import open_console
from headwater.core.home import Home
from headwater.core.setting_sections import TargetSettings
from headwater.core.settings import Settings, load_settings


@dataclass(frozen=True, slots=True)
class Session:
    """One run of one command."""

    settings: Settings
    home: Home
    json: bool

    @property
    def running(self) -> UpState | None:
        """Return the state of the `headwater up` that runs this home now, if one does."""
        state = UpState.read(self.home)
        return state if state is not None and state.is_current else None

    @property
    def services_url(self) -> str:
        """Return where services are: ``HEADWATER_URL``, else where `up` runs them, else what the settings say."""
        running = self.running
        return os.environ.get("HEADWATER_URL") or (running.services_url if running else self.settings.services_url)

    @property
    def control_url(self) -> str:
        """Return where control is: where `up` runs it, else what the settings say."""
        running = self.running
        return running.control_url if running else self.settings.control_url

    def find_api_key(self) -> str | None:
        """Return the key to use: ``HEADWATER_API_KEY``, else the one that the first start left in the home."""
        key = os.environ.get("HEADWATER_API_KEY")
        if key:
            return key.strip()
        try:
            return self.home.demo_key.read_text(encoding="ascii").strip() or None
        except FileNotFoundError:
            return None

    def answer(self, document: Any, render: Callable[[Console], None]) -> None:
        """Write the result: as JSON for machines, else as ``render`` draws it."""
        if self.json:
            sys.stdout.write(json.dumps(document, default=str) + "\n")
        else:
            render(open_console())


def open_session(home: Path | None, project: Path | None, *, json: bool, **flags: Any) -> Session:
    """Read the settings; ``flags`` are dotted names with ``__`` for the dot, None where absent.

    Raises:
        HeadwaterError: ``setting_invalid``.
    """
    given = {name.replace("__", "."): value for name, value in flags.items()}
    settings = load_settings({"home": home, "project": project, **given})
    session = Session(settings, Home(settings.home), json)
    running = session.running if settings.target == TargetSettings() else None
    if running is None or not running.target:
        return session
    # Nobody said which project is meant: the one that `up` runs here.
    return replace(session, settings=settings.model_copy(update={"target": TargetSettings(**running.target)}))
