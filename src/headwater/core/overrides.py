"""Overrides: answers of models that people have replaced for a while, and which of them a row gets.

An override is data: what it replaces, by what, why, who asked, who approved, from when until when. Control puts the
approved ones into the snapshot; the data plane holds each against its own clock, so one ends with control down too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

from headwater.core.spec import Spec

Value = bool | int | float | str
By = Literal["inputs", "entity"]
MAX_KEY_NAMES: Final = 32


class OverrideSpec(Spec):
    """One approved override of one output of a model.

    ``by`` says what ``key`` is held against: a row's ``inputs`` (all that the key names must be equal), or the
    ``entity`` that a request names (it must be the same). It holds from ``valid_from`` up to, not at, ``valid_until``.
    """

    id: str
    model: str
    output: str
    by: By = "inputs"
    key: dict[str, Any]
    value: Any
    reason: str
    requested_by: str
    approved_by: str
    valid_from: datetime
    valid_until: datetime

    def holds(self, now: float) -> bool:
        """Return whether it is in force at ``now``, in seconds since 1970."""
        return self.valid_from.timestamp() <= now < self.valid_until.timestamp()


def key_text(by: str, key: Mapping[str, Any]) -> str:
    """Return the one text of a key; 1, 1.0 and true are the same, as they are for models."""
    plain = {name: float(value) if isinstance(value, bool | int | float) else value for name, value in key.items()}
    return by + ":" + json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Group:
    """The overrides whose keys have the same names, by the values of these."""

    def __init__(self, by: By, names: tuple[str, ...]) -> None:
        """Begin without any."""
        self.by = by
        self.names = names
        self._by_values: dict[tuple[Any, ...], list[OverrideSpec]] = {}

    def add(self, spec: OverrideSpec) -> None:
        """Take one."""
        self._by_values.setdefault(tuple(plain_value(spec.key[name]) for name in self.names), []).append(spec)

    def find(self, values: tuple[Any, ...], now: float) -> list[OverrideSpec]:
        """Return those in force for the values of ``names``, each as ``plain_value`` has it."""
        found = self._by_values.get(values)
        return [spec for spec in found if spec.holds(now)] if found else []


class Book:
    """The overrides of one model. Where several fit a row, the one whose key says more wins, then the newer one."""

    def __init__(self, specs: Iterable[OverrideSpec]) -> None:
        """Sort ``specs``; identifiers are ordered in time, so the greater one is newer."""
        groups: dict[tuple[By, tuple[str, ...]], Group] = {}
        for spec in sorted(specs, key=lambda spec: spec.id, reverse=True):
            names = tuple(sorted(spec.key))
            groups.setdefault((spec.by, names), Group(spec.by, names)).add(spec)
        # An entity is named on purpose and in full: it says more than any inputs do.
        ranked = sorted(groups.values(), key=lambda group: (group.by != "entity", -len(group.names), group.names))
        self.groups: Sequence[Group] = tuple(ranked)

    def find(self, row: Mapping[str, Any], entity: Mapping[str, Any] | None, now: float) -> dict[str, OverrideSpec]:
        """Return which override each output of one row gets; for explanations, as the data plane looks up columns."""
        chosen: dict[str, OverrideSpec] = {}
        for group in self.groups:
            held = row if group.by == "inputs" else entity
            if held is None or not fits(group, held):
                continue
            for spec in group.find(tuple(plain_value(held[name]) for name in group.names), now):
                chosen.setdefault(spec.output, spec)
        return chosen


def fits(group: Group, held: Mapping[str, Any]) -> bool:
    """Return whether a row has every input that the group's keys name, or an entity exactly these names."""
    names = held.keys()
    return names >= set(group.names) if group.by == "inputs" else set(names) == set(group.names)


def plain_value(value: Any) -> Any:
    """Return a value as keys hold it: what is absent is None, and Python's numbers are equal whatever their type."""
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN alone differs from itself
        return None
    return value if isinstance(value, bool | int | float | str) else None
