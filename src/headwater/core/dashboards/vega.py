"""The part of Vega-Lite that a tile may hold: one view or layers of it, over the rows of its endpoint alone.

What is not listed is refused. So nothing loads data or pictures, links anywhere or runs an expression (SQL does the
sums), and nothing makes a browser or the renderer draw without end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_BYTES: Final = 32_000
MAX_DEPTH: Final = 14
MAX_LAYERS: Final = 8
MAX_TRANSFORMS: Final = 20
MOST_STEPS: Final = 200
MARKS: Final = frozenset(
    {
        "arc", "area", "bar", "boxplot", "circle", "errorband", "errorbar", "line", "point", "rect", "rule", "square",
        "text", "tick", "trail",
    }
)  # fmt: skip
CHANNELS: Final = frozenset(
    {
        "x", "y", "x2", "y2", "xOffset", "yOffset", "xError", "xError2", "yError", "yError2", "theta", "theta2",
        "radius", "radius2", "color", "fill", "stroke", "opacity", "fillOpacity", "strokeOpacity", "shape", "size",
        "strokeDash", "strokeWidth", "angle", "text", "tooltip", "detail", "order",
    }
)  # fmt: skip
_VIEW: Final = frozenset({"$schema", "title", "description", "mark", "encoding", "transform", "layer", "resolve"})
_TRANSFORMS: Final = frozenset(
    {"aggregate", "bin", "filter", "fold", "joinaggregate", "pivot", "stack", "timeUnit", "window"}
)
_TRANSFORM_MEMBERS: Final = frozenset({"groupby", "field", "as", "op", "value", "sort", "frame", "offset", "limit"})
_WORDS: Final = frozenset(
    {
        # of channels
        "field", "type", "aggregate", "bin", "timeUnit", "title", "axis", "legend", "scale", "sort", "stack", "impute",
        "value", "datum", "band", "bandPosition", "format", "condition", "test", "op", "order", "encoding",
        # of conditions and filters
        "and", "or", "not", "equal", "lt", "lte", "gt", "gte", "range", "oneOf", "valid", "empty",
        # of scales, axes and legends
        "domain", "domainMin", "domainMax", "domainMid", "rangeMin", "rangeMax", "scheme", "name", "extent", "count",
        "reverse", "zero", "nice", "padding", "paddingInner", "paddingOuter", "clamp", "exponent", "base", "constant",
        "round", "interpolate", "grid", "ticks", "tickCount", "labels", "labelAngle", "labelLimit", "labelOverlap",
        "labelPadding", "labelFlush", "labelBound", "labelAlign", "labelBaseline", "orient", "domainOpacity", "offset",
        "titleAnchor", "titlePadding", "titleLimit", "columns", "direction", "symbolType", "values", "minExtent",
        "maxExtent", "gradientLength", "symbolSize",
        # of marks
        "color", "fill", "filled", "stroke", "opacity", "fillOpacity", "strokeOpacity", "strokeWidth", "strokeDash",
        "strokeCap", "strokeJoin", "cornerRadius", "cornerRadiusEnd", "cornerRadiusTopLeft", "cornerRadiusTopRight",
        "tension", "line", "point", "size", "shape", "tooltip", "content", "align", "baseline", "dx",
        "dy", "angle", "fontSize", "fontWeight", "fontStyle", "limit", "width", "height", "thickness", "innerRadius",
        "outerRadius", "padAngle", "radius", "radius2", "theta", "theta2", "radiusOffset", "clip", "x", "y", "x2", "y2",
        "xOffset", "yOffset", "x2Offset", "y2Offset", "binSpacing", "borders", "box", "median", "outliers", "rule",
        "invalid", "aria", "description", "binned", "maxbins", "step", "unit", "utc", "gradient", "stops",
        "x1", "y1", "keyvals", "method", "frame", "as", "interval",
    }
)  # fmt: skip
_BOUNDED: Final = frozenset({"maxbins", "tickCount", "nice", "count", "columns"})
_HUGE: Final = 1e15

_CURES: Final[Mapping[str, str]] = {
    "data": "a tile shows the answer of its endpoint; name that in `endpoint`",
    "datasets": "a tile shows the answer of its endpoint; name that in `endpoint`",
    "href": "charts link nowhere",
    "url": "charts load nothing",
    "expr": "expressions are left to the endpoint's SQL",
    "labelExpr": "expressions are left to the endpoint's SQL",
    "calculate": "expressions are left to the endpoint's SQL",
    "params": "signals are not allowed; use the dashboard's filters",
    "signal": "signals are not allowed; use the dashboard's filters",
    "lookup": "join in the endpoint's SQL",
    "config": "colours and type come from the theme",
    "width": "the size of the chart is the tile's",
    "height": "the size of the chart is the tile's",
    "facet": "a tile is one view; use a tile for each, or layers",
    "repeat": "a tile is one view; use a tile for each, or layers",
    "hconcat": "a tile is one view; use a tile for each, or layers",
    "vconcat": "a tile is one view; use a tile for each, or layers",
    "concat": "a tile is one view; use a tile for each, or layers",
    "row": "a tile is one view; use a tile for each, or layers",
    "column": "a tile is one view; use a tile for each, or layers",
}


class Refused(ValueError):
    """Something of a view is not allowed; says where and why."""

    def __init__(self, path: str, why: str) -> None:
        """Keep both."""
        super().__init__(f"{path or 'the view'}: {why}")
        self.path = path
        self.why = why


def check_view(view: Mapping[str, Any]) -> None:
    """Raise ``Refused`` (a ``ValueError``) unless ``view`` is of the allowed part of Vega-Lite."""
    _check_depth(view, 0)
    try:
        size = len(json.dumps(view, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise Refused("", f"it is no JSON: {error}") from error
    if size > MAX_BYTES:
        raise Refused("", f"it has {size:,} characters; {MAX_BYTES:,} are the most")
    _check_unit(view, "", layers_left=MAX_LAYERS, depth=0)


def _check_depth(value: Any, depth: int) -> None:
    # First of all: what is nested without end could not even be measured.
    if depth > MAX_DEPTH:
        raise Refused("", f"it is nested deeper than {MAX_DEPTH} levels")
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    for child in children:
        _check_depth(child, depth + 1)


def _check_unit(view: Any, path: str, *, layers_left: int, depth: int) -> None:
    if not isinstance(view, Mapping):
        raise Refused(path, "write a mapping with `mark` and `encoding`")
    for name in view:
        if name not in _VIEW:
            raise _unknown(path, name)
    if ("layer" in view) == ("mark" in view):
        raise Refused(path, "a view has either a `mark` or a `layer` of views")
    for name, check in _MEMBERS.items():
        if name in view:
            check(view[name], _join(path, name))
    if "layer" in view:
        _check_layers(view["layer"], _join(path, "layer"), layers_left=layers_left, depth=depth)


def _check_layers(layers: Any, path: str, *, layers_left: int, depth: int) -> None:
    if not isinstance(layers, list | tuple) or not layers:
        raise Refused(path, "write a list of views")
    if len(layers) > layers_left or depth > 1:
        raise Refused(path, f"{MAX_LAYERS} layers, in two levels, are the most")
    for at, layer in enumerate(layers):
        _check_unit(layer, f"{path}[{at}]", layers_left=layers_left, depth=depth + 1)


def _check_mark(mark: Any, path: str) -> None:
    kind = mark.get("type") if isinstance(mark, Mapping) else mark
    if not isinstance(kind, str) or kind not in MARKS:
        raise Refused(path, f"{str(kind)[:40]!r} is no mark a tile may have; one of: {', '.join(sorted(MARKS))}")
    if isinstance(mark, Mapping):
        _check_words({name: value for name, value in mark.items() if name != "type"}, path)


def _check_encoding(encoding: Any, path: str) -> None:
    if not isinstance(encoding, Mapping):
        raise Refused(path, "write a mapping of channels")
    for channel, definition in encoding.items():
        place = _join(path, channel)
        if channel not in CHANNELS:
            raise _unknown(path, channel, kind="channel")
        if definition is not None:
            _check_words(definition, place)


def _check_transforms(transforms: Any, path: str) -> None:
    if not isinstance(transforms, list | tuple) or len(transforms) > MAX_TRANSFORMS:
        raise Refused(path, f"write a list of at most {MAX_TRANSFORMS} transforms")
    for at, transform in enumerate(transforms):
        place = f"{path}[{at}]"
        if not isinstance(transform, Mapping):
            raise Refused(place, "write a mapping")
        found = _TRANSFORMS & set(transform)
        strange = sorted(set(transform) - _TRANSFORMS - _TRANSFORM_MEMBERS)
        if strange or not found:
            raise _unknown(place, strange[0] if strange else "", kind="transform")
        for name, value in transform.items():
            if name == "filter" and not isinstance(value, Mapping):
                raise Refused(_join(place, name), _CURES["expr"])
            _check_words(value, _join(place, name))


def _check_words(value: Any, path: str) -> None:
    """Let known members with plain values pass, however they are nested."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            if name not in _WORDS:
                raise _unknown(path, name)
            _check_word(name, item, _join(path, name))
            _check_words(item, _join(path, name))
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            _check_words(item, f"{path}[{at}]")
    elif isinstance(value, float | int) and abs(value) > _HUGE:
        raise Refused(path, f"{value:g} is out of all proportion")
    elif value is not None and not isinstance(value, str | float | int):
        raise Refused(path, f"{type(value).__name__} is no plain value")


