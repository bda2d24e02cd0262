"""A contract compiled into a validator (the protocol of ``contracts.rows``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import pyarrow as pa

from headwater.contracts.assembly import RowColumns
from headwater.contracts.csvtext import split_csv
from headwater.contracts.framing import BOM, SPACE, LineRows, Rows, malformed, split_json
from headwater.contracts.keys import row_keys
from headwater.contracts.model import Contract
from headwater.contracts.reading import Reading, RowReader, is_utf8
from headwater.contracts.record import RowCheck
from headwater.contracts.rows import (
    Columns,
    CsvDialect,
    FieldError,
    Format,
    ReadLimits,
    RowBatch,
    RowFault,
    RowKeys,
    Validator,
)
from headwater.contracts.soundness import require_sound
from headwater.contracts.tabulation import Tabulator
from headwater.core.errors import HeadwaterError

_DIALECT: Final = CsvDialect()
_LIMITS: Final = ReadLimits()


def compile_contract(contract: Contract) -> Validator:
    """Return the validator of a contract.

    Raises:
        HeadwaterError: ``contract_invalid`` with all that is wrong with the contract in ``extra["errors"]``.
    """
    require_sound(contract)
    return CompiledContract(contract)


class CompiledContract:
    """Holds a contract's decoders, checks and columns. Immutable, so threads may share it."""

    def __init__(self, contract: Contract) -> None:
        """Compile a sound contract."""
        self.contract = contract
        self._check = RowCheck(contract.name, contract.fields, captures=contract.on_unknown != "quarantine")
        columns = RowColumns(self._check.struct)
        self._reader = RowReader(contract, self._check, columns)
        self._tabulator = Tabulator(contract, self._check, columns, self._reader.fault)
        self.schema: pa.Schema = self._tabulator.schema
        self.row_type: type[Any] = self._check.struct.type

    def read(
        self, body: bytes, form: Format, *, dialect: CsvDialect = _DIALECT, limits: ReadLimits = _LIMITS
    ) -> RowBatch:
        """Split and decode a decompressed body.

        Raises:
            HeadwaterError: ``empty_body``, ``malformed_body`` (the whole body is not that format), ``too_many_rows``.
        """
        start = len(BOM) if body.startswith(BOM) else 0
        if not body[start:].strip(SPACE):
            raise HeadwaterError("empty_body", hint="Send at least one row.")
        sound = is_utf8(body)
        if form is Format.JSON and sound and (reading := self._read_list(body, start, limits)) is not None:
            return reading
        rows = self._split(body, start, form, dialect, sound=sound)
        if len(rows.texts) > limits.max_rows and isinstance(rows, LineRows):
            rows.drop_blank()
        _require_few(len(rows.texts), limits)
        return self._reader.read(rows, limits, is_utf8=sound or form is Format.CSV)

    def _read_list(self, body: bytes, start: int, limits: ReadLimits) -> RowBatch | None:
        """Return the rows of a list that is as the contract wants it; None to look at them one by one."""
        is_simple = len(body) <= limits.max_row_bytes and limits.max_depth >= _LIMITS.max_depth
        if not is_simple or body[start:].lstrip(SPACE)[:1] != b"[":
            return None
        reading = self._reader.read_list(body, start, limits)
        if reading is not None:
            _require_few(reading.received, limits)
        return reading

    def _split(self, body: bytes, start: int, form: Format, dialect: CsvDialect, *, sound: bool) -> Rows:
        match form:
            case Format.NDJSON:
                return LineRows(body, start)
            case Format.JSON:
                if not sound:
                    raise malformed("the body is not valid UTF-8")
                return split_json(body, start, has_rows_field="rows" in self._check.struct.named)
            case Format.CSV:
                return split_csv(body, start, dialect, self._check.struct)

    def columnise(self, batches: Sequence[RowBatch], received_at_us: Sequence[int]) -> Columns:
        """Turn typed rows into exact Arrow columns; ``received_at_us`` holds one epoch-microsecond instant a batch."""
        return self._tabulator.columnise(cast("Sequence[Reading]", batches), received_at_us)

    def diagnose(self, row: bytes) -> Sequence[FieldError]:
        """Return everything wrong with one JSON row; empty when the contract accepts it."""
        return self._check(row).errors

    def refuse(self, batch: RowBatch, row: int, errors: Sequence[FieldError]) -> RowFault:
        """Return the fault of a row that ``read`` accepted and that is refused for reasons outside the contract."""
        return self._reader.fault(cast("Reading", batch), row, errors)

    def row_keys(self, batch: pa.RecordBatch) -> RowKeys | None:
        """Return keys and digests of accepted rows; None when the contract has no key to deduplicate by."""
        return row_keys(batch, self.contract.dedup.key) if self.contract.dedup is not None else None


def _require_few(count: int, limits: ReadLimits) -> None:
    if count > limits.max_rows:
        raise HeadwaterError(
            "too_many_rows",
            f"the body has {count} rows, more than {limits.max_rows}",
            hint="Split it over several requests.",
            extra={"max_rows": limits.max_rows},
        )
