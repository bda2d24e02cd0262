"""Fields in and out of ODCS properties."""

from __future__ import annotations

from typing import Any, Final

from headwater.contracts.model import PRECISION, SCALE, Constraints, Field, LogicalType
from headwater.contracts.sections import Problems, Section, custom_entries, dump_rest, load_rest, take_custom
from headwater.contracts.textchecks import EPOCH_UNITS

ITEM: Final = "item"
"""The name of a list's items and of a map's values, which ODCS leaves unnamed."""

_KEYS: Final = frozenset(
    [
        "id",
        "name",
        "primaryKey",
        "primaryKeyPosition",
        "logicalType",
        "logicalTypeOptions",
        "physicalType",
        "physicalName",
        "required",
        "unique",
        "partitioned",
        "partitionKeyPosition",
        "classification",
        "encryptedName",
        "transformSourceObjects",
        "transformLogic",
        "transformDescription",
        "examples",
        "criticalDataElement",
        "relationships",
        "quality",
        "description",
        "businessName",
        "authoritativeDefinitions",
        "tags",
        "customProperties",
        "properties",
        "items",
    ]
)
_OWN: Final = ("type", "precision", "scale", "items", "nullable", "required", "default", "aliases", "enum", "coerce")
_PLAIN_TYPES: Final = {
    name: LogicalType(name) for name in ("string", "date", "timestamp", "time", "number", "integer", "boolean", "array")
}
_WRITTEN_TYPES: Final = {
    LogicalType.DECIMAL: "number",
    LogicalType.UUID: "string",
    LogicalType.BINARY: "string",
    LogicalType.JSON: "object",
    LogicalType.STRUCT: "object",
    LogicalType.MAP: "object",
}
_OWN_TYPES: Final = ("decimal", "uuid", "binary", "json", "map")
_NUMERIC: Final = (LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.DECIMAL)
_STRING_FORMATS: Final = {"uuid": LogicalType.UUID, "byte": LogicalType.BINARY}
_LIMITS: Final = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
}
_LENGTHS: Final = {"minLength": "min_length", "maxLength": "max_length"}
_SIZES: Final = {"minItems": "min_items", "maxItems": "max_items"}
_OPTIONS: Final = {
    "string": (*_LENGTHS, "pattern", "format"),
    "date": (*_LIMITS, "format"),
    "timestamp": (*_LIMITS, "format", "timezone", "defaultTimezone"),
    "time": (*_LIMITS, "format", "timezone", "defaultTimezone"),
    "integer": (*_LIMITS, "multipleOf", "format"),
    "number": (*_LIMITS, "multipleOf", "format"),
    "object": ("maxProperties", "minProperties", "required"),
    "array": (*_SIZES, "uniqueItems"),
    "boolean": (),
}


class FieldReader:
    """Reads properties; ``places`` remembers where each field stands, for errors found later."""

    def __init__(self, problems: Problems) -> None:
        """Report to ``problems``."""
        self._problems = problems
        self.places: dict[str, str] = {}

    def read_all(self, entries: list[Any], path: str, place: str) -> tuple[Field, ...]:
        """Read a list of properties."""
        fields: list[Field] = []
        for index, entry in enumerate(entries):
            at = f"{path}[{index}]"
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str) or not name:
                self._problems.add(at, "the property has no name", "Add name.")
                continue
            fields.append(self.read(entry, at, f"{place}/{name}"))
        return tuple(fields)

    def read(self, entry: Any, path: str, place: str, *, is_item: bool = False) -> Field:
        """Read one property."""
        self.places[place] = path
        section = Section(entry, path, self._problems)
        own = take_custom(section, _OWN)
        logical = section.take_choice("logicalType", tuple(_OPTIONS))
        if logical is None:
            if "logicalType" not in entry:
                self._problems.add(path, "the logicalType is missing", f"Choose one of {', '.join(_OPTIONS)}.")
            logical = "string"
        options = Section(
            section.take("logicalTypeOptions", dict, {}), section.at("logicalTypeOptions"), self._problems
        )
        kind, form = _resolve(logical, own, section, options)
        required, nullable = _presence(section, own, is_item=is_item)
        has_default = "default" in own.left
        field = Field(
            name=section.take("name", str, ITEM),
            type=kind,
            required=required,
            nullable=nullable,
            has_default=has_default,
            default=own.left.pop("default", None),
            description=section.take("description", str, ""),
            constraints=_constraints(kind, form, options, own),
            precision=own.take("precision", int, PRECISION),
            scale=own.take("scale", int, SCALE),
            items=self._items(kind, section, own, place),
            fields=self._members(kind, section, place),
            aliases=own.take_texts("aliases"),
            classification=section.take("classification", str, "public"),
            coerce=own.take_choice("coerce", ("lossless", "lenient"), "lossless"),
            default_timezone=options.take("defaultTimezone", str) if kind is LogicalType.TIMESTAMP else None,
            rest=_rest(section, options, logical),
        )
        own.finish((), f"a field of type {kind}")
        return field

    def _items(self, kind: LogicalType, section: Section, own: Section, place: str) -> Field | None:
        if kind is LogicalType.ARRAY:
            items, path = section.take("items", dict), section.at("items")
        elif kind is LogicalType.MAP:
            items, path = own.take("items", dict), own.path
        else:
            return None
        return None if items is None else self.read(items, path, f"{place}/items", is_item=True)

    def _members(self, kind: LogicalType, section: Section, place: str) -> tuple[Field, ...]:
        if kind is not LogicalType.STRUCT:
            return ()
        return self.read_all(section.take("properties", list, []), section.at("properties"), place)


