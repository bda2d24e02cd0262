"""What a flag can answer, and about whom it is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from headwater.core.flags.attributes import Frame
from headwater.core.flags.spec import WHOLE_BPS

TARGETING_KEY: Final = "targetingKey"


class Reason(StrEnum):
    """Why a flag answers what it answers, in OpenFeature's words."""

    STATIC = "STATIC"
    DEFAULT = "DEFAULT"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    DISABLED = "DISABLED"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """An answer; a flag has few, made once. ``rule`` is the number, from 0, of the rule that decided.

    An answer with an ``error_code`` (OpenFeature's) has no value and no variant.
    """

    key: str
    reason: Reason
    value: Any = None
    variant: str | None = None
    rule: int | None = None
    error_code: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a flag is asked about: the targeting key in UTF-8, None without one, and what each frame reads."""

    key: bytes | None
    rows: Sequence[Mapping[str, Any]]


class InvalidContext(ValueError):
    """The context cannot be used; the message says why."""


def read_subject(context: Mapping[str, Any], frames: Sequence[Frame]) -> Subject:
    """Return the subject of a context; raises ``InvalidContext`` for a targeting key that is no text."""
    key = context.get(TARGETING_KEY)
    if key is not None and type(key) is not str:
        raise InvalidContext(f"{TARGETING_KEY} is a {type(key).__name__}, and a string is needed")
    return Subject(encode(key) if key else None, [frame.read(context) for frame in frames])


def encode(text: str) -> bytes:
    """Return a text in UTF-8; a lone surrogate, which JSON can bring, has none, and still gets an answer."""
    return text.encode("utf-8", "surrogatepass")


def draw(seed: bytes, key: bytes) -> tuple[int, int]:
    """Return position and place, each from 0 to 9,999, as the package describes them; ``seed`` is ``<salt>:``."""
    digest = hashlib.sha256(seed + key).digest()
    return int.from_bytes(digest[:8]) * WHOLE_BPS >> 64, int.from_bytes(digest[8:16]) * WHOLE_BPS >> 64