def _check_word(name: str, item: Any, path: str) -> None:
    """Refuse what runs, or never ends, under a name that is harmless otherwise."""
    if name == "test" and not isinstance(item, Mapping):
        raise Refused(path, _CURES["expr"])
    if name in _BOUNDED:
        _check_count(item, path)
    if name == "step":
        raise Refused(path, "steps may be without end; use `maxbins`")
    if name == "keyvals" and not isinstance(item, list | tuple):
        raise Refused(path, "a sequence may be without end; list the values")


def _check_count(value: Any, path: str) -> None:
    if isinstance(value, float | int) and not isinstance(value, bool) and not 0 <= value <= MOST_STEPS:
        raise Refused(path, f"{value:g} is too many; {MOST_STEPS} are the most")


def _check_text(value: Any, path: str) -> None:
    texts = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise Refused(path, "write text")


def _join(path: str, name: Any) -> str:
    shown = str(name)[:60]
    return f"{path}.{shown}" if path else shown


def _unknown(path: str, name: Any, *, kind: str = "member") -> Refused:
    cure = _CURES.get(str(name), "it is not of the part of Vega-Lite that tiles may hold")
    return Refused(_join(path, name) if name else path, f"this {kind} is not allowed: {cure}")


def _check_resolve(value: Any, path: str) -> None:
    if not isinstance(value, Mapping) or set(value) - {"scale", "axis", "legend"}:
        raise Refused(path, "write a mapping of `scale`, `axis` and `legend`")
    for name, channels in value.items():
        if not isinstance(channels, Mapping) or not set(channels) <= CHANNELS:
            raise Refused(_join(path, name), "write a mapping of channels to `shared` or `independent`")
        if not set(map(str, channels.values())) <= {"shared", "independent"}:
            raise Refused(_join(path, name), "say `shared` or `independent`")


_MEMBERS: Final[Mapping[str, Callable[[Any, str], None]]] = {
    "mark": _check_mark,
    "encoding": _check_encoding,
    "transform": _check_transforms,
    "resolve": _check_resolve,
    "title": _check_text,
    "description": _check_text,
    "$schema": _check_text,
}
