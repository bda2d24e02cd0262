"""What makes a contract sound beyond its shape: names, limits that leave a value, patterns, keys that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headwater.contracts.bounds import INTEGER_FORMATS, integer_range
from headwater.contracts.checks import decode_default
from headwater.contracts.findings import Findings
from headwater.contracts.grammar import TextPattern
from headwater.contracts.jsontext import encode
from headwater.contracts.model import MAX_FIELDS, Contract, Field, LogicalType
from headwater.contracts.record import build_check
from headwater.core.errors import HeadwaterError

MAX_PRECISION: Final = 38
MAX_NESTING: Final = 16
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
#: What producers call a field is theirs to say: headers of CSV files have spaces.
_ALIAS = re.compile(r'[^"\\]{0,128}')
_RESERVED: Final = re.compile(r"_hw_.*|_extra|__.*", re.IGNORECASE)
_DATASET = re.compile(r"[a-z][a-z0-9_]{0,62}")
_VERSION = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9}){0,2}")
_KEY_TYPES: Final = frozenset(LogicalType) - {LogicalType.ARRAY, LogicalType.STRUCT, LogicalType.MAP, LogicalType.JSON}
_ENUM_TYPES: Final = frozenset(
    {LogicalType.STRING, LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.UUID, LogicalType.DATE, LogicalType.TIME}
)
_NUMERIC: Final = frozenset({LogicalType.INTEGER, LogicalType.NUMBER, LogicalType.DECIMAL})
_ORDERED: Final = _NUMERIC | {LogicalType.DATE, LogicalType.TIME, LogicalType.TIMESTAMP}


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing wrong with a contract: where (a path such as ``fields/user/age``), what, and what to do about it."""

    path: str
    message: str
    cure: str


def require_sound(contract: Contract) -> None:
    """Raise ``contract_invalid``, with every defect in ``extra["errors"]``, unless the contract is sound."""
    defects = list(find_defects(contract))
    if defects:
        errors = [{"path": d.path, "message": d.message, "cure": d.cure} for d in defects]
        detail = f"the contract {contract.name!r} has {len(defects)} errors; the first: {defects[0].message}"
        raise HeadwaterError("contract_invalid", detail, hint=defects[0].cure, extra={"errors": errors})


def find_defects(contract: Contract) -> Iterator[Defect]:
    """Yield everything that keeps a contract from being compiled."""
    if not _DATASET.fullmatch(contract.name):
        cure = "Use lower-case letters, digits and _, beginning with a letter, at most 63."
        yield Defect("name", f"{contract.name!r} cannot name a dataset", cure)
    if not _VERSION.fullmatch(contract.version):
        yield Defect("version", f"{contract.version!r} is no version", "Write it as major.minor, such as 1.0.")
    if not contract.fields:
        yield Defect("fields", "a contract needs at least one field", "Add properties.")
    if count_fields(contract.fields) > MAX_FIELDS:
        yield Defect("fields", f"there are more than {MAX_FIELDS} fields", "Split the dataset.")
        return
    yield from _find_in_members(contract.fields, "fields", 1)
    yield from _find_in_keys(contract)


def find_loose_keys(contract: Contract) -> Iterator[Defect]:
    """Yield the fields of the key that a row may lack, which no new contract may have.

    Rows without them would all be one, or no two the same: either way something is lost or doubled. Versions that were
    applied before this was asked for still compile, and rows that lack a part of their key are refused one by one.
    """
    fields = {field.name: field for field in contract.fields}
    for field in (fields[name] for name in (contract.dedup.key if contract.dedup else ()) if name in fields):
        if field.nullable or not (field.required or field.has_default):
            message = f"{field.name!r} may be missing, so it cannot be part of the key"
            yield Defect("dedup", message, f"Make {field.name} required, or leave it out of the key.")


