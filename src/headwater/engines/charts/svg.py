"""SVG that may stand inside a page: parts that are known to be harmless, colours that follow the page's theme."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from headwater.engines.charts.renderer import ChartFailed

_NAMESPACE: Final = "{http://www.w3.org/2000/svg}"
_ELEMENTS: Final = frozenset(
    {"svg", "g", "path", "rect", "line", "circle", "text", "tspan", "defs", "clipPath", "linearGradient", "stop"}
)
_ATTRIBUTES: Final = frozenset(
    {
        "x", "y", "x1", "x2", "y1", "y2", "dx", "dy", "cx", "cy", "r", "d", "width", "height", "viewBox", "transform",
        "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-miterlimit",
        "stroke-linecap", "stroke-linejoin", "opacity", "font-family", "font-size", "font-weight", "font-style",
        "text-anchor", "display", "id", "clip-path", "offset", "stop-color",
    }
)  # fmt: skip
_LINK: Final = re.compile(r"url\(#([\w-]+)\)")


@dataclass(frozen=True, slots=True)
class Embedded:
    """An element that may stand in HTML or in another drawing, and how large it is there."""

    markup: str
    width: float
    height: float


def embed(
    svg: str,
    *,
    label: str,
    name: str,
    colours: Mapping[str, str] | None = None,
    place: tuple[float, float, float] | None = None,
) -> Embedded:
    """Return an SVG document as an element: scripts, links, styles and everything unknown are left out.

    Args:
        svg: as the renderer made it.
        label: what it shows, for those who cannot see it.
        name: unique where it will stand; what the drawing names inside of itself is prefixed with it.
        colours: by colour of the drawing (lower case), the custom property of the page's style that takes its place.
        place: left, top and width inside of another drawing.

    Raises:
        ChartFailed: it is no SVG.
    """
    root = _parsed(svg)
    _clean(root, name, colours or {})
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    if not width > 0 or not height > 0:
        raise ChartFailed("the image has no size")
    # Written as plain attributes: elements of HTML have no namespaces of their own.
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "aria-label": label}
    if place is not None:
        left, top, wanted = place
        width, height = wanted, height * wanted / width
        root.attrib |= {"x": f"{left:g}", "y": f"{top:g}", "width": f"{width:g}", "height": f"{height:g}"}
    return Embedded(ET.tostring(root, encoding="unicode"), width, height)


def _parsed(svg: str) -> ET.Element:
    if "<!" in svg:
        raise ChartFailed("the image declares entities")
    try:
        root = ET.fromstring(svg)  # noqa: S314 - no entities: see above
    except ET.ParseError as error:
        raise ChartFailed(f"the image is no SVG: {error}") from error
    if root.tag != f"{_NAMESPACE}svg":
        raise ChartFailed("the image is no SVG")
    return root


def _clean(element: ET.Element, name: str, colours: Mapping[str, str]) -> None:
    element.tag = element.tag.removeprefix(_NAMESPACE)
    for key, value in list(element.attrib.items()):
        cleaned = _attribute(key, value, name, colours) if key in _ATTRIBUTES else None
        if cleaned is None:
            del element.attrib[key]
        else:
            element.attrib[key] = cleaned
    for child in list(element):
        if child.tag.removeprefix(_NAMESPACE) in _ELEMENTS:
            _clean(child, name, colours)
        else:
            element.remove(child)


def _attribute(key: str, value: str, name: str, colours: Mapping[str, str]) -> str | None:
    if key == "id":
        return f"{name}-{value}"
    if "url(" in value:
        linked = _LINK.fullmatch(value)
        return f"url(#{name}-{linked[1]})" if linked else None
    if key in ("fill", "stroke", "stop-color"):
        colour = colours.get(value.lower())
        return f"var({colour}, {value})" if colour else value
    return value
