"""The exact check of what holds other values: lists, maps, structs, and the row itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import GenericAlias
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Raw

from headwater.contracts import bytechecks, checks, jsontext, textchecks
from headwater.contracts.checks import Refusal, ValueCheck, decode_default
from headwater.contracts.findings import Findings, shown
from headwater.contracts.jsontext import decode_items, decode_members, encode, members, pointer
from headwater.contracts.model import Constraints, Field, LogicalType
from headwater.contracts.rows import FieldError


class ArrayCheck(ValueCheck):
    """A list whose items are all of one field."""

    expected = "an array"

    def wire_type(self, constraints: Constraints) -> Any:
        """Return a list of the item's type within its lengths."""
        assert self.field.items is not None, "an array has items"
        self.item = build_check(self.field.items, private=self.private)
        self.may_settle = self.item.may_settle and not constraints.unique_items
        items = GenericAlias(list, (self.item.wire,))
        return Annotated[items, Meta(min_length=constraints.min_items, max_length=constraints.max_items)]

    def value_within(self, raw: bytes, path: str, findings: Findings) -> list[Any]:
        """Check one value."""
        if not raw.startswith(b"["):
            raise self.mismatch()
        items = decode_items(raw)
        self._require_size(len(items))
        values = [self.item(bytes(item), f"{path}/{index}", findings) for index, item in enumerate(items)]
        if self.field.constraints.unique_items and len(set(map(encode, values))) < len(values):
            raise Refusal("rule_failed", "must not hold equal items", {"unique_items": True})
        return values

    def settles(self, value: Any) -> bool:
        """Return whether the wire type said all there is to say about every item."""
        return value is None or all(map(self.item.settles, value))

    def _require_size(self, size: int) -> None:
        limits = self.field.constraints
        if limits.max_items is not None and size > limits.max_items:
            message = f"must have at most {limits.max_items} items"
            raise Refusal("too_many_items", message, {"max_items": limits.max_items})
        if limits.min_items is not None and size < limits.min_items:
            message = f"must have at least {limits.min_items} items"
            raise Refusal("too_few_items", message, {"min_items": limits.min_items})


class MapCheck(ValueCheck):
    """An object with any names, whose values are all of one field."""

    expected = "an object"

    def wire_type(self, constraints: Constraints) -> Any:
        """Return a dict of the value's type."""
        del constraints
        assert self.field.items is not None, "a map has items"
        self.item = build_check(self.field.items, private=self.private)
        return GenericAlias(dict, (str, self.item.wire))

    def value_within(self, raw: bytes, path: str, findings: Findings) -> dict[str, Any]:
        """Check one value."""
        if not raw.startswith(b"{"):
            raise self.mismatch()
        pairs = decode_members(raw).items()
        return {name: self.item(bytes(value), pointer(path, name), findings) for name, value in pairs}


class StructCheck(ValueCheck):
    """An object with the members that the contract names; ``captures`` says whether others are allowed."""

    expected = "an object"

    def __init__(self, field: Field, *, private: bool = False, captures: bool = False) -> None:
        """Compile the members, then the struct type that holds them."""
        self.captures = captures
        super().__init__(field, private=private)

    def wire_type(self, constraints: Constraints) -> Any:
        """Return a struct that forbids unknown members."""
        del constraints
        self.members = [
            Member.build(field, private=self.private, captures=self.captures) for field in self.field.fields
        ]
        self.named = {name: member for member in self.members for name in (member.name, *member.field.aliases)}
        self.type = msgspec.defstruct(
            self.field.name,
            [member.definition() for member in self.members],
            kw_only=True,
            gc=False,
            forbid_unknown_fields=True,
        )
        return self.type

    def value_within(self, raw: bytes, path: str, findings: Findings) -> Any:
        """Check one object."""
        if not raw.startswith(b"{"):
            raise self.mismatch()
        before = len(findings.errors)
        found: dict[str, bytes | Raw] = {}
        for name, value in members(raw):
            if (member := self.named.get(name)) is None:
                self._unknown(name, bytes(value), path, findings)
                continue
            if member.name in found:
                member.check_earlier(found[member.name], pointer(path, member.name), findings)
            found[member.name] = value
        values = self._take(found, path, findings)
        return self.type(**values) if len(findings.errors) == before else None

    def _take(self, found: dict[str, bytes | Raw], path: str, findings: Findings) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for member in self.members:
            name = member.name
            if (raw := found.get(name)) is None:
                values[name] = member.absent(path, findings)
                continue
            if member.may_settle:
                try:
                    value = values[name] = member.is_plausible(raw)
                except jsontext.UNREADABLE:
                    pass
                else:
                    if member.check.settles(value):
                        continue
            values[name] = member.check(bytes(raw), pointer(path, name), findings)
        return values

    def _unknown(self, name: str, value: bytes, path: str, findings: Findings) -> None:
        where = pointer(path, name)
        if not self.captures:
            findings.add("unknown_field", where, "the field is not in the contract")
        elif jsontext.has_huge_number(value):
            actual = shown(value, private=self.private)
            findings.add("malformed_json", where, "holds a number beyond the doubles", actual=actual)
        else:
            inner = findings.extras
            for step in filter(None, path.split("/")):
                inner = inner.setdefault(step, {})
            inner[name] = value


