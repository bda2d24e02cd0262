"""A progress bar that also reads well in a log, where `headwater up` shows it: one line each tenth of the way."""

from __future__ import annotations

WIDTH = 30
STEPS = 10


class ProgressBar:
    """Shows how much of ``total`` is done."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = max(total, 1)
        self._shown = 0

    def update(self, done: int) -> None:
        """Draw a line when another tenth is done."""
        step = min(done * STEPS // self._total, STEPS)
        if step > self._shown:
            self._shown = step
            bar = ("━" * (step * WIDTH // STEPS)).ljust(WIDTH, "╌")
            print(f"{self._label:>10} {bar} {step * 100 // STEPS:>3}%  {done:,} of {self._total:,}", flush=True)
