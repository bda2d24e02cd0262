"""Reading a view for entities: their keys, and what a stored entry says at an instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import msgspec

from headwater.contracts.rows import FieldError
from headwater.core.expressions import Expression
from headwater.core.snapshot import FeatureViewSpec
from headwater.engines.features.entry import Entity, decode_entry
from headwater.engines.features.expressions import expression_features, read_instant, request_inputs
from headwater.engines.features.layout import Layout, layout_of
from headwater.engines.features.windows import SECOND, format_seconds
from headwater.engines.online.protocol import HEAD_BYTES, read_head

PRESENT: Final = "present"
DEFAULT: Final = "default"
MISSING: Final = "missing"
STALE: Final = "stale"
_SHOWN: Final = 64
_TOTAL: Final = frozenset({"count", "distinct"})  # of nothing they are 0, where the view has no limit of age

_encode: Final = msgspec.msgpack.Encoder().encode


@dataclass(slots=True)
class Reading:
    """A view's features of one entity: values by ``ViewReader.names``; ``statuses`` is None when all are present.

    ``event_us`` is the event time of the newest row that counts, in microseconds.
    """

    values: Sequence[Any]
    event_us: int | None
    statuses: Sequence[str] | None = None


def _is_date(value: Any) -> bool:
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


_FITS: Final[dict[str, Callable[[Any], bool]]] = {
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 63,
    "boolean": lambda value: isinstance(value, bool),
    "date": _is_date,
}


class ViewReader:
    """A view compiled for reading. ``names`` are all its features: the stored ones, then the expressions."""

    def __init__(self, view: FeatureViewSpec) -> None:
        """Compile; raises ``project_invalid`` when an expression of the view does not."""
        self.view = view
        self.layout: Layout = layout_of(view)
        self._expressions: Sequence[tuple[str, Expression]] = expression_features(view)
        self.names = (*self.layout.names, *(name for name, _expression in self._expressions))
        self._defaults = {feature.name: feature.default for feature in view.features}
        self._fallbacks = [self._defaults[name] for name in self.layout.names]
        self._freshness_us = None if view.freshness_seconds is None else view.freshness_seconds * SECOND
        self._key_fields = tuple(zip(view.entities, self._key_types(), strict=True))
        self._inputs = request_inputs(view)
        self._instants = [item.name for item in view.inputs if item.type == "timestamp"]
        self._nothing = self._values_of_nothing()
        is_text = [logical not in _FITS for _name, logical in self._key_fields] == [True]
        self._only_text_key = self._key_fields[0][0] if is_text and not view.inputs else None

    def keys(
        self, space: bytes, entities: Sequence[Mapping[str, Any]], errors: dict[int, list[FieldError]]
    ) -> list[bytes | None]:
        """Return the keys of entities; None for one without a valid key or inputs, its faults in ``errors``."""
        keys: list[bytes | None] = []
        name = self._only_text_key
        for row, entity in enumerate(entities):
            value = entity.get(name) if name is not None else None
            if type(value) is str:  # by far the most: an entity of one text, without inputs
                keys.append(space + _encode([value]))
                continue
            key = self.key(space, entity)
            wrong = key if isinstance(key, list) else self.check_inputs(entity)
            if wrong:
                known = errors.setdefault(row, [])
                known.extend(error for error in wrong if error not in known)
                keys.append(None)
            else:
                keys.append(key)  # type: ignore[arg-type] # it is no list
        return keys

    def key(self, space: bytes, entity: Mapping[str, Any]) -> bytes | list[FieldError]:
        """Return the key of an entity, or what is wrong with it."""
        values: list[Any] = []
        errors: list[FieldError] = []
        for name, logical in self._key_fields:
            value = entity.get(name)
            if value is None:
                errors.append(
                    FieldError("key_missing", _pointer(name), f"view {self.view.name!r} is keyed by {name!r}")
                )
                continue
            fits = _FITS.get(logical)
            if not (fits(value) if fits is not None else type(value) is str):
                message = f"an entity's {name!r} must be of type {logical}"
                errors.append(FieldError("type_mismatch", _pointer(name), message, logical, str(value)[:_SHOWN]))
                continue
            values.append(value)
        return errors or space + _encode(values)

    def read_all(
        self, values: Sequence[bytes | None], now_us: int, entities: Sequence[Mapping[str, Any]]
    ) -> list[Reading]:
        """Return the features of stored values, entity by entity, at an instant."""
        limit, is_plain = self._freshness_us, not self._expressions
        oldest = None if limit is None else now_us - limit
        readings: list[Reading] = []
        for value, entity in zip(values, entities, strict=True):
            if value is not None and is_plain:
                entry = decode_entry(value[HEAD_BYTES:])
                event, until = entry.event, entry.until
                if (
                    event is not None
                    and (until is None or now_us < until)
                    and (oldest is None or event >= oldest)
                    and None not in entry.values
                ):
                    readings.append(Reading(entry.values, event))
                    continue
            readings.append(self.read(value, now_us, entity))
        return readings

    def read(self, value: bytes | None, now_us: int, entity: Mapping[str, Any]) -> Reading:
        """Return the features of a stored value (None: there is none) at an instant."""
        if value is None:
            reading = self._unknown(MISSING)
        else:
            entry = decode_entry(value[HEAD_BYTES:])
            values, event = entry.values, entry.event
            if entry.until is not None and now_us >= entry.until:
                state = Entity.load(self.layout, entry, read_head(value))
                state.advance(self.layout, now_us)
                values, event = state.values(self.layout, now_us)[0], state.event
            if event is None:
                reading = self._unknown(MISSING)
            elif self._freshness_us is not None and now_us - event > self._freshness_us:
                reading = self._unknown(STALE)
                reading.event_us = event
            elif None in values:
                reading = self._with_defaults(values, event)
            else:
                reading = Reading(values, event)
        return self._computed(reading, entity) if self._expressions else reading

    def check_inputs(self, entity: Mapping[str, Any]) -> list[FieldError]:
        """Return what is wrong with the values that an entity's request brings for expressions."""
        return [error for check in self._inputs if (error := check(entity)) is not None]

    def explain(self, name: str, status: str, path: str) -> FieldError:
        """Return the error for a feature that has no value."""
        if status == STALE:
            assert self.view.freshness_seconds is not None
            limit = format_seconds(self.view.freshness_seconds)
            message = f"{self.view.name}.{name} is older than {limit} and has no default"
            return FieldError("feature_stale", path, message, limit)
        message = f"{self.view.name} has no value of {name} for the entity and no default"
        return FieldError("entity_missing", path, message)

    def _key_types(self) -> Sequence[str]:
        types = self.view.entity_types
        return types if len(types) == len(self.view.entities) else ["string"] * len(self.view.entities)

    def _values_of_nothing(self) -> list[Any]:
        features = {feature.name: feature for feature in self.view.features}
        total = self._freshness_us is None
        return [0 if total and features[name].aggregate in _TOTAL else None for name in self.layout.names]

    def _unknown(self, status: str) -> Reading:
        """Return the reading of an entity that has no row, or none that is new enough."""
        values, statuses = list(self._nothing), [PRESENT] * len(self._nothing)
        for index, value in enumerate(values):
            if value is None:
                values[index], statuses[index] = self._fallbacks[index], status
        return Reading(values, None, statuses)

    def _with_defaults(self, values: Sequence[Any], event: int) -> Reading:
        filled, statuses = list(values), [PRESENT] * len(values)
        for index, value in enumerate(values):
            if value is None:
                fallback = filled[index] = self._fallbacks[index]
                statuses[index] = MISSING if fallback is None else DEFAULT
        return Reading(filled, event, statuses)

    def _computed(self, reading: Reading, entity: Mapping[str, Any]) -> Reading:
        """Return the reading with the expressions' values behind the stored ones."""
        names = {**entity, **dict(zip(self.layout.names, reading.values, strict=True))}
        for name in self._instants:
            names[name] = read_instant(names.get(name))
        values, statuses = list(reading.values), list(reading.statuses or [PRESENT] * len(reading.values))
        for name, expression in self._expressions:
            value = expression(names)
            status = PRESENT
            if value is None:
                value = self._defaults[name]
                status = MISSING if value is None else DEFAULT
            names[name] = value
            values.append(value)
            statuses.append(status)
        is_whole = all(status == PRESENT for status in statuses)
        return Reading(values, reading.event_us, None if is_whole else statuses)


def _pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")
