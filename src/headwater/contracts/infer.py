"""A first contract for rows that somebody has: what the validator itself says that the values are.

No types are guessed from looking at text. Every field is tried with the narrowest type first, by the very validator
that will judge the rows later, and gets a wider one until all values pass. So the rows of the sample pass the result,
and what ``00501`` or ``2026-02-30`` is, is decided in one place only.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from headwater.contracts.model import Contract, Dedup, Field, LogicalType
from headwater.contracts.rows import Columns, CsvDialect, FieldError, Format
from headwater.contracts.validate import compile_contract
from headwater.core.errors import HeadwaterError

_BOM: Final = "\ufeff"
#: Narrow before wide. A timestamp without an offset is taken for UTC only where no other reading is left.
_LADDER: Final[tuple[dict[str, Any], ...]] = (
    {"type": LogicalType.INTEGER},
    {"type": LogicalType.NUMBER},
    {"type": LogicalType.BOOLEAN},
    {"type": LogicalType.DATE},
    {"type": LogicalType.TIMESTAMP},
    {"type": LogicalType.TIMESTAMP, "default_timezone": "UTC"},
    {"type": LogicalType.UUID},
    {"type": LogicalType.STRING},
    {"type": LogicalType.JSON},
)
#: A row's fault names at most 20 errors; in groups smaller than that, none hides another.
_GROUP: Final = 16
#: A contract of one field that no row has: all else is unknown to it.
_NOTHING: Final = Contract("nothing", "1.0.0", (Field("no_such_field", LogicalType.JSON, required=False),))
_DIALECT: Final = CsvDialect()
_FIRST_ROWS: Final = 200
_ABSENT: Final = frozenset({"missing_field", "null_not_allowed"})
_KEY: Final = re.compile(r"id|uuid|key", re.IGNORECASE)
_KEY_TYPES: Final = frozenset({LogicalType.INTEGER, LogicalType.STRING, LogicalType.UUID})


@dataclass(frozen=True, slots=True)
class _Sample:
    body: bytes
    form: Format
    dialect: CsvDialect

    def judge(self, contract: Contract) -> Columns:
        """Return the rows that ``contract`` takes, and what it says of the others."""
        validator = compile_contract(contract)
        return validator.columnise([validator.read(self.body, self.form, dialect=self.dialect)], [0])

    def begin(self) -> _Sample:
        """Return the first rows, or all of them where these cannot be told apart without reading them.

        Naming all that is wrong with a row takes its time, so types are narrowed down on these.
        """
        lines = self.body.split(b"\n", _FIRST_ROWS)
        first = _Sample(b"\n".join(lines[:_FIRST_ROWS]) + b"\n", self.form, self.dialect)
        try:
            first.judge(_NOTHING)
        except HeadwaterError:
            return self
        return first


@dataclass(frozen=True, slots=True)
class Inference:
    """A contract that every row of the sample fits, and what a person should look at before trusting it."""

    contract: Contract
    rows: int
    notes: tuple[str, ...]


def infer_contract(body: bytes, form: Format, *, name: str, dialect: CsvDialect = _DIALECT) -> Inference:
    """Return a contract for the rows of ``body``.

    Args:
        body: a sample, up to the limits of one request.
        form: its format.
        name: the dataset's.
        dialect: how a CSV body is written.

    Raises:
        HeadwaterError: ``malformed_body`` or ``empty_body`` as reading raises them; ``contract_invalid`` when there are
            no fields, or rows that no contract fits.
    """
    sample = _Sample(body, form, dialect)
    names = _column_names(sample)
    if not names:
        raise HeadwaterError("contract_invalid", "the sample has no fields")
    named = _named(names)
    groups = [named[start : start + _GROUP] for start in range(0, len(named), _GROUP)]
    fields = [field for group in groups for field in _infer(sample, group)]
    contract = Contract(name, "1.0.0", tuple(fields), on_unknown="quarantine")
    columns = sample.judge(contract)
    for fault in columns.faults[0]:
        error = fault.errors[0]
        raise HeadwaterError("contract_invalid", f"row {fault.row}: {error.path or 'it'} {error.message}")
    key = _find_key(contract, columns.batch)
    if key is not None:
        contract = replace(contract, dedup=Dedup((key,), on_conflict="quarantine"))
    return Inference(contract, columns.batch.num_rows, tuple(_notes(contract, key)))


def _column_names(sample: _Sample) -> list[str]:
    """Return the names of columns, or of the members of all rows, in the order of their first appearance."""
    if sample.form is Format.CSV:
        text = sample.body.decode("utf-8", errors="replace").removeprefix(_BOM)
        return next(csv.reader(io.StringIO(text), delimiter=sample.dialect.delimiter), [])
    # What is unknown is kept, and names the rest.
    found: dict[str, None] = {}
    for text in sample.judge(_NOTHING).batch.column("_extra").drop_null().to_pylist():
        found.update(dict.fromkeys(msgspec.json.decode(text)))
    return list(found)


def _named(names: Iterable[str]) -> list[Field]:
    """Return a field for every column, under a name that a contract may have; the column's own is an alias then."""
    fields: list[Field] = []
    taken: set[str] = set()
    for column in names:
        name = re.sub(r"\W+", "_", column, flags=re.ASCII).strip("_") or "field"
        if not name[0].isalpha():
            name = f"field_{name}"
        free, count = name[:120], 2
        while free.lower() in taken:
            free, count = f"{name[:120]}_{count}", count + 1
        taken.add(free.lower())
        aliases = () if free == column else (column,)
        fields.append(Field(free, LogicalType.STRING, required=False, nullable=True, aliases=aliases))
    return fields


