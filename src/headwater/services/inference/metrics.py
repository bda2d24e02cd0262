"""What Prometheus is told of each model version: plain numbers and lists on the hot path, text when asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headwater.services.inference.window import BOUNDS_US

_LABELS: Final = ("environment", "model", "version")
_CODE_LABELS: Final = ("environment", "model", "version", "code")
_CACHE_LABELS: Final = ("environment", "model", "version", "outcome")
_REFUSED_LABELS: Final = ("environment", "model", "code")
_EVERY: Final = 5  # of the latency buckets, one in five is shown: 10, 32, 100, 320 µs …
_BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)


class VersionMetrics:
    """The numbers of one version since the process started."""

    __slots__ = (
        "batch_rows",
        "batches",
        "by_code",
        "cache_hits",
        "cache_misses",
        "latencies",
        "queue_seconds",
        "rows",
        "run_seconds",
        "seconds",
    )

    def __init__(self) -> None:
        """Begin at zero."""
        self.rows = 0
        self.seconds = 0.0
        self.latencies = [0] * (len(BOUNDS_US) + 1)
        self.by_code: dict[str, int] = {}
        self.batches = [0] * (len(_BATCH_BOUNDS) + 1)
        self.batch_rows = 0
        self.queue_seconds = 0.0
        self.run_seconds = 0.0
        self.cache_hits = 0
        self.cache_misses = 0

    def answered(self, bucket: int, seconds: float, rows: int) -> None:
        """Count an answered request."""
        self.latencies[bucket] += 1
        self.seconds += seconds
        self.rows += rows

    def failed(self, code: str) -> None:
        """Count a request that was not answered."""
        self.by_code[code] = self.by_code.get(code, 0) + 1

    def ran(self, rows: int, seconds: float, waited: float) -> None:
        """Count a run of the model: its rows, how long it took, how long its oldest request had waited."""
        # The bounds are powers of two, so the bucket is the number of bits of what is below the count.
        self.batches[min((rows - 1).bit_length(), len(_BATCH_BOUNDS))] += 1
        self.batch_rows += rows
        self.run_seconds += seconds
        self.queue_seconds += waited


_Version = tuple[tuple[str, str, str], VersionMetrics]


class InferenceMetrics(Collector):
    """The numbers of all versions; those of a version that is served again go on."""

    def __init__(self) -> None:
        """Begin without versions."""
        self._versions: dict[tuple[str, str, int], VersionMetrics] = {}
        self._refused: dict[tuple[str, str, str], int] = {}
        self.shadows_dropped: dict[tuple[str, str, int], int] = {}

    def version(self, environment: str, model: str, number: int) -> VersionMetrics:
        """Return the numbers of a version. May be called from any thread."""
        return self._versions.setdefault((environment, model, number), VersionMetrics())

    def refused(self, environment: str, model: str, code: str) -> None:
        """Count a request that was refused before a version was chosen."""
        key = (environment, model, code)
        self._refused[key] = self._refused.get(key, 0) + 1

    def shadow_dropped(self, environment: str, model: str, number: int) -> None:
        """Count a request that a shadow had no time for."""
        key = (environment, model, number)
        self.shadows_dropped[key] = self.shadows_dropped.get(key, 0) + 1

    def collect(self) -> Iterable[Metric]:
        """Return everything for Prometheus."""
        versions = [((a, b, str(c)), metrics) for (a, b, c), metrics in list(self._versions.items())]
        return [*_histograms(versions), *_counters(versions), *self._refusals()]

    def _refusals(self) -> Iterator[Metric]:
        yield _filled(
            CounterMetricFamily(
                "headwater_inference_refused",
                "Requests that were refused before a version was chosen, by code.",
                labels=_REFUSED_LABELS,
            ),
            list(self._refused.items()),
        )
        yield _filled(
            CounterMetricFamily(
                "headwater_inference_shadow_dropped",
                "Requests that a shadow version had no time for.",
                labels=_LABELS,
            ),
            [((a, b, str(c)), count) for (a, b, c), count in list(self.shadows_dropped.items())],
        )


def _histograms(versions: Sequence[_Version]) -> Iterator[Metric]:
    seconds = HistogramMetricFamily(
        "headwater_inference_request_seconds",
        "Time from the first look at a request to its reply, by version.",
        labels=_LABELS,
    )
    rows = HistogramMetricFamily("headwater_inference_batch_rows", "Rows of a run of the model.", labels=_LABELS)
    for labels, found in versions:
        seconds.add_metric(list(labels), _cumulated(found.latencies, _EVERY), sum_value=found.seconds)
        rows.add_metric(list(labels), _batches(found.batches), sum_value=found.batch_rows)
    yield seconds
    yield rows


def _counters(versions: Sequence[_Version]) -> Iterator[Metric]:
    yield _filled(
        CounterMetricFamily("headwater_inference_rows", "Rows predicted.", labels=_LABELS),
        [(labels, found.rows) for labels, found in versions],
    )
    yield _filled(
        CounterMetricFamily("headwater_inference_run_seconds", "Time that the model ran.", labels=_LABELS),
        [(labels, found.run_seconds) for labels, found in versions],
    )
    yield _filled(
        CounterMetricFamily(
            "headwater_inference_queue_seconds", "Time that the oldest request of each run had waited.", labels=_LABELS
        ),
        [(labels, found.queue_seconds) for labels, found in versions],
    )
    yield _filled(
        CounterMetricFamily(
            "headwater_inference_errors", "Requests that were not answered, by code.", labels=_CODE_LABELS
        ),
        [((*labels, code), count) for labels, found in versions for code, count in list(found.by_code.items())],
    )
    yield _filled(
        CounterMetricFamily(
            "headwater_inference_cache", "Requests by what the response cache had for them.", labels=_CACHE_LABELS
        ),
        [
            ((*labels, outcome), count)
            for labels, found in versions
            if found.cache_hits or found.cache_misses
            for outcome, count in (("hit", found.cache_hits), ("miss", found.cache_misses))
        ],
    )


def _filled(family: CounterMetricFamily, samples: Iterable[tuple[tuple[str, ...], float]]) -> CounterMetricFamily:
    for labels, amount in samples:
        family.add_metric(list(labels), amount)
    return family


def _cumulated(counts: Sequence[int], every: int) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for at, count in enumerate(counts):
        total += count
        if at == len(counts) - 1:
            buckets.append(("+Inf", total))
        elif at % every == 0:
            buckets.append((repr(BOUNDS_US[at] / 1e6), total))
    return buckets


def _batches(counts: Sequence[int]) -> list[tuple[str, float]]:
    buckets: list[tuple[str, float]] = []
    total = 0
    for bound, count in zip((*_BATCH_BOUNDS, None), counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound is None else str(bound), total))
    return buckets