@dataclass(frozen=True, slots=True)
class Member:
    """A field of a struct with its check and, decoded once, its default."""

    name: str
    field: Field
    check: ValueCheck
    default: Any
    is_plausible: Callable[[bytes | Raw], Any]
    may_settle: bool

    @classmethod
    def build(cls, field: Field, *, private: bool, captures: bool) -> Member:
        """Compile a member; its default was found sound when the contract was read."""
        check = build_check(field, private=private, captures=captures)
        default = decode_default(check)[0] if field.has_default else None
        return cls(field.name, field, check, default, msgspec.json.Decoder(check.wire).decode, check.may_settle)

    def definition(self) -> tuple[str, Any] | tuple[str, Any, Any]:
        """Return the member as msgspec defines it: absent optional members are None without allowing ``null``."""
        if self.field.required and not self.field.has_default:
            return self.name, self.check.wire
        if isinstance(self.default, list | dict):
            return self.name, self.check.wire, msgspec.field(default_factory=lambda: copy.deepcopy(self.default))
        return self.name, self.check.wire, self.default

    def absent(self, path: str, findings: Findings) -> Any:
        """Return the member's default, or None with a finding."""
        if self.field.required and not self.field.has_default:
            findings.add("missing_field", pointer(path, self.name), "is required", expected=str(self.field.type))
        return copy.deepcopy(self.default) if isinstance(self.default, list | dict) else self.default

    def check_earlier(self, raw: bytes | Raw, path: str, findings: Findings) -> None:
        """Check a value that a later one of the same name replaces.

        It must be of the right type and within its limits; the text of patterns and timestamps is looked at only in
        the value that counts.
        """
        try:
            self.is_plausible(raw)
        except jsontext.UNREADABLE:
            self.check(bytes(raw), path, findings)


_CHECKS: Final[dict[LogicalType, type[ValueCheck]]] = {
    LogicalType.INTEGER: checks.IntegerCheck,
    LogicalType.NUMBER: checks.NumberCheck,
    LogicalType.DECIMAL: checks.DecimalCheck,
    LogicalType.BOOLEAN: checks.BooleanCheck,
    LogicalType.STRING: textchecks.StringCheck,
    LogicalType.TIMESTAMP: textchecks.TimestampCheck,
    LogicalType.DATE: textchecks.DateCheck,
    LogicalType.TIME: textchecks.TimeCheck,
    LogicalType.UUID: textchecks.UuidCheck,
    LogicalType.BINARY: bytechecks.BinaryCheck,
    LogicalType.JSON: bytechecks.JsonCheck,
    LogicalType.ARRAY: ArrayCheck,
    LogicalType.MAP: MapCheck,
}


def build_check(field: Field, *, private: bool = False, captures: bool = False) -> ValueCheck:
    """Compile the exact check of one field."""
    if field.type is LogicalType.STRUCT:
        return StructCheck(field, private=private, captures=captures)
    return _CHECKS[field.type](field, private=private)


class Verdict(NamedTuple):
    """What the exact check made of a row: the typed row, or the errors; ``extra`` is JSON text of unknown members."""

    row: Any
    errors: Sequence[FieldError]
    extra: bytes | None = None


class RowCheck:
    """The exact check of a whole row."""

    def __init__(self, name: str, fields: tuple[Field, ...], *, captures: bool) -> None:
        """Compile the fields of a row."""
        self.struct = StructCheck(Field(name, LogicalType.STRUCT, fields=fields), captures=captures)

    def __call__(self, line: bytes, max_depth: int = jsontext.MAX_DEPTH) -> Verdict:
        """Return the verdict on one row of JSON text."""
        findings, row = Findings(), None
        raw = line.strip(b" \t\r\n")
        if self._is_text(raw, max_depth, findings):
            try:
                row = self._read(raw, findings)
            except jsontext.UNREADABLE as error:
                self._explain(raw, error, findings)
            if not findings.errors:
                return Verdict(row, (), dump_extras(findings.extras))
        return Verdict(None, tuple(findings.errors))

    def _read(self, raw: bytes, findings: Findings) -> Any:
        if raw.startswith(b"{"):
            return self.struct(raw, "", findings)
        jsontext.decode_any(raw)
        findings.add("not_an_object", "", "must be a JSON object")
        return None

    @staticmethod
    def _explain(raw: bytes, error: Exception, findings: Findings) -> None:
        if jsontext.has_lone_surrogate(raw):
            findings.add("bad_encoding", "", "an escape names half a character (a lone surrogate)")
        else:
            findings.add("malformed_json", "", f"is not valid JSON: {error}")

    @staticmethod
    def _is_text(raw: bytes, max_depth: int, findings: Findings) -> bool:
        try:
            raw.decode()
        except UnicodeDecodeError as error:
            findings.add("bad_encoding", "", f"byte {error.start} of the row is not valid UTF-8")
            return False
        if jsontext.is_too_deep(raw, max_depth):
            findings.add("too_deep", "", f"must not nest deeper than {max_depth}", expected={"max_depth": max_depth})
            return False
        return True


def dump_extras(extras: dict[str, Any]) -> bytes | None:
    """Return unknown members as one JSON object with their exact bytes; None when there are none."""
    if not extras:
        return None
    parts = [
        encode(name) + b":" + (v if isinstance(v, bytes) else dump_extras(v) or b"{}") for name, v in extras.items()
    ]
    return b"{" + b",".join(parts) + b"}"
