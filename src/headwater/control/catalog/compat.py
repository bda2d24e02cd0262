"""What changes between two versions of a contract, and which changes break producers or readers.

Compatibility is computed on the declared fields; what becomes of unknown fields is a separate policy. A breaking
change needs a new major version, because rows written under the same major version are read together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from headwater.contracts.model import Constraints, Contract, Field
from headwater.core.errors import HeadwaterError

_LOWER: Final = ("ge", "gt", "min_length", "min_items")
_UPPER: Final = ("le", "lt", "max_length", "max_items")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: where (dotted field path), what in plain words, and whether it breaks."""

    path: str
    summary: str
    breaking: bool = False

    def __str__(self) -> str:
        """Return the change as one line."""
        return f"{self.path}: {self.summary}" if self.path else self.summary


def compare_contracts(old: Contract, new: Contract) -> tuple[Change, ...]:
    """Return every difference that matters to producers or readers, fields first, in the order of declaration."""
    return (*_compare_fields(old.fields, new.fields, prefix=""), *_compare_policies(old, new))


def check_storable(earlier: Iterable[Contract], new: Contract) -> None:
    """Refuse a contract whose columns the dataset's table cannot hold beside those of earlier versions.

    A table keeps the rows of every version, and a column keeps its type for good: no major version changes that.

    Raises:
        HeadwaterError: ``contract_invalid`` naming the column, with the cure.
    """
    from headwater.contracts.types import arrow_schema  # noqa: PLC0415 - Arrow is heavy and few requests need it
    from headwater.engines.lake.columns import merged, table_schema  # noqa: PLC0415

    schema = table_schema(arrow_schema(new))
    for contract in earlier:
        try:
            merged(table_schema(arrow_schema(contract)), schema)
        except HeadwaterError as error:
            raise HeadwaterError(
                "contract_invalid",
                f"{new.name} {new.version} does not fit the table that holds the rows of {contract.version}: "
                f"{error.detail}",
                hint="give the changed column a new name, for instance with _v2 behind it; the old one stays readable",
            ) from error


def major(version: str) -> str:
    """Return the major part of a version such as ``2.1`` or ``2.1.0``."""
    return version.partition(".")[0]


def version_order(version: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key that sorts ``1.10`` after ``1.9``; parts that are no numbers sort after numbers, as text."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in version.split("."))


def _compare_fields(old: tuple[Field, ...], new: tuple[Field, ...], *, prefix: str) -> Iterator[Change]:
    before = {field.name: field for field in old}
    after = {field.name: field for field in new}
    renamed = {alias: field.name for field in new for alias in field.aliases}
    for name, field in before.items():
        path = prefix + name
        if name in after:
            yield from _compare_field(field, after[name], path)
        elif name in renamed:
            yield Change(path, f"renamed to {renamed[name]!r}, still accepted under the old name", breaking=True)
        else:
            yield Change(path, "removed", breaking=field.required)
    for name, field in after.items():
        if name not in before and not any(alias in before for alias in field.aliases):
            needed = field.required and not field.has_default
            yield Change(prefix + name, "added as required" if needed else "added", breaking=needed)


def _compare_field(old: Field, new: Field, path: str) -> Iterator[Change]:
    if old.type is not new.type:
        yield Change(path, f"type changed from {old.type} to {new.type}", breaking=True)
        return
    if (old.precision, old.scale) != (new.precision, new.scale):
        yield Change(path, f"decimal({old.precision},{old.scale}) became decimal({new.precision},{new.scale})", True)
    if old.required != new.required:
        yield Change(path, "became required" if new.required else "became optional", new.required)
    if old.nullable != new.nullable:
        yield Change(path, "accepts null" if new.nullable else "no longer accepts null", not new.nullable)
    if old.has_default and not new.has_default and new.required:
        yield Change(path, "lost its default", breaking=True)
    if old.classification != new.classification:
        yield Change(path, f"classification changed from {old.classification} to {new.classification}")
    yield from _compare_constraints(old.constraints, new.constraints, path)
    if old.items is not None and new.items is not None:
        yield from _compare_field(old.items, new.items, f"{path}[]")
    yield from _compare_fields(old.fields, new.fields, prefix=f"{path}.")


def _compare_constraints(old: Constraints, new: Constraints, path: str) -> Iterator[Change]:
    for item in fields(Constraints):
        before, after = getattr(old, item.name), getattr(new, item.name)
        if before != after:
            tighter = _is_tighter(item.name, before, after)
            yield Change(path, f"{item.name} {'tightened' if tighter else 'relaxed'}: {before!r} to {after!r}", tighter)


def _is_tighter(name: str, before: Any, after: Any) -> bool:
    """Return whether values that passed before may fail now."""
    if after is None or after is False:
        return False
    if before is None or before is False:
        return True
    if name in _LOWER:
        return bool(after > before)
    if name in _UPPER:
        return bool(after < before)
    if name == "enum":
        return not set(map(repr, before)) <= set(map(repr, after))
    return True


def _compare_policies(old: Contract, new: Contract) -> Iterator[Change]:
    policies: Mapping[str, bool] = {"dedup": True, "event_time": True, "on_unknown": False, "on_error": False}
    for name, breaking in policies.items():
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Change("", f"{name} changed from {_plain(before)} to {_plain(after)}", breaking)


def _plain(value: Any) -> str:
    key = getattr(value, "key", None)
    return f"the key ({', '.join(key)})" if key else "none" if value is None else repr(value)
