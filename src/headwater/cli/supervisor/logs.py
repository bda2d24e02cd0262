"""One log for all processes: each line under its process's name, in its colour, and in ``logs/up.log`` as well.

Or as JSON, one object a line, whoever wrote it: some of what a process writes comes from libraries that know no other
form than their own.
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final, TextIO

_COLOURS: Final = {
    "headwater": "1;37",
    "control": "35",
    "services": "36",
    "sealer": "32",
    "worker": "33",
    "valkey": "34",
    "setup": "1;35",
    "start": "1;33",
}
_WIDTH: Final = max(map(len, _COLOURS))
_LOG_BYTES: Final = 10 << 20


class LogStream:
    """Writes lines; a reader that went away (a closed pipe) never stops the system."""

    def __init__(self, output: TextIO, path: Path | None = None, *, as_json: bool = False) -> None:
        """Write to ``output``, in colour when it is a terminal that has them, and without colour to ``path``."""
        self._output = output
        if isinstance(output, io.TextIOWrapper):
            # A line with letters that the terminal does not have is better than none.
            output.reconfigure(errors="backslashreplace")
        self._json = as_json
        plain = as_json or "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
        self.colour = output.isatty() and not plain
        self._file: logging.Logger | None = None
        if path is not None:
            handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=2, encoding="utf-8", errors="replace")
            handler.setFormatter(logging.Formatter("%(message)s"))
            self._handler = handler
            self._file = logging.Logger("headwater.up")  # noqa: LOG001 - not one of the process's loggers
            self._file.addHandler(handler)

    def line(self, name: str, text: str, *, is_shown: bool = True) -> None:
        """Write one line of a process, to the file alone unless ``is_shown``."""
        if self._json:
            self._object(_parse(name, text), to_file=True, is_shown=is_shown)
            return
        label = f"{name:<{_WIDTH}} │"
        if self._file is not None:
            self._file.info("%s %s", label, text)
        if not is_shown:
            return
        if self.colour:
            label = f"\x1b[{_COLOURS.get(name, '37')}m{label}\x1b[0m"
        self._write(f"{label} {text}\n")

    def say(self, text: str) -> None:
        """Write a line of the supervisor itself."""
        self.line("headwater", text)

    def show(self, text: str, facts: Mapping[str, Any]) -> None:
        """Write text, or the same as facts, to the terminal alone: for instance a password that no file may hold."""
        if self._json:
            self._object(_event("headwater", "up.shown") | dict(facts), to_file=False)
        else:
            self._write(text + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._handler.close()

    def _object(self, event: Mapping[str, Any], *, to_file: bool, is_shown: bool = True) -> None:
        text = json.dumps(event, ensure_ascii=False)
        if to_file and self._file is not None:
            self._file.info("%s", text)
        if is_shown:
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._output.write(text)
            self._output.flush()


def _parse(name: str, text: str) -> dict[str, Any]:
    """Return the object that a line is, or else one that holds the line."""
    try:
        event = json.loads(text)
    except ValueError:
        event = None
    return {"process": name} | event if isinstance(event, dict) else _event(name, text)


def _event(name: str, text: str) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"event": text, "level": "info", "timestamp": at, "process": name}
