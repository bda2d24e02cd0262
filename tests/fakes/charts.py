"""A renderer without a JavaScript engine: what it draws holds as many letters as the specification."""

from __future__ import annotations

import json
from typing import Any

from headwater.engines.charts.renderer import ChartFailed


class StandIn:
    """Draws without a JavaScript engine: the specification's data and texts as SVG text."""

    def __init__(self) -> None:
        self.problem = ""

    def draw(self, specs: list[Any]) -> list[str | ChartFailed]:
        if self.problem:
            return [ChartFailed(self.problem) for _ in specs]
        head = '<svg xmlns="http://www.w3.org/2000/svg" width="460" height="190">'
        return [f'{head}<rect fill="#0b6e8f"/><text>{len(json.dumps(spec))}</text></svg>' for spec in specs]

    def rasterize(self, svg: str, *, scale: float) -> bytes:
        if self.problem:
            raise ChartFailed(self.problem)
        assert scale > 1
        return b"\x89PNG" + svg.encode()
