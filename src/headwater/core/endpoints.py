"""Parts of a SQL endpoint's spec: its result's contract, and how it is cached, limited and shown live."""

from __future__ import annotations

from typing import Literal

from headwater.core.spec import Spec


class ColumnSpec(Spec):
    """A column of an endpoint's result.

    ``type`` is a word of ours (``integer``, ``decimal(18,2)``, ``string[]``, …), which promises what JSON shows, or an
    exact type in DuckDB's words.
    """

    name: str
    type: str


class CacheSpec(Spec):
    """How results are kept: by the versions of the tables they were made of, or not at all.

    While there is no slot for a query, a result that is at most ``stale_seconds`` older may be answered instead.
    ``accelerate`` keeps its tables in the accelerator from the first question on.
    """

    mode: Literal["version", "off"] = "version"
    stale_seconds: float = 0.0
    accelerate: bool = False


class LimitsSpec(Spec):
    """What one key may ask of an endpoint; None of one is no limit of the endpoint's own."""

    requests_per_second: float | None = None
    concurrency: int | None = None
    max_bytes: int | None = None


class LiveSpec(Spec):
    """How often a live result is worked out again at most."""

    min_interval_seconds: float = 1.0


class ColumnOrigin(Spec):
    """A dataset's column that a column of a result is made of."""

    table: str
    column: str


def endpoint_label(name: str, version: int) -> str:
    """Return how a version of an endpoint is called where the bare name would not do: ``daily@2``."""
    return f"{name}@{version}"


def split_label(label: str) -> tuple[str, int | None]:
    """Return the name in a label, and the version it asks for; None where it names none, 0 where that is no number."""
    name, at, version = label.partition("@")
    if not at:
        return name, None
    is_number = version.isascii() and version.isdecimal() and len(version) <= 6 and not version.startswith("0")  # noqa: PLR2004 - more versions than anybody has
    return name, int(version) if is_number else 0
