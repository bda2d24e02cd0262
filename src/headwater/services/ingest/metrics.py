"""What ingest counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import REGISTRY, Gauge, Histogram

from headwater.engines.journal.protocol import Counts
from headwater.services.kit.metrics import Tally

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

ROWS: Final = Tally(
    "headwater_ingest_rows",
    "Rows by what became of them; code is the first error of a refused row.",
    ("dataset", "principal", "disposition", "code"),
)
BYTES: Final = Tally("headwater_ingest_bytes", "Decompressed bytes of bodies.", ("dataset",))
REGISTRY.register(ROWS)
REGISTRY.register(BYTES)
SECONDS: Final = Histogram(
    "headwater_ingest_phase_seconds", "Time by phase: encode and commit of a group.", ["phase"], buckets=_SECONDS
)
ENCODE_SECONDS: Final = SECONDS.labels("encode")
COMMIT_SECONDS: Final = SECONDS.labels("commit")
GROUP_ROWS: Final = Histogram(
    "headwater_ingest_group_rows", "Rows encoded together.", buckets=(1, 4, 16, 64, 256, 1024, 4096, 16384, 65536)
)
UNSEALED_BYTES: Final = Gauge("headwater_ingest_journal_unsealed_bytes", "Journal bytes that wait to be sealed.")


def count_rows(dataset: str, principal: str, counts: Counts, refused: Mapping[tuple[str, str], int]) -> None:
    """Count the rows of one request; ``refused`` has the refused ones by disposition and first error code."""
    if counts.accepted:
        ROWS.add((dataset, principal, "accepted", ""), counts.accepted)
    if counts.duplicate:
        ROWS.add((dataset, principal, "duplicate", ""), counts.duplicate)
    for (disposition, code), count in refused.items():
        ROWS.add((dataset, principal, disposition, code), count)