def _infer(sample: _Sample, fields: list[Field]) -> list[Field]:
    """Return ``fields`` with the narrowest types that all values have, required where nothing is absent."""
    rungs = dict.fromkeys((field.name for field in fields), 0)
    tried = fields
    for rows in (sample.begin(), sample):
        while True:
            tried = [replace(field, **_LADDER[rungs[field.name]]) for field in fields]
            refused = {_member(error) for error in _errors(rows, tried)} & rungs.keys()
            if not refused:
                break
            for name in refused:
                if rungs[name] == len(_LADDER) - 1:
                    raise HeadwaterError("contract_invalid", f"no type fits all values of {name!r}")
                rungs[name] += 1
    strict = [replace(field, required=True, nullable=False) for field in tried]
    absent: dict[str, list[str]] = {}
    for error in _errors(sample, strict):
        if error.code in _ABSENT:
            absent.setdefault(_member(error), []).append(error.code)
    received = sample.judge(_alone(tried)).batch.num_rows
    return [_settled(field, absent.get(field.name, []), received) for field in tried]


def _settled(field: Field, absent: Sequence[str], received: int) -> Field:
    if len(absent) == received:
        # Nothing is known of the values: text takes whatever comes.
        return replace(field, type=LogicalType.STRING, default_timezone=None, required=False, nullable=True)
    return replace(field, required="missing_field" not in absent, nullable="null_not_allowed" in absent)


def _errors(sample: _Sample, fields: Sequence[Field]) -> list[FieldError]:
    """Return everything that a contract of these fields alone finds wrong with the rows."""
    return [error for fault in sample.judge(_alone(fields)).faults[0] for error in fault.errors]


def _alone(fields: Sequence[Field]) -> Contract:
    return Contract("sample", "1.0.0", tuple(fields), on_unknown="drop")


def _member(error: FieldError) -> str:
    """Return the row's member that an error is about."""
    return error.path.split("/")[1] if error.path else ""


def _find_key(contract: Contract, batch: pa.RecordBatch) -> str | None:
    """Return the first field that is called like a key and whose values are all there and all different."""
    wanted = [f for f in contract.fields if f.required and not f.nullable and f.type in _KEY_TYPES]
    named = [f.name for f in wanted if _KEY.fullmatch(f.name) or f.name.lower() == f"{contract.name.rstrip('s')}_id"]
    for name in named:
        if batch.num_rows > 1 and pc.count_distinct(batch.column(name)).as_py() == batch.num_rows:
            return name
    return None


def _notes(contract: Contract, key: str | None) -> Iterable[str]:
    if key is not None:
        yield f"{key} looks like a key: a second row with the same one counts as a duplicate"
    for field in contract.fields:
        if field.default_timezone is not None:
            yield f"{field.name} has no offset and is taken for UTC"
        if field.aliases:
            yield f"the column {field.aliases[0]!r} is the field {field.name}"
        if field.type is LogicalType.JSON:
            yield f"{field.name} has values of several shapes; JSON takes them all"
