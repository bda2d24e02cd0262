"""What a flag would answer, asked of what is saved: the same functions as in the data plane, with the way there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils import timezone

from headwater.control.flags.checks import specs_of
from headwater.control.orgs.models import Environment
from headwater.core.errors import HeadwaterError
from headwater.core.flags import FlagSpec, Outcome, Passage, compile_flags, trace


@dataclass(frozen=True, slots=True)
class Preview:
    """An answer, and what was looked at before it stood."""

    spec: FlagSpec
    outcome: Outcome
    passages: tuple[Passage, ...]


def preview(environment: Environment, key: str, context: Mapping[str, Any], at: datetime | None = None) -> Preview:
    """Return what ``key`` answers for ``context`` in an environment at an instant (default: now).

    Raises:
        HeadwaterError: ``flag_not_found``; ``invalid_parameter`` for a targeting key that is no text.
    """
    specs = specs_of(environment)
    if key not in specs:
        raise HeadwaterError("flag_not_found", f"there is no flag {key[:100]!r} that is served")
    outcome, passages = trace(compile_flags(specs), key, context, at or timezone.now())
    if outcome.error_code == "INVALID_CONTEXT":
        raise HeadwaterError("invalid_parameter", outcome.detail)
    return Preview(specs[key], outcome, tuple(passages))
