"""What a logged answer to a query looks like: one row of the dataset ``query_log``."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

QUERY_KINDS: Final = ("endpoint", "rows", "sql", "live")
QUERY_LOG_SCHEMA: Final = pa.schema(
    [
        ("kind", pa.string()),  # one of QUERY_KINDS
        ("name", pa.string()),  # of the endpoint or the dataset; null for sql
        ("revision", pa.int64()),
        ("principal_id", pa.string()),
        ("principal_label", pa.string()),
        ("key_id", pa.string()),
        ("parameters", pa.string()),  # a digest, or JSON
        ("policy", pa.string()),
        ("source", pa.string()),  # not_modified, memory, shared, stale, accelerator, parquet, worker; null for an error
        ("status", pa.int64()),
        ("code", pa.string()),  # of the problem; null for an answer
        ("answers", pa.int64()),  # alike, from the same instant on; times are their mean
        ("rows", pa.int64()),
        ("bytes_out", pa.int64()),
        ("bytes_scanned", pa.int64()),  # as estimated from Parquet
        ("queue_ms", pa.float64()),
        ("query_ms", pa.float64()),
        ("total_ms", pa.float64()),
        ("answered_at", pa.timestamp("us", "UTC")),
    ]
)
"""The columns of ``query_log``: who asked what, what it cost and where the answer came from."""
