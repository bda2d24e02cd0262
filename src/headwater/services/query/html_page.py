"""A result as a page for people: one table, escaped, with a stylesheet of its own and nothing that could run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, Final

import pyarrow as pa

from headwater.engines.query.protocol import Column
from headwater.services.query.encoder import PlainEncoder
from headwater.services.query.plain import dump_json, plain_columns

_STYLE: Final = (
    "body{margin:2rem;font:15px/1.5 system-ui,sans-serif;color:#1c2430;background:#fff}"
    "table{border-collapse:collapse}caption{text-align:left;font-weight:600;font-size:1.2rem;padding-bottom:.75rem}"
    "th,td{padding:.3rem .9rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid #d9dfe7}"
    "th{font-weight:600;position:sticky;top:0;background:#fff}.n{text-align:right;font-variant-numeric:tabular-nums}"
    "i{color:#7a8594}p{color:#55606f}"
    "@media(prefers-color-scheme:dark){body,th{background:#12161c;color:#e6eaf0}th,td{border-color:#2b333e}"
    "p{color:#9aa5b4}}"
)
_STYLE_SHA256: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS: Final = (
    (
        b"content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_SHA256}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; sandbox".encode(),
    ),
    (b"x-content-type-options", b"nosniff"),
)
"""Sent with such a page: it may load nothing and run nothing."""
_NUMBERS: Final = ("DECIMAL", "DOUBLE", "FLOAT", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "U")


class HtmlEncoder(PlainEncoder):
    """One table."""

    def __init__(self, columns: tuple[Column, ...]) -> None:
        """Write results of these columns."""
        super().__init__(columns)
        is_number = [
            column.type.startswith(_NUMBERS) and column.type != "UUID" and not column.type.endswith("]")
            for column in columns
        ]
        self._open = ['<td class="n">' if number else "<td>" for number in is_number]
        self._count = 0

    def begin(self, meta: Mapping[str, Any]) -> bytes:
        """Return the head of the page and of the table."""
        title = escape(str(meta.get("endpoint") or meta.get("dataset") or "Result"))
        heads = "".join(
            f'<th scope="col"{opening[3:-1]}>{escape(name)}</th>'
            for name, opening in zip(self.names, self._open, strict=True)
        )
        return (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
            f'content="width=device-width,initial-scale=1"><title>{title}</title><style>{_STYLE}</style></head><body>'
            f"<table><caption>{title}</caption><thead><tr>{heads}</tr></thead><tbody>\n"
        ).encode()

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """Return the rows of a batch."""
        self._count += batch.num_rows
        rows = zip(*plain_columns(batch, self.columns), strict=True) if self.columns else ()
        return "".join(f"<tr>{self._cells(row)}</tr>\n" for row in rows).encode()

    def _cells(self, row: Iterable[Any]) -> str:
        return "".join(f"{opening}{_cell(value)}</td>" for opening, value in zip(self._open, row, strict=True))

    def end(self) -> bytes:
        """Return the end of the page, which says how many rows there are."""
        return f"</tbody></table><p>{self._count} {'row' if self._count == 1 else 'rows'}</p></body></html>".encode()


def _cell(value: Any) -> str:
    if value is None:
        return "<i>null</i>"
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, bool | int | float):
        return "true" if value is True else "false" if value is False else repr(value)
    return escape(dump_json(value).decode().strip('"'))