def count_fields(fields: tuple[Field, ...]) -> int:
    """Return how many fields there are, those within others included."""
    return sum(1 + count_fields(f.fields) + (count_fields((f.items,)) if f.items else 0) for f in fields)


def _find_in_members(fields: tuple[Field, ...], path: str, depth: int) -> Iterator[Defect]:
    seen: dict[str, str] = {}
    aliases = [alias for field in fields for alias in field.aliases]
    for field in fields:
        where = f"{path}/{field.name}"
        if not _NAME.fullmatch(field.name) or _RESERVED.fullmatch(field.name):
            cure = "Use letters, digits and _, not beginning with a digit, __ or _hw_, and not _extra."
            yield Defect(where, f"{field.name!r} cannot name a field", cure)
        for alias in field.aliases:
            if not _ALIAS.fullmatch(alias) or not alias.isprintable() or _RESERVED.fullmatch(alias):
                cure = (
                    "Any text that can be printed will do, up to 128 letters, but not one that begins with __ or _hw_."
                )
                yield Defect(where, f"{alias!r} cannot be another name of a field", cure)
        if (other := seen.setdefault(field.name.lower(), field.name)) is not field.name:
            cure = "Names must differ in more than upper and lower case, because tables do not tell them apart."
            yield Defect(where, f"{field.name!r} is taken by {other!r}", cure)
        if field.name in aliases or any(aliases.count(alias) > 1 for alias in field.aliases):
            yield Defect(where, f"{field.name!r} shares a name or alias with another field", "Rename one of them.")
        yield from _find_in_field(field, where, depth)


def _find_in_field(field: Field, path: str, depth: int) -> Iterator[Defect]:
    if depth > MAX_NESTING:
        yield Defect(path, f"fields nest deeper than {MAX_NESTING}", "Use a json field for what lies deeper.")
        return
    before = 0
    for defect in _find_in_shape(field, path, depth):
        before += 1
        yield defect
    for defect in (*_find_in_limits(field, path), *_find_in_text(field, path)):
        before += 1
        yield defect
    if not before:
        yield from _find_in_values(field, path)


def _find_in_shape(field: Field, path: str, depth: int) -> Iterator[Defect]:
    match field.type:
        case LogicalType.STRUCT if not field.fields:
            yield Defect(path, "a struct needs members", "Add properties, or make it a json field.")
        case LogicalType.STRUCT:
            yield from _find_in_members(field.fields, path, depth + 1)
        case LogicalType.ARRAY | LogicalType.MAP if field.items is None:
            yield Defect(path, f"the type of the {field.type}'s items is missing", "Add items with a logicalType.")
        case LogicalType.ARRAY | LogicalType.MAP if field.items is not None:
            yield from _find_in_field(field.items, f"{path}/items", depth + 1)
        case LogicalType.DECIMAL if not (1 <= field.precision <= MAX_PRECISION and 0 <= field.scale <= field.precision):
            cure = f"Choose a precision of 1 to {MAX_PRECISION} and a scale of 0 to the precision."
            yield Defect(path, f"decimal({field.precision},{field.scale}) does not exist", cure)


def _find_in_limits(field: Field, path: str) -> Iterator[Defect]:
    limits = field.constraints
    for key in ("ge", "gt", "le", "lt"):
        if (limit := getattr(limits, key)) is None:
            continue
        wants_text = field.type not in _NUMERIC
        if field.type not in _ORDERED:
            yield Defect(path, f"a {field.type} has no {key}", "Remove the limit.")
        elif isinstance(limit, str) != wants_text or isinstance(limit, bool):
            yield Defect(path, f"the limit {key} is of another type than the field", f"Write it as a {field.type}.")
    for low, high in (("min_length", "max_length"), ("min_items", "max_items")):
        yield from _find_in_lengths(getattr(limits, low), getattr(limits, high), low, high, path)
    if limits.multiple_of is not None and (field.type not in _NUMERIC or limits.multiple_of <= 0):
        yield Defect(path, "multiple_of needs a number field and a step above 0", "Remove or correct it.")
    elif field.type is LogicalType.INTEGER and limits.multiple_of is not None and limits.multiple_of % 1:
        yield Defect(path, "the step of an integer is an integer", "Correct multiple_of.")
    yield from _find_in_enum(field, path)


