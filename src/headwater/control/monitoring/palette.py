"""The colours of charts: each as it is drawn, and the custom property that takes its place in a page with a theme."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

TEXT: Final = "#1e293b"
MUTED: Final = "#64748b"
GRID: Final = "#e2e8f0"
REFERENCE: Final = "#a3b1c2"
CURRENT: Final = "#0b6e8f"
SECOND: Final = "#d9770a"
BAD: Final = "#b91c1d"
CALM: Final = "#d5edf5"
MOVING: Final = "#f6c95b"
DRIFTED: Final = "#d1453b"
PROPERTIES: Final = MappingProxyType(
    {
        TEXT: "--hw-chart-text",
        MUTED: "--hw-chart-muted",
        GRID: "--hw-chart-grid",
        REFERENCE: "--hw-chart-reference",
        CURRENT: "--hw-chart-current",
        SECOND: "--hw-chart-second",
        BAD: "--hw-chart-bad",
        CALM: "--hw-chart-calm",
        MOVING: "--hw-chart-moving",
        DRIFTED: "--hw-chart-drifted",
    }
)
