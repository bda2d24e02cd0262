"""A result as an Excel workbook, row by row into a file beside memory. Text is text: no cell is ever a formula."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import xlsxwriter

from headwater.core.errors import HeadwaterError
from headwater.engines.query.protocol import Column
from headwater.services.query.encoder import PlainEncoder
from headwater.services.query.plain import dump_json, plain_columns

MAX_ROWS: Final = 1_048_575
"""What a sheet holds below its header."""
MAX_COLUMNS: Final = 16_384
MAX_TEXT: Final = 32_767
_EXACT_DIGITS: Final = 15
"""A cell's number is a double."""
_FIRST_DAY: Final = date(1900, 3, 1)
"""Excel counts a day too many before."""
_PIECE_BYTES: Final = 1 << 20
_NEVER: Final = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
    "default_date_format": "yyyy-mm-dd hh:mm:ss",
}


class WorkbookEncoder(PlainEncoder):
    """One sheet; instants are in UTC. Numbers that a double would change are text."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        """Write results of these columns."""
        super().__init__(columns)
        if len(columns) > MAX_COLUMNS:
            raise _too_large(f"{MAX_COLUMNS} columns")
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._book: Any = None
        self._row = 0

    def begin(self, meta: Mapping[str, Any]) -> bytes:
        """Begin the workbook; nothing of it can be sent before its end."""
        self._directory = tempfile.TemporaryDirectory(prefix="headwater-xlsx-", ignore_cleanup_errors=True)
        self._book = xlsxwriter.Workbook(str(self._path), {**_NEVER, "tmpdir": self._directory.name})
        self._sheet = self._book.add_worksheet()
        self._day = self._book.add_format({"num_format": "yyyy-mm-dd"})
        bold = self._book.add_format({"bold": True})
        for number, name in enumerate(self.names):
            self._sheet.write_string(0, number, name[:MAX_TEXT], bold)
        self._sheet.freeze_panes(1, 0)
        self._writers = [self._writer(column) for column in self.columns]
        self._book.set_properties({"title": str(meta.get("endpoint") or meta.get("dataset") or "")})
        return b""

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """Write the rows of a batch."""
        if self._row + batch.num_rows > MAX_ROWS:
            raise _too_large(f"{MAX_ROWS} rows")
        for values in zip(*plain_columns(batch, self.columns), strict=True):
            self._row += 1
            for number, (write, value) in enumerate(zip(self._writers, values, strict=True)):
                if value is not None:
                    write(number, value)
        return b""

    def end(self) -> bytes:
        """Finish the file and return it."""
        content = b"".join(self.finish())
        self.close()
        return content

    def finish(self) -> Iterable[bytes]:
        """Finish the file and return it piece by piece."""
        self._book.close()
        self._book = None
        return self._pieces()

    def close(self) -> None:
        """Remove the file."""
        if self._book is not None:
            self._sheet.row_data_fh.close()
            self._book = None
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    @property
    def _path(self) -> Path:
        assert self._directory is not None, "it began"
        return Path(self._directory.name) / "result.xlsx"

    def _pieces(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece

    def _writer(self, column: Column) -> Callable[[int, Any], None]:
        """Return what writes a value of this column into the current row."""
        is_decimal = column.type.startswith("DECIMAL") and not column.type.endswith("]")

        def write(number: int, value: Any) -> None:
            if is_decimal and isinstance(value, str) and _is_exact(value):
                value = float(value)
            self._write(number, value)

        return write

    def _write(self, number: int, value: Any) -> None:
        if isinstance(value, bool):
            self._sheet.write_boolean(self._row, number, value)
        elif isinstance(value, int | float):
            if value == value and abs(value) != float("inf"):  # noqa: PLR0124 - not a number is unequal to itself
                self._sheet.write_number(self._row, number, value)
        elif isinstance(value, datetime) and value.date() >= _FIRST_DAY:
            self._sheet.write_datetime(self._row, number, value)
        elif isinstance(value, date) and not isinstance(value, datetime) and value >= _FIRST_DAY:
            self._sheet.write_datetime(self._row, number, datetime.combine(value, time()), self._day)
        else:
            text = value if isinstance(value, str) else dump_json(value).decode().strip('"')
            if len(text) > MAX_TEXT:
                raise _too_large(f"{MAX_TEXT} characters in a cell")
            self._sheet.write_string(self._row, number, text)


def _is_exact(number: str) -> bool:
    return len(number.lstrip("-").replace(".", "").lstrip("0")) <= _EXACT_DIGITS


def _too_large(what: str) -> HeadwaterError:
    return HeadwaterError(
        "result_too_large", f"a workbook holds {what}, and the result has more", hint="ask for .csv or .parquet"
    )
