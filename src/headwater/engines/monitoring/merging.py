"""What several spans say together."""

from __future__ import annotations

from collections.abc import Iterable

from headwater.engines.monitoring.layout import Layout
from headwater.engines.monitoring.profile import Profile
from headwater.engines.monitoring.store import HOUR, Span
from headwater.engines.monitoring.traffic import Traffic


def merged_traffic(spans: Iterable[Span]) -> Traffic:
    """Return the traffic of all spans."""
    total = Traffic()
    for span in spans:
        total.merge(Traffic.from_bytes(span.traffic))
    return total


def merged_profile(spans: Iterable[Span], layout: Layout) -> Profile:
    """Return the profile of all spans that counted by ``layout``; others are left out."""
    total = Profile(layout)
    for span in spans:
        if span.counters is not None and span.layout == layout.id:
            total.merge(Profile.load(layout, span.counters))
    return total


def hour_of(spans: list[Span], layout: Layout | None) -> Span:
    """Return spans of one version and hour as one of sixty minutes; counters of other layouts go."""
    first = spans[0]
    profile = None if layout is None else merged_profile(spans, layout)
    has_profile = profile is not None and profile.rows > 0
    return Span(
        environment=first.environment,
        version=first.version,
        minute=first.minute // HOUR * HOUR,
        minutes=HOUR,
        writer="",
        epoch=0,
        traffic=merged_traffic(spans).to_bytes(),
        layout=profile.layout.id if profile is not None and has_profile else "",
        counters=profile.counters() if profile is not None and has_profile else None,
    )
