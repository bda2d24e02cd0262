"""The data contract: what a dataset's rows look like and what happens to those that do not.

Everything here is frozen and plain, so a contract can be compared, hashed into a revision and carried in a snapshot
(``contracts.spec``). ``contracts.odcs`` reads and writes the Open Data Contract Standard.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Literal

MAX_FIELDS: Final = 2_048
PRECISION: Final = 38
SCALE: Final = 9


class LogicalType(StrEnum):
    """The logical types of ``ingest.md`` §12; ``contracts.types`` maps them to Arrow and SQL."""

    INTEGER = "integer"
    NUMBER = "number"
    DECIMAL = "decimal"
    BOOLEAN = "boolean"
    STRING = "string"
    TIMESTAMP = "timestamp"
    DATE = "date"
    TIME = "time"
    UUID = "uuid"
    BINARY = "binary"
    JSON = "json"
    ARRAY = "array"
    STRUCT = "struct"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class Constraints:
    """Bounds on a value; None means unbounded. Patterns match the whole text.

    The bounds of dates, times and timestamps are text in the form that their values have. ``format`` of a ``json``
    field is ``object``, ``array`` or nothing; of a ``timestamp`` it may be ``epoch_s``, ``epoch_ms`` or ``epoch_us``.
    """

    ge: int | float | str | None = None
    gt: int | float | str | None = None
    le: int | float | str | None = None
    lt: int | float | str | None = None
    multiple_of: int | float | None = None
    min_length: int | None = None
    max_length: int | None = None
    pattern: str | None = None
    format: str | None = None
    enum: tuple[Any, ...] | None = None
    min_items: int | None = None
    max_items: int | None = None
    unique_items: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a row, or of a struct.

    Attributes:
        required: the field must be present (a default fills it in).
        nullable: an explicit null is a value.
        default: what an absent field becomes; only meaningful with ``has_default``.
        precision: digits of a decimal, at most 38; ``scale`` of them behind the point.
        items: the element of an array, or the value of a map.
        fields: the members of a struct.
        aliases: other names that producers use for this field.
        classification: anything but ``public`` keeps the value out of error messages.
        coerce: ``lenient`` accepts ``"1"`` for an integer and the like; the default never does.
        default_timezone: the zone of timestamps that come without an offset (an IANA name), else they are refused.
        rest: JSON text of what the field's ODCS form says beyond this model, kept so that nothing is lost on export.
    """

    name: str
    type: LogicalType
    required: bool = True
    nullable: bool = False
    has_default: bool = False
    default: Any = None
    description: str = ""
    constraints: Constraints = Constraints()
    precision: int = PRECISION
    scale: int = SCALE
    items: Field | None = None
    fields: tuple[Field, ...] = ()
    aliases: tuple[str, ...] = ()
    classification: str = "public"
    coerce: Literal["lossless", "lenient"] = "lossless"
    default_timezone: str | None = None
    rest: str = ""


@dataclass(frozen=True, slots=True)
class Dedup:
    """Rows with the key of an earlier row are duplicates; ``on_conflict`` is about those with other content."""

    key: tuple[str, ...]
    on_conflict: Literal["ignore", "quarantine"] = "ignore"
    within: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Lateness:
    """What becomes of events that are older, or further in the future, than expected."""

    on_time: timedelta = timedelta(hours=1)
    allowed: timedelta | None = None
    late_action: Literal["accept", "quarantine", "reject"] = "accept"
    max_skew: timedelta | None = timedelta(minutes=10)
    future_action: Literal["accept", "quarantine", "reject"] = "quarantine"


@dataclass(frozen=True, slots=True)
class Contract:
    """One version of a dataset's contract. ``rest`` is JSON text of what its ODCS form says beyond this model."""

    name: str
    version: str
    fields: tuple[Field, ...]
    description: str = ""
    on_unknown: Literal["capture", "quarantine", "drop"] = "capture"
    on_error: Literal["quarantine", "reject_row", "reject_batch"] = "quarantine"
    dedup: Dedup | None = None
    event_time: str | None = None
    lateness: Lateness = Lateness()
    protected: bool = False
    require_idempotency_key: bool = False
    quarantine_retention: timedelta | None = timedelta(days=30)
    store_raw: bool = True
    rest: str = ""
