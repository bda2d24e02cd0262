"""What a logged exposure looks like: one row of the dataset ``flag_exposures``."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

EXPOSURE_SCHEMA: Final = pa.schema(
    [
        ("flag", pa.string()),
        ("variant", pa.string()),
        ("targeting_key", pa.string()),
        ("reason", pa.string()),  # null where the application reported it
        ("rule", pa.int64()),  # from 1; null where no rule decided
        ("flag_revision", pa.int64()),
        ("exposed_at", pa.timestamp("us", "UTC")),
        ("principal_id", pa.string()),
    ]
)
"""The columns of ``flag_exposures``: who saw which variant first in an hour."""