def _resolve(logical: str, own: Section, section: Section, options: Section) -> tuple[LogicalType, str | None]:
    """Return the field's type, and the format of a json field."""
    named = own.take_choice("type", _OWN_TYPES)
    if named == "json":
        return LogicalType.JSON, "array" if logical == "array" else None
    if named is not None:
        return LogicalType(named), None
    if logical == "object":
        return (LogicalType.STRUCT, None) if section.left.get("properties") else (LogicalType.JSON, "object")
    if logical == "string" and options.left.get("format") in _STRING_FORMATS:
        return _STRING_FORMATS[options.left.pop("format")], None
    return _PLAIN_TYPES[logical], None


def _presence(section: Section, own: Section, *, is_item: bool) -> tuple[bool, bool]:
    is_required = section.take("required", bool, is_item)
    required = own.take("required", bool, is_required or is_item)
    return required, own.take("nullable", bool, not is_required)


def _constraints(kind: LogicalType, form: str | None, options: Section, own: Section) -> Constraints:
    values: dict[str, Any] = {}
    for name, member in _LIMITS.items():
        values[member] = options.take(name, (int, float) if kind in _NUMERIC else (int, float, str))
    for name, member in (_LENGTHS | _SIZES).items():
        values[member] = options.take(name, int)
    values["multiple_of"] = options.take("multipleOf", (int, float))
    values["pattern"] = options.take("pattern", str)
    values["unique_items"] = options.take("uniqueItems", bool, default=False)
    allowed = own.take("enum", list)
    values["enum"] = None if allowed is None else tuple(allowed)
    values["format"] = form or _format(kind, options)
    return Constraints(**values)


def _format(kind: LogicalType, options: Section) -> str | None:
    """Return a format that means something here; others of the standard describe and stay in the rest."""
    form = options.left.get("format")
    if kind in (LogicalType.STRING, LogicalType.INTEGER) or (kind is LogicalType.TIMESTAMP and form in EPOCH_UNITS):
        text: str | None = options.take("format", str)
        return text
    return None


def _rest(section: Section, options: Section, logical: str) -> str:
    rest = section.finish(_KEYS, "an ODCS property")
    if left := options.finish(_OPTIONS[logical], f"the options of {logical}"):
        rest["logicalTypeOptions"] = left
    return dump_rest(rest)


def write_field(field: Field, *, is_item: bool = False) -> dict[str, Any]:
    """Return a field as an ODCS property."""
    rest = load_rest(field.rest)
    entry: dict[str, Any] = {} if is_item and field.name == ITEM else {"name": field.name}
    entry["logicalType"] = _WRITTEN_TYPES.get(field.type, str(field.type))
    if field.type is LogicalType.JSON and field.constraints.format == "array":
        entry["logicalType"] = "array"
    if is_item or (field.required and not field.nullable):
        entry["required"] = not field.nullable
    if field.description:
        entry["description"] = field.description
    if field.classification != "public":
        entry["classification"] = field.classification
    if options := _write_options(field) | rest.pop("logicalTypeOptions", {}):
        entry["logicalTypeOptions"] = options
    if field.fields:
        entry["properties"] = [write_field(member) for member in field.fields]
    if field.type is LogicalType.ARRAY and field.items is not None:
        entry["items"] = write_field(field.items, is_item=True)
    if custom := [*custom_entries(_write_own(field, is_item=is_item)), *rest.pop("customProperties", [])]:
        entry["customProperties"] = custom
    return entry | rest


def _write_options(field: Field) -> dict[str, Any]:
    limits = field.constraints
    members = _LIMITS | _LENGTHS | _SIZES | {"multipleOf": "multiple_of", "pattern": "pattern"}
    options = {name: value for name, member in members.items() if (value := getattr(limits, member)) is not None}
    if limits.unique_items:
        options["uniqueItems"] = True
    if field.default_timezone is not None:
        options["defaultTimezone"] = field.default_timezone
    form = {LogicalType.UUID: "uuid", LogicalType.BINARY: "byte", LogicalType.JSON: None}.get(field.type, limits.format)
    return options | ({"format": form} if form is not None else {})


def _write_own(field: Field, *, is_item: bool) -> dict[str, Any]:
    own: dict[str, Any] = {}
    if field.type in (LogicalType.DECIMAL, LogicalType.MAP) or (
        field.type is LogicalType.JSON and field.constraints.format != "object"
    ):
        own["type"] = str(field.type)
    if field.type is LogicalType.DECIMAL:
        own |= {"precision": field.precision, "scale": field.scale}
    if field.type is LogicalType.MAP and field.items is not None:
        own["items"] = write_field(field.items, is_item=True)
    is_required = not field.nullable if is_item else field.required and not field.nullable
    if field.required != (is_required or is_item):
        own["required"] = field.required
    if field.nullable == is_required:
        own["nullable"] = field.nullable
    if field.has_default:
        own["default"] = field.default
    if field.aliases:
        own["aliases"] = list(field.aliases)
    if field.constraints.enum is not None:
        own["enum"] = list(field.constraints.enum)
    if field.coerce != "lossless":
        own["coerce"] = field.coerce
    return own
