"""The Open Data Contract Standard, version 3.1: in and out without loss.

What the model understands is mapped; everything else of the standard is kept as it came and written back. What the
standard has no place for lives in custom properties whose names begin with ``headwater.``. ODCS's ``required: true``
means present and not null; a field that is not required may be absent or null. Items of a list are required unless
they say ``required: false``.
"""

from __future__ import annotations

from typing import Any, Final

from headwater.contracts.durations import format_duration
from headwater.contracts.model import Contract, Dedup, Lateness
from headwater.contracts.odcs_fields import FieldReader, write_field
from headwater.contracts.sections import (
    Problems,
    Section,
    custom_entries,
    dump_rest,
    invalid,
    load_rest,
    take_custom,
)
from headwater.contracts.soundness import find_defects, find_loose_keys
from headwater.contracts.yamltree import Document, YamlFault, load

API_VERSION: Final = "v3.1.0"
KIND: Final = "DataContract"
_STATUS: Final = "active"
_ROOT_KEYS: Final = frozenset(
    [
        "id",
        "name",
        "tenant",
        "tags",
        "status",
        "servers",
        "dataProduct",
        "description",
        "domain",
        "support",
        "price",
        "team",
        "roles",
        "slaDefaultElement",
        "slaProperties",
        "authoritativeDefinitions",
        "customProperties",
        "contractCreatedTs",
        "apiVersion",
        "kind",
        "version",
        "schema",
    ]
)
_OBJECT_KEYS: Final = frozenset(
    [
        "id",
        "name",
        "physicalType",
        "description",
        "businessName",
        "authoritativeDefinitions",
        "tags",
        "customProperties",
        "logicalType",
        "physicalName",
        "dataGranularityDescription",
        "properties",
        "relationships",
        "quality",
    ]
)
_OWN: Final = (
    "onError",
    "onUnknown",
    "dedup",
    "eventTime",
    "late",
    "future",
    "quarantine",
    "protected",
    "requireIdempotencyKey",
)
_KEPT: Final = ("mode", "version", "compatibility", "supersedes")
_ACTIONS: Final = ("accept", "quarantine", "reject")


def parse_contract(text: str, *, source: str) -> Contract:
    """Read a contract from ODCS YAML (or JSON).

    Args:
        text: the file.
        source: its name, for errors.

    Raises:
        HeadwaterError: ``contract_invalid``; ``extra["errors"]`` lists every error with ``source``, ``line``, ``path``,
            ``message`` and ``cure``.
    """
    try:
        document = load(text)
    except YamlFault as fault:
        cure = "Correct the YAML at this line."
        entry = {"source": source, "line": fault.line, "path": "", "message": str(fault), "cure": cure}
        raise invalid(source, [entry]) from fault
    problems = Problems(source, document)
    contract, reader = _read(document, problems)
    problems.raise_any()
    for defect in (*find_defects(contract), *find_loose_keys(contract)):
        problems.add(reader.places.get(defect.path, _PLACES.get(defect.path, "")), defect.message, defect.cure)
    problems.raise_any()
    return contract


_PLACES: Final = {
    "name": "schema[0].name",
    "version": "version",
    "fields": "schema[0].properties",
    "dedup": "customProperties",
    "event_time": "customProperties",
}


def _read(document: Document, problems: Problems) -> tuple[Contract, FieldReader]:
    root = Section(document.data, "", problems)
    if root.take("kind", str, KIND) != KIND:
        problems.add("kind", f"must be {KIND}", f"Write kind: {KIND}.")
    api_version = root.take("apiVersion", str, API_VERSION)
    if not api_version.startswith("v3."):
        problems.add("apiVersion", f"{api_version!r} is not supported", f"Write apiVersion: {API_VERSION}.")
    version = document.texts.get("version", "") if root.left.pop("version", None) is not None else ""
    if not version:
        problems.add("version", "the contract has no version", "Add a line such as version: 1.0.")
    table = _only_object(root, problems)
    name = table.take("name", str, "")
    if not name:
        problems.add(table.at("name"), "the dataset has no name", "Add name to the object in schema.")
    reader = FieldReader(problems)
    own = take_custom(root, _OWN, _KEPT)
    own.left |= {key: value for key, value in take_custom(table, _OWN, _KEPT).left.items() if key not in own.left}
    primary = _primary_key(table)
    contract = Contract(
        name=name,
        version=version,
        description=table.take("description", str, ""),
        fields=reader.read_all(table.take("properties", list, []), table.at("properties"), "fields"),
        **_own_properties(own, primary),
        rest=_rest(root, table, api_version, name),
    )
    return contract, reader


def _only_object(root: Section, problems: Problems) -> Section:
    objects = root.take("schema", list, [])
    if len(objects) != 1:
        cure = "Describe one dataset in each file, as the only entry of schema."
        problems.add("schema", f"there are {len(objects)} objects where there must be one", cure)
    return Section(objects[0] if objects else {}, "schema[0]", problems)


def _primary_key(table: Section) -> tuple[str, ...]:
    properties = [p for p in table.left.get("properties") or () if isinstance(p, dict) and p.get("primaryKey") is True]
    positions = [p.get("primaryKeyPosition") for p in properties]
    if all(isinstance(position, int) for position in positions):
        properties.sort(key=lambda entry: int(entry["primaryKeyPosition"]))
    return tuple(str(entry.get("name")) for entry in properties)


