"""The colours of charts outside of a page: the same as the console's style sheets have, for images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

FONT: Final = "Inter, Roboto, 'DejaVu Sans', sans-serif"


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by what they are for; ``categories`` tell apart, ``heat`` goes from little to much."""

    ground: str
    surface: str
    line: str
    line_strong: str
    text: str
    muted: str
    good: str
    bad: str
    categories: tuple[str, ...]
    heat: tuple[str, str, str]

    def chart_config(self) -> dict[str, Any]:
        """Return Vega-Lite's configuration."""
        quiet = {"labelColor": self.muted, "titleColor": self.muted, "titleFontWeight": 400, "labelFontSize": 11}
        return {
            "background": "transparent",
            "font": FONT,
            "view": {"stroke": "transparent"},
            "padding": 2,
            "range": {"category": self.categories, "heatmap": self.heat, "ramp": self.heat, "ordinal": self.heat},
            "mark": {"color": self.categories[0]},
            "text": {"color": self.text},
            "rule": {"color": self.muted},
            "axis": {
                **quiet, "titleFontSize": 11, "titlePadding": 8, "gridColor": self.line,
                "domainColor": self.line_strong, "tickColor": self.line_strong, "tickSize": 4, "labelPadding": 4,
            },
            "axisY": {"domain": False, "ticks": False},
            "axisBand": {"grid": False},
            "legend": {**quiet, "titleFontSize": 11, "symbolSize": 80, "offset": 8},
            "title": {"color": self.text, "fontSize": 13, "fontWeight": 600, "anchor": "start"},
        }  # fmt: skip


THEMES: Final[Mapping[str, Theme]] = MappingProxyType(
    {
        "light": Theme(
            ground="#fafbfc", surface="#ffffff", line="#e3e7eb", line_strong="#c9d0d7", text="#17212b",
            muted="#5a6773", good="#14713f", bad="#b3261e",
            categories=("#0072b2", "#d55e00", "#00805a", "#b0508a", "#7c3a1d", "#6b4fa0", "#4a5a68", "#a87400"),
            heat=("#e3f1f6", "#42a5c5", "#0a3d52"),
        ),
        "dark": Theme(
            ground="#0d1217", surface="#12181f", line="#232d37", line_strong="#384653", text="#e3e9ee",
            muted="#95a3b0", good="#5fce92", bad="#f38b83",
            categories=("#56b4e9", "#f08a4b", "#2ec99a", "#e79ac4", "#d8a38c", "#b59bea", "#a9b6c2", "#f0c24b"),
            heat=("#14303b", "#2f93b4", "#d9f2fa"),
        ),
    }
)  # fmt: skip
