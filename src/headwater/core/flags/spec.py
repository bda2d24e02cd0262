"""What travels of a flag in a snapshot."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, Literal

from headwater.core.spec import Spec

KEY_PATTERN: Final = r"^[a-z][a-z0-9]*(?:[._-][a-z0-9]+)*$"
MAX_KEY_LENGTH: Final = 100
WHOLE_BPS: Final = 10_000
ValueType = Literal["boolean", "string", "integer", "number", "object"]
VALUE_TYPES: Final = ("boolean", "string", "integer", "number", "object")


class PrerequisiteSpec(Spec):
    """Another flag that must answer one of ``variants`` for the same context."""

    flag: str
    variants: tuple[str, ...]


class WeightSpec(Spec):
    """A variant's part of a split, in basis points."""

    variant: str
    weight_bps: int


class StepSpec(Spec):
    """From this instant on, a rule's share is this."""

    at: datetime
    share_bps: int


class RuleSpec(Spec):
    """Who gets what. Whoever the rule does not reach goes on to the next one.

    ``when`` is an expression over the context; empty reaches everybody. Of those, ``share_bps`` are in, and from the
    instants of ``steps`` on their shares. They get ``variant``, or one of ``split``, whose weights sum to 10,000.
    """

    when: str = ""
    variant: str | None = None
    split: tuple[WeightSpec, ...] = ()
    share_bps: int = WHOLE_BPS
    steps: tuple[StepSpec, ...] = ()
    description: str = ""


class FlagSpec(Spec):
    """A flag as one environment serves it.

    Without ``enabled``, outside ``enabled_from`` to ``enabled_until`` and while a prerequisite does not hold it answers
    ``off_variant``; where no rule reaches, ``default_variant``. ``salt`` decides who is in a share.
    """

    id: str
    key: str
    type: ValueType
    variants: dict[str, Any]
    default_variant: str
    off_variant: str
    enabled: bool = False
    rules: tuple[RuleSpec, ...] = ()
    prerequisites: tuple[PrerequisiteSpec, ...] = ()
    enabled_from: datetime | None = None
    enabled_until: datetime | None = None
    salt: str
    exposures: bool = False
    revision: int = 1
    description: str = ""
