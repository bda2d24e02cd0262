"""Feature view files, ``features/<name>.yaml``.

.. code-block:: yaml

    description: What the last hours were like at an airport
    dataset: departures
    entities: [origin]
    event_time: departed_at        # by default the contract's own
    features:
      - {name: runway, column: runway}
      - {name: mean_delay_3h, aggregate: mean, column: delay, window: 3h, default: 0.0}
      - {name: departures_3h, aggregate: count, window: 3h}
      - {name: busy, type: boolean, expression: departures_3h > 30}
    inputs: [{name: planned, type: timestamp}]   # what requests bring for expressions
    freshness: 6h                  # older values are stale
    delay: 5m                      # rows count from this long after their event
    as_received: true              # history uses no row before it was received
    online: true

The name is ``name`` in the file, else the file's stem. A feature's type follows from its column where it is left out.
Reading has two steps: ``parse_view`` needs the text alone, ``ViewFile.resolve`` the dataset's contract too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headwater.contracts.model import Contract
from headwater.contracts.yamltree import Document, YamlFault, load
from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import FeatureInputSpec
from headwater.engines.features.columns import ENTITY_TYPES, Misfit, type_of_feature
from headwater.engines.features.computed import check_computed
from headwater.engines.features.windows import LONGEST_SECONDS, SHORTEST_SECONDS, parse_seconds

NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"
MAX_FEATURES: Final = 200
_Type = Literal["number", "integer", "string", "boolean"]
_EVENT_TYPES: Final = ("timestamp", "date")
_DURATION_HINT: Final = "write a number with s, m, h or d, such as 90s, 5m, 24h or 30d"


class _Feature(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=NAME)
    type: _Type | None = None
    column: str | None = None
    aggregate: Literal["count", "sum", "mean", "min", "max", "last", "distinct"] | None = None
    window: str | None = None
    expression: str | None = None
    default: bool | int | float | str | None = None
    description: str = Field("", max_length=10_000)


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=NAME)
    type: Literal["number", "integer", "string", "boolean", "timestamp"]


class _View(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str | None = Field(None, pattern=NAME)
    description: str = Field("", max_length=10_000)
    dataset: str = Field(pattern=NAME)
    entities: list[str] = Field(min_length=1, max_length=8)
    event_time: str | None = None
    features: list[_Feature] = Field(min_length=1, max_length=MAX_FEATURES)
    inputs: list[_Input] = Field([], max_length=MAX_FEATURES)
    freshness: str | None = None
    delay: str | None = None
    as_received: bool = False
    online: bool = True
    on_unavailable: Literal["error", "default"] = "error"


class Faults:
    """Everything found wrong with one file, each fault with its line."""

    def __init__(self, source: str, document: Document | None = None) -> None:
        """Collect faults of ``source``."""
        self._source = source
        self._document = document
        self._found: list[dict[str, Any]] = []

    def add(self, path: str, message: str, *, hint: str | None = None, line: int | None = None) -> None:
        """Note a fault at ``path``, such as ``features[2].column``."""
        if line is None and self._document is not None:
            line = self._document.line_of(path)
        fault = {"source": self._source, "path": path, "message": message, "line": line, "hint": hint}
        self._found.append({name: value for name, value in fault.items() if value is not None})

    def raise_if_any(self) -> None:
        """Raise ``project_invalid`` with all of them."""
        if not self._found:
            return
        first = self._found[0]
        where = "".join(
            (f", line {first['line']}" if "line" in first else "", f", {first['path']}" if first["path"] else "")
        )
        raise HeadwaterError(
            "project_invalid",
            f"{self._source}{where}: {first['message']}",
            hint=first.get("hint"),
            extra={"errors": self._found},
        )


@dataclass(frozen=True, slots=True)
class ViewFile:
    """A feature view as its file declares it, not yet held against its dataset."""

    name: str
    dataset: str
    source: str
    _view: _View
    _document: Document

    def resolve(self, contract: Contract) -> dict[str, Any]:
        """Return the members of ``FeatureViewSpec`` that the file decides: all but id and revision.

        Raises:
            HeadwaterError: ``project_invalid`` with every place where the file does not fit ``contract``.
        """
        view, faults = self._view, Faults(self.source, self._document)
        fields = {field.name: field for field in contract.fields}
        entity_types = [self._entity_type(index, contract, faults) for index in range(len(view.entities))]
        event_time = self._event_time(contract, faults)
        taken = {**dict.fromkeys(view.entities, "an entity"), **{item.name: "an input" for item in view.inputs}}
        features = []
        for index, feature in enumerate(view.features):
            path = f"features[{index}]"
            if feature.name in taken:
                faults.add(f"{path}.name", f"{feature.name!r} is {taken[feature.name]} already")
            taken[feature.name] = "a feature"
            try:
                features.append(_resolve_feature(feature, fields))
            except Misfit as misfit:
                faults.add(f"{path}.{misfit.member}" if misfit.member else path, misfit.message, hint=misfit.hint)
        spec: dict[str, Any] = {
            "name": self.name,
            "description": view.description.strip(),
            "dataset": view.dataset,
            "entities": list(view.entities),
            "entity_types": entity_types,
            "event_time": event_time,
            "features": features,
            "inputs": [FeatureInputSpec(name=item.name, type=item.type).model_dump() for item in view.inputs],
            "freshness_seconds": parse_seconds(view.freshness),
            "delay_seconds": parse_seconds(view.delay) or 0,
            "as_received": view.as_received,
            "online": view.online,
        }
        # A member that says nothing is left out, or what was published before would differ.
        if view.on_unavailable != "error":
            spec["on_unavailable"] = view.on_unavailable
        faults.raise_if_any()
        places = {feature.name: f"features[{index}].expression" for index, feature in enumerate(view.features)}
        for name, message, hint in check_computed(spec):
            faults.add(places[name], message, hint=hint)
        faults.raise_if_any()
        return spec

    def _entity_type(self, index: int, contract: Contract, faults: Faults) -> str:
        name = self._view.entities[index]
        field = next((field for field in contract.fields if field.name == name), None)
        path = f"entities[{index}]"
        if field is None:
            faults.add(path, f"{contract.name} has no field {name!r}", hint=_fields_hint(contract))
            return "string"
        if field.type.value not in ENTITY_TYPES:
            faults.add(path, f"a {field.type} cannot name an entity", hint=f"use one of: {', '.join(ENTITY_TYPES)}")
        return field.type.value

    def _event_time(self, contract: Contract, faults: Faults) -> str:
        name = self._view.event_time or contract.event_time
        if name is None:
            faults.add("event_time", f"{contract.name} declares no event time", hint="name a timestamp field here")
            return ""
        field = next((field for field in contract.fields if field.name == name), None)
        if field is None:
            faults.add("event_time", f"{contract.name} has no field {name!r}", hint=_fields_hint(contract))
        elif field.type.value not in _EVENT_TYPES:
            faults.add("event_time", f"{name!r} is a {field.type}, not a timestamp", hint="name a timestamp field")
        return name


def parse_view(text: str, *, source: str) -> ViewFile:
    """Read a feature view file.

    Args:
        text: the file's content.
        source: its path, for the default name and for errors.

    Raises:
        HeadwaterError: ``project_invalid``; ``errors`` lists every fault with path, line, message and cure.
    """
    try:
        document = load(text)
    except YamlFault as fault:
        faults = Faults(source)
        faults.add("", str(fault), line=fault.line)
        faults.raise_if_any()
        raise
    faults = Faults(source, document)
    if not isinstance(document.data, dict):
        faults.add("", "the file must be a mapping", hint="write lines such as 'dataset: …'")
        faults.raise_if_any()
    try:
        view = _View.model_validate(document.data)
    except ValidationError as error:
        _add_all(error, faults)
        faults.raise_if_any()
        raise
    name = view.name or PurePosixPath(source).stem
    if not re.fullmatch(NAME, name):
        faults.add("name", f"{name[:64]!r} is not a name", hint="use lower-case letters, digits and underscores")
    _check_durations(view, faults)
    for path, kind in _repeated(view):
        faults.add(path, f"the {kind} is named twice")
    faults.raise_if_any()
    return ViewFile(name, view.dataset, source, view, document)


def _check_durations(view: _View, faults: Faults) -> None:
    durations = [("freshness", view.freshness, 1), ("delay", view.delay, 0)]
    durations += [(f"features[{i}].window", item.window, SHORTEST_SECONDS) for i, item in enumerate(view.features)]
    for path, text, least in durations:
        seconds = parse_seconds(text)
        if text is not None and seconds is None:
            faults.add(path, f"{text[:40]!r} is no duration", hint=_DURATION_HINT)
        elif seconds is not None and not least <= seconds <= LONGEST_SECONDS:
            faults.add(path, f"{text} is out of range", hint=f"from {least}s to 365d")


def _repeated(view: _View) -> Iterator[tuple[str, str]]:
    named: Mapping[str, Sequence[str]] = {
        "entities": view.entities,
        "inputs": [item.name for item in view.inputs],
    }
    for member, names in named.items():
        for index, name in enumerate(names):
            if name in names[:index]:
                yield f"{member}[{index}]", {"entities": "entity", "inputs": "input"}[member]


def _add_all(error: ValidationError, faults: Faults) -> None:
    for item in error.errors():
        path = ""
        for part in item["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
        # A union's members are no part of the path in the file.
        path = re.sub(r"\.(bool|int|float|str)$", "", path)
        if item["type"] == "extra_forbidden":
            inside = path.rpartition(".")[0]
            known = _Feature if inside.startswith("features") else _Input if inside.startswith("inputs") else _View
            faults.add(path, "there is no such member", hint=f"one of: {', '.join(known.model_fields)}")
        else:
            given = "" if item["type"] == "missing" else f" (got {str(item['input'])[:80]!r})"
            faults.add(path, f"{item['msg'][0].lower()}{item['msg'][1:]}{given}")


def _resolve_feature(feature: _Feature, fields: Mapping[str, Any]) -> dict[str, Any]:
    kind, type_ = type_of_feature(feature, fields)
    return {
        "name": feature.name,
        "type": type_,
        "kind": kind,
        "column": feature.column,
        "aggregate": feature.aggregate,
        "window_seconds": parse_seconds(feature.window),
        "expression": feature.expression,
        "default": float(feature.default) if type_ == "number" and feature.default is not None else feature.default,
        "description": feature.description.strip(),
    }


def _fields_hint(contract: Contract) -> str:
    names = [field.name for field in contract.fields]
    return f"one of: {', '.join(names[:30])}"
