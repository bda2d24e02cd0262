"""One log for all processes: each line under its process's name, in its colour, and in ``logs/up.log`` as well."""

from __future__ import annotations

import logging
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final, TextIO

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

    def __init__(self, output: TextIO, path: Path | None = None) -> None:
        """Write to ``output``, in colour when it is a terminal, and without colour to ``path``."""
        self._output = output
        self.colour = output.isatty()
        self._file: logging.Logger | None = None
        if path is not None:
            handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=2, encoding="utf-8", errors="replace")
            handler.setFormatter(logging.Formatter("%(message)s"))
            self._handler = handler
            self._file = logging.Logger("headwater.up")  # noqa: LOG001 - not one of the process's loggers
            self._file.addHandler(handler)

    def line(self, name: str, text: str) -> None:
        """Write one line of a process."""
        label = f"{name:<{_WIDTH}} │"
        if self._file is not None:
            self._file.info("%s %s", label, text)
        if self.colour:
            label = f"\x1b[{_COLOURS.get(name, '37')}m{label}\x1b[0m"
        self._write(f"{label} {text}\n")

    def say(self, text: str) -> None:
        """Write a line of the supervisor itself."""
        self.line("headwater", text)

    def show(self, text: str) -> None:
        """Write text to the terminal alone, for instance a password that no file may hold."""
        self._write(text + "\n")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._handler.close()

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._output.write(text)
            self._output.flush()
