"""What the accelerator does, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headwater.engines.query.accelerator.tier import Accelerator

_EVENTS: Final = ("answered", "missed", "fell_back", "built", "build_failed", "outdated", "damaged")


class AcceleratorMetrics(Collector):
    """Questions by whether the accelerator had the tables, and what became of its files."""

    def __init__(self, accelerator: Accelerator | None) -> None:
        """Read from ``accelerator`` when asked; None: all zero."""
        self._accelerator = accelerator

    def collect(self) -> Iterable[Metric]:
        """Return the metrics for Prometheus."""
        events = CounterMetricFamily(
            "headwater_query_accelerator_events",
            "Queries that the accelerator answered, missed or gave back to Parquet; files built, failed, let go.",
            labels=["event"],
        )
        stats = {"files": 0, "bytes": 0} if self._accelerator is None else self._accelerator.stats()
        for event in _EVENTS:
            events.add_metric([event], 0 if self._accelerator is None else self._accelerator.counts[event])
        files = GaugeMetricFamily("headwater_query_accelerator_files", "Files in use.", value=stats["files"])
        size = GaugeMetricFamily(
            "headwater_query_accelerator_bytes", "Bytes of the files in use.", value=stats["bytes"]
        )
        return events, files, size