def _find_in_lengths(low: int | None, high: int | None, low_name: str, high_name: str, path: str) -> Iterator[Defect]:
    if min(low or 0, high or 0) < 0 or (low is not None and high is not None and low > high):
        yield Defect(path, f"no value has both {low_name} and {high_name}", "Correct the limits.")


def _find_in_enum(field: Field, path: str) -> Iterator[Defect]:
    allowed = field.constraints.enum
    if allowed is None:
        return
    if field.type not in _ENUM_TYPES or not allowed:
        cure = f"List at least one value; {', '.join(sorted(_ENUM_TYPES))} fields may list values."
        yield Defect(path, "the list of values cannot be used", cure)
        return
    kind: Any = {LogicalType.INTEGER: int, LogicalType.NUMBER: (int, float)}.get(field.type, str)
    wrong = [value for value in allowed if not isinstance(value, kind) or isinstance(value, bool)]
    if wrong:
        yield Defect(path, f"the listed value {wrong[0]!r} is no {field.type}", "List values of the field's type.")


def _find_in_text(field: Field, path: str) -> Iterator[Defect]:
    if (pattern := field.constraints.pattern) is not None:
        try:
            TextPattern(pattern)
        except ValueError as error:
            yield Defect(path, f"the pattern is not valid: {error}", "Write it in RE2 syntax (no look-around).")
        if field.type is not LogicalType.STRING:
            yield Defect(path, f"a {field.type} has no pattern", "Remove the pattern.")
    if field.default_timezone is not None:
        try:
            ZoneInfo(field.default_timezone)
        except (ZoneInfoNotFoundError, ValueError):
            yield Defect(path, f"there is no time zone {field.default_timezone!r}", "Use a name such as Europe/Paris.")
    form = field.constraints.format
    if field.type is LogicalType.INTEGER and form is not None and form not in INTEGER_FORMATS:
        yield Defect(path, f"integers of format {form!r} cannot be held", "Use i64, or a decimal or string field.")


def _find_in_values(field: Field, path: str) -> Iterator[Defect]:
    """Compile the field and hold its default and its listed values against it."""
    try:
        check = build_check(field)
    except (ValueError, TypeError, OverflowError) as error:
        yield Defect(path, f"a limit is not valid: {error}", "Write limits in the form that values have.")
        return
    if field.type is LogicalType.INTEGER:
        low, high = integer_range(field.constraints)
        if low > high:
            yield Defect(path, "no integer is within the limits", "Correct the limits.")
    for value in field.constraints.enum or ():
        findings = Findings()
        check(encode(value), "", findings)
        if findings.errors:
            yield Defect(path, f"the listed value {value!r} {findings.errors[0].message}", "Correct the list.")
    if field.has_default:
        errors = decode_default(check)[1].errors
        if errors:
            yield Defect(path, f"the default {errors[0].message}", "Correct the default.")


def _find_in_keys(contract: Contract) -> Iterator[Defect]:
    fields = {field.name: field for field in contract.fields}
    for name in contract.dedup.key if contract.dedup else ():
        if name not in fields or fields[name].type not in _KEY_TYPES:
            yield Defect("dedup", f"{name!r} cannot be part of the key", "Name plain fields of the contract.")
    if contract.dedup is not None and not contract.dedup.key:
        yield Defect("dedup", "the key has no fields", "Name the fields that identify a row.")
    if contract.event_time is not None:
        field = fields.get(contract.event_time)
        if field is None or field.type is not LogicalType.TIMESTAMP:
            yield Defect("event_time", f"{contract.event_time!r} is no timestamp field", "Name a timestamp field.")
