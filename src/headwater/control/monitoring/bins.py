"""The bins of a field by name, with what share of the reference and of the newest values lies in each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from headwater.control.monitoring.report import FieldReport
from headwater.engines.monitoring.layout import is_single

CATEGORIES_DRAWN: Final = 8
_LONGEST: Final = 80
_UNPRINTABLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)


def bars_of(field: FieldReport) -> list[dict[str, Any]]:
    """Return two bars for each bin: ``bin``, ``share`` and ``whose``, the reference's or now."""
    return _number_bars(field) if field.kind == "number" else _category_bars(field)


def printable(text: str) -> str:
    """Return a text without what XML does not take and what cannot be seen."""
    return _UNPRINTABLE.sub("�", text)


def shown(text: str) -> str:
    """Return a text from outside as it may stand in a drawing: printable, not endless, and not nothing."""
    return printable(text)[:_LONGEST] or "(empty)"


def _number_bars(field: FieldReport) -> list[dict[str, Any]]:
    edges = field.reference.bins
    names = [f"<{edges[0]:.4g}" if edges else "any", *_lower_edges(edges)]
    if edges:
        names[-1] = f">{field.reference.max:.4g}" if field.reference.max is not None else f"≥{edges[-1]:.4g}"
    # Bins that read the same are two all the same.
    names = [name + "\N{ZERO WIDTH SPACE}" * names[:at].count(name) for at, name in enumerate(names)]
    return _pairs(names, field.reference.share, field.current.share)


def _lower_edges(edges: Sequence[float]) -> Iterator[str]:
    """Yield the name of the bin behind each edge; one behind a value that has a bin to itself begins beyond that."""
    for before, edge in zip([None, *edges], edges, strict=False):
        yield f">{before:.4g}" if before is not None and is_single(before, edge) else f"{edge:.4g}"


def _category_bars(field: FieldReport) -> list[dict[str, Any]]:
    names = [*(shown(name) for name in field.reference.categories), "others"]
    pairs = list(_padded(names, field.reference.share, field.current.share))
    ranked = sorted(pairs[:-1], key=lambda pair: -max(pair[1:]))
    kept = ranked[: CATEGORIES_DRAWN - 1] if len(ranked) >= CATEGORIES_DRAWN else ranked
    rest = [*ranked[len(kept) :], *pairs[-1:]]
    others = ("others", sum(pair[1] for pair in rest), sum(pair[2] for pair in rest))
    drawn = [*kept, *([others] if others[1] or others[2] else [])]
    return _pairs([pair[0] for pair in drawn], [pair[1] for pair in drawn], [pair[2] for pair in drawn])


def _padded(
    names: Sequence[str], reference: Sequence[float], current: Sequence[float]
) -> list[tuple[str, float, float]]:
    def at(shares: Sequence[float], place: int) -> float:
        return shares[place] if place < len(shares) else 0.0

    return [(name, at(reference, place), at(current, place)) for place, name in enumerate(names)]


def _pairs(names: Sequence[str], reference: Sequence[float], current: Sequence[float]) -> list[dict[str, Any]]:
    return [
        {"bin": name, "share": share, "whose": whose}
        for name, expected, found in _padded(names, reference, current)
        for whose, share in (("reference", expected), ("now", found))
    ]
