"""Numbers about requests, kept in plain dictionaries on the hot path and turned into Prometheus text when asked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from headwater.services.kit.configuration import EnvironmentStatus

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_BOUNDS_SECONDS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LABELS: Final = ("method", "route", "status")


class RequestMetrics(Collector):
    """Counts and durations of requests by method, route template and status. Used from one event loop."""

    def __init__(self) -> None:
        """Start at zero."""
        self._series: dict[tuple[str, str, int], list[float]] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        series = self._series.get((method, route, status))
        if series is None:
            # One count a bucket, the last for everything slower, and the sum of seconds behind them.
            series = self._series[method, route, status] = [0.0] * (len(_BOUNDS_SECONDS) + 2)
        series[bisect_left(_BOUNDS_SECONDS, seconds)] += 1
        series[-1] += seconds

    def collect(self) -> Iterable[Metric]:
        """Return the histogram for Prometheus."""
        family = HistogramMetricFamily(
            "headwater_services_request_seconds", "Duration of requests by route and status.", labels=_LABELS
        )
        for (method, route, status), series in list(self._series.items()):
            total = 0.0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*_BOUNDS_SECONDS, None), series[:-1], strict=True):
                total += count
                buckets.append(("+Inf" if bound is None else str(bound), total))
            family.add_metric([method, route, str(status)], buckets, sum_value=series[-1])
        yield family


class ConfigurationMetrics(Collector):
    """Which configuration is in force, how old control's last word is, and whether something was refused."""

    def __init__(self, statuses: Callable[[], Iterable[EnvironmentStatus]]) -> None:
        """Read from ``statuses`` when asked."""
        self._statuses = statuses

    def collect(self) -> Iterable[Metric]:
        """Return the gauges for Prometheus."""
        age = GaugeMetricFamily(
            "headwater_services_config_age_seconds", "Seconds since control last confirmed.", labels=["environment"]
        )
        number = GaugeMetricFamily(
            "headwater_services_config_number", "Number of the snapshot in force.", labels=["environment"]
        )
        refused = GaugeMetricFamily(
            "headwater_services_config_refused", "1 while a newer snapshot is refused.", labels=["environment"]
        )
        for status in self._statuses():
            if status.number is not None and status.config_age_seconds is not None:
                age.add_metric([status.id], status.config_age_seconds)
                number.add_metric([status.id], status.number)
            refused.add_metric([status.id], 1.0 if status.error else 0.0)
        return (age, number, refused)


class Tally(Collector):
    """Counters with one set of labels, cheap enough for a hot path: ``tally.add(("flights", "accepted"), 100)``."""

    def __init__(self, name: str, documentation: str, labels: tuple[str, ...]) -> None:
        """Name the metric, without the ``_total`` that Prometheus text adds."""
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._counts: dict[tuple[str, ...], float] = {}

    def add(self, labels: tuple[str, ...], amount: float = 1) -> None:
        """Count ``amount`` more."""
        self._counts[labels] = self._counts.get(labels, 0) + amount

    def value(self, labels: tuple[str, ...]) -> float:
        """Return the count so far."""
        return self._counts.get(labels, 0)

    def collect(self) -> Iterable[Metric]:
        """Return the counter for Prometheus."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, count in list(self._counts.items()):
            family.add_metric(list(labels), count)
        yield family


def render(registry: CollectorRegistry) -> bytes:
    """Return the Prometheus text of a registry."""
    return generate_latest(registry)
