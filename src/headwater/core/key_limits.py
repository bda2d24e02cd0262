"""What one API key may ask of queries, beside what its grants allow."""

from __future__ import annotations

from pydantic import Field

from headwater.core.spec import Spec


class KeyLimitsSpec(Spec):
    """Bounds on the queries of one key; None of one is no bound of the key's own.

    ``scanned_bytes_per_day`` bounds what its queries read of tables, as estimated from Parquet, by UTC day.
    """

    requests_per_second: float | None = Field(None, gt=0, le=1e6)
    concurrency: int | None = Field(None, ge=1)
    max_rows: int | None = Field(None, ge=1)
    max_bytes: int | None = Field(None, ge=1)
    scanned_bytes_per_day: int | None = Field(None, ge=1)


NO_LIMITS = KeyLimitsSpec()