def _own_properties(own: Section, primary_key: tuple[str, ...]) -> dict[str, Any]:
    plain = Contract("", "", ())
    quarantine = Section(own.take("quarantine", dict, {}), own.path, own.problems)
    values = {
        "on_error": own.take_choice("onError", ("quarantine", "reject_row", "reject_batch"), plain.on_error),
        "on_unknown": own.take_choice("onUnknown", ("capture", "quarantine", "drop"), plain.on_unknown),
        "event_time": own.take("eventTime", str),
        "protected": own.take("protected", bool, plain.protected),
        "require_idempotency_key": own.take("requireIdempotencyKey", bool, plain.require_idempotency_key),
        "quarantine_retention": quarantine.take_duration("retention", plain.quarantine_retention),
        "store_raw": quarantine.take_choice("storeRaw", ("always", "never"), "always") == "always",
        "dedup": _dedup(own, primary_key),
        "lateness": _lateness(own),
    }
    quarantine.finish((), "headwater.quarantine")
    return values


def _dedup(own: Section, primary_key: tuple[str, ...]) -> Dedup | None:
    value = own.left.pop("dedup", None)
    if value is None or value is False:
        return None
    section = Section({} if value is True else value, own.path, own.problems)
    key = section.take_texts("key") or primary_key
    if not key:
        cure = "Name the fields of the key, or mark them with primaryKey: true."
        own.problems.add(own.path, "headwater.dedup has no key", cure)
    conflict = section.take_choice("onConflict", ("ignore", "quarantine"), "ignore")
    within = section.take_duration("within", None)
    section.finish((), "headwater.dedup")
    return Dedup(key, conflict, within)


def _lateness(own: Section) -> Lateness:
    plain = Lateness()
    late = Section(own.take("late", dict, {}), own.path, own.problems)
    future = Section(own.take("future", dict, {}), own.path, own.problems)
    on_time = late.take_duration("onTime", plain.on_time)
    lateness = Lateness(
        on_time=plain.on_time if on_time is None else on_time,
        allowed=late.take_duration("allowed", plain.allowed),
        late_action=late.take_choice("action", _ACTIONS, plain.late_action),
        max_skew=future.take_duration("maxSkew", plain.max_skew),
        future_action=future.take_choice("action", _ACTIONS, plain.future_action),
    )
    late.finish((), "headwater.late")
    future.finish((), "headwater.future")
    return lateness


def _rest(root: Section, table: Section, api_version: str, name: str) -> str:
    defaults = {"id": name, "status": _STATUS}
    rest = {key: value for key, value in root.finish(_ROOT_KEYS, "ODCS").items() if defaults.get(key) != value}
    if api_version != API_VERSION:
        rest["apiVersion"] = api_version
    table_rest = table.finish(_OBJECT_KEYS, "an ODCS object")
    return dump_rest({key: value for key, value in (("root", rest), ("object", table_rest)) if value})


def export_contract(contract: Contract) -> dict[str, Any]:
    """Return a contract as an ODCS document; ``parse_contract`` of its YAML gives an equal contract."""
    rest = load_rest(contract.rest)
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "id": contract.name,
        "version": contract.version,
        "status": _STATUS,
    } | rest.get("root", {})
    own = custom_entries(_write_own(contract))
    if own:
        document["customProperties"] = [*own, *rest.get("root", {}).get("customProperties", [])]
    table: dict[str, Any] = {"name": contract.name}
    if contract.description:
        table["description"] = contract.description
    table |= rest.get("object", {})
    table["properties"] = [write_field(field) for field in contract.fields]
    document["schema"] = [table]
    return document


def _write_own(contract: Contract) -> dict[str, Any]:
    plain = Contract("", "", ())
    values: dict[str, Any] = {}
    for name, attribute in (
        ("onError", "on_error"),
        ("onUnknown", "on_unknown"),
        ("eventTime", "event_time"),
        ("protected", "protected"),
        ("requireIdempotencyKey", "require_idempotency_key"),
    ):
        if (value := getattr(contract, attribute)) != getattr(plain, attribute):
            values[name] = value
    if contract.dedup is not None:
        dedup: dict[str, Any] = {"key": list(contract.dedup.key), "onConflict": contract.dedup.on_conflict}
        if contract.dedup.within is not None:
            dedup["within"] = format_duration(contract.dedup.within)
        values["dedup"] = dedup
    values |= _write_lateness(contract.lateness)
    quarantine: dict[str, Any] = {}
    if contract.quarantine_retention != plain.quarantine_retention:
        kept = contract.quarantine_retention
        quarantine["retention"] = None if kept is None else format_duration(kept)
    if not contract.store_raw:
        quarantine["storeRaw"] = "never"
    return values | ({"quarantine": quarantine} if quarantine else {})


def _write_lateness(lateness: Lateness) -> dict[str, Any]:
    plain = Lateness()
    late: dict[str, Any] = {}
    future: dict[str, Any] = {}
    if lateness.on_time != plain.on_time:
        late["onTime"] = format_duration(lateness.on_time)
    if lateness.allowed is not None:
        late["allowed"] = format_duration(lateness.allowed)
    if lateness.late_action != plain.late_action:
        late["action"] = lateness.late_action
    if lateness.max_skew != plain.max_skew:
        future["maxSkew"] = None if lateness.max_skew is None else format_duration(lateness.max_skew)
    if lateness.future_action != plain.future_action:
        future["action"] = lateness.future_action
    return {name: value for name, value in (("late", late), ("future", future)) if value}
