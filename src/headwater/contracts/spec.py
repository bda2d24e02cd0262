"""Contracts as plain JSON-able data: the form in which a snapshot carries them.

Members that equal their default are left out; members that a reader does not know are ignored, so that an older
service reads what a newer control plane wrote.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as members_of
from datetime import timedelta
from typing import Any

from headwater.contracts.durations import format_duration, parse_duration
from headwater.contracts.model import Constraints, Contract, Dedup, Field, Lateness, LogicalType

_FIELD_PLAIN = (
    "required",
    "nullable",
    "has_default",
    "default",
    "description",
    "precision",
    "scale",
    "classification",
    "coerce",
    "default_timezone",
    "rest",
)
_CONTRACT_PLAIN = (
    "description",
    "on_unknown",
    "on_error",
    "event_time",
    "protected",
    "require_idempotency_key",
    "store_raw",
    "rest",
)
_LATENESS_DURATIONS = ("on_time", "allowed", "max_skew")


def field_to_spec(field: Field) -> dict[str, Any]:
    """Return a field as plain data."""
    spec: dict[str, Any] = {"name": field.name, "type": str(field.type)}
    plain_field = Field(field.name, field.type)
    spec |= _changed(field, plain_field, _FIELD_PLAIN)
    constraints = _changed(field.constraints, Constraints(), [m.name for m in members_of(Constraints)])
    if constraints:
        if "enum" in constraints:
            constraints["enum"] = list(constraints["enum"])
        spec["constraints"] = constraints
    if field.items is not None:
        spec["items"] = field_to_spec(field.items)
    if field.fields:
        spec["fields"] = [field_to_spec(member) for member in field.fields]
    if field.aliases:
        spec["aliases"] = list(field.aliases)
    return spec


def field_from_spec(spec: Mapping[str, Any]) -> Field:
    """Return the field that ``field_to_spec`` wrote; raises KeyError or ValueError when it is no such spec."""
    constraints = _known(spec.get("constraints", {}), [member.name for member in members_of(Constraints)])
    if "enum" in constraints:
        constraints["enum"] = tuple(constraints["enum"])
    return Field(
        name=spec["name"],
        type=LogicalType(spec["type"]),
        constraints=Constraints(**constraints),
        items=field_from_spec(spec["items"]) if spec.get("items") is not None else None,
        fields=tuple(field_from_spec(member) for member in spec.get("fields", ())),
        aliases=tuple(spec.get("aliases", ())),
        **_known(spec, _FIELD_PLAIN),
    )


def contract_to_spec(contract: Contract) -> dict[str, Any]:
    """Return a contract as plain data."""
    plain_contract = Contract(contract.name, contract.version, ())
    spec: dict[str, Any] = {"name": contract.name, "version": contract.version}
    spec |= _changed(contract, plain_contract, _CONTRACT_PLAIN)
    spec["fields"] = [field_to_spec(field) for field in contract.fields]
    if contract.dedup is not None:
        within = contract.dedup.within
        spec["dedup"] = {
            "key": list(contract.dedup.key),
            "on_conflict": contract.dedup.on_conflict,
            "within": None if within is None else format_duration(within),
        }
    if contract.lateness != Lateness():
        spec["lateness"] = _lateness_to_spec(contract.lateness)
    if contract.quarantine_retention != plain_contract.quarantine_retention:
        spec["quarantine_retention"] = _text(contract.quarantine_retention)
    return spec


def contract_from_spec(spec: Mapping[str, Any]) -> Contract:
    """Return the contract that ``contract_to_spec`` wrote; raises KeyError or ValueError when it is no such spec."""
    values = _known(spec, _CONTRACT_PLAIN)
    if (dedup := spec.get("dedup")) is not None:
        values["dedup"] = Dedup(tuple(dedup["key"]), dedup.get("on_conflict", "ignore"), _duration(dedup.get("within")))
    if (lateness := spec.get("lateness")) is not None:
        values["lateness"] = _lateness_from_spec(lateness)
    if "quarantine_retention" in spec:
        values["quarantine_retention"] = _duration(spec["quarantine_retention"])
    fields = tuple(field_from_spec(field) for field in spec["fields"])
    return Contract(name=spec["name"], version=spec["version"], fields=fields, **values)


def _lateness_to_spec(lateness: Lateness) -> dict[str, Any]:
    return {
        member.name: _text(value) if isinstance(value, timedelta) else value
        for member in members_of(Lateness)
        if (value := getattr(lateness, member.name)) != getattr(Lateness(), member.name)
    }


def _lateness_from_spec(spec: Mapping[str, Any]) -> Lateness:
    values: dict[str, Any] = _known(spec, [member.name for member in members_of(Lateness)])
    for name in _LATENESS_DURATIONS:
        if name in values:
            values[name] = _duration(values[name])
    return Lateness(**values)


def _changed(item: Any, plain: Any, names: Any) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(item, name)) != getattr(plain, name)}


def _known(spec: Mapping[str, Any], names: Any) -> dict[str, Any]:
    return {name: spec[name] for name in names if name in spec}


def _text(duration: timedelta | None) -> str | None:
    return None if duration is None else format_duration(duration)


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text)
