"""How long a model takes: a straight line through the runs it made, the latest counting most."""

from __future__ import annotations

from typing import Final

_KEEP: Final = 0.98  # what a run still counts after the next one
_TRUSTED_RUNS: Final = 16
_MOST: Final = 4
_SLACK_SECONDS: Final = 0.000_05
_LEAST_SPREAD: Final = 0.5  # rows; runs of one size say nothing about others


class Pace:
    """Seconds of a run as ``fixed + per_row * rows``, fitted to the runs so far."""

    __slots__ = ("_rows", "_rows_rows", "_rows_seconds", "_seconds", "_weight", "fixed", "per_row", "runs")

    def __init__(self) -> None:
        """Know nothing: every run takes no time."""
        self.runs = 0
        self.fixed = 0.0
        self.per_row = 0.0
        self._weight = self._rows = self._rows_rows = self._seconds = self._rows_seconds = 0.0

    def observe(self, rows: int, seconds: float) -> None:
        """Take a run into account."""
        if self.runs > _TRUSTED_RUNS:
            # A process that had to wait for its core says nothing about the model.
            seconds = min(seconds, _MOST * (self.fixed + self.per_row * rows) + _SLACK_SECONDS)
        self.runs += 1
        self._weight = weight = self._weight * _KEEP + 1
        self._rows = total = self._rows * _KEEP + rows
        self._rows_rows = squares = self._rows_rows * _KEEP + rows * rows
        self._seconds = time = self._seconds * _KEEP + seconds
        self._rows_seconds = products = self._rows_seconds * _KEEP + rows * seconds
        spread = weight * squares - total * total
        slope = (weight * products - total * time) / spread if spread > _LEAST_SPREAD * weight * weight else 0.0
        # Runs of one size: all of it counts as fixed. Noise can tilt the line either way beyond what is possible.
        self.per_row = min(max(slope, 0.0), time / total)
        self.fixed = max((time - self.per_row * total) / weight, 0.0)

    def seconds(self, rows: int, max_batch_rows: int) -> float:
        """Return how long ``rows`` take in runs of at most ``max_batch_rows``."""
        return -(-rows // max_batch_rows) * self.fixed + rows * self.per_row
