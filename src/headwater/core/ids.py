"""Time-ordered identifiers (UUIDv7, RFC 9562 §5.7) shown with a typed prefix: ``rcp_01J8…``.

The textual form is the prefix, an underscore and the 128 bits in Crockford's base 32 (26 characters),
so identifiers of one kind sort by the time they were made, as text and as bytes.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from functools import lru_cache
from typing import Final

from headwater.core.errors import HeadwaterError

ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
TEXT_LENGTH: Final = 26
_VALUES: Final = {letter: value for value, letter in enumerate(ALPHABET)}
_PAIRS: Final = [a + b for a in ALPHABET for b in ALPHABET]

_RANDOM_AND_VERSION_BITS: Final = 80
_RANDOM_BYTES: Final = 10
_POOL_BYTES: Final = _RANDOM_BYTES * 400

_lock = threading.Lock()
_last = 0
_pool = b""


def new_uuid() -> uuid.UUID:
    """Return a UUIDv7 that is greater than every one this process made before."""
    return uuid.UUID(int=_next_int())


def new_id(prefix: str) -> str:
    """Return a fresh identifier such as ``rcp_01JD2N…`` (prefix, underscore, 26 characters)."""
    return f"{prefix}_{encode(_next_int())}"


def new_ids(prefix: str, count: int) -> list[str]:
    """Return ``count`` fresh identifiers, each greater than the one before; cheaper than making them one by one."""
    first = _next_int(count)
    made: list[str] = []
    while len(made) < count:
        # Numbers in a row share all but their last ten bits, that is the last two characters.
        number = first + len(made)
        head = f"{prefix}_{_head(number >> 10)}"
        low = number & 1023
        made.extend([head + pair for pair in _PAIRS[low : low + count - len(made)]])
    return made


def format_id(prefix: str, value: uuid.UUID) -> str:
    """Return the textual form of an existing UUID under ``prefix``."""
    return f"{prefix}_{encode(value.int)}"


def parse_id(prefix: str, text: str) -> uuid.UUID:
    """Return the UUID behind ``text``.

    Raises:
        HeadwaterError: ``invalid_parameter`` when the prefix or the 26 characters are wrong.
    """
    head, _, tail = text.partition("_")
    if head != prefix or len(tail) != TEXT_LENGTH or any(letter not in _VALUES for letter in tail):
        raise HeadwaterError("invalid_parameter", f"{text[:64]!r} is not an identifier of the form {prefix}_…")
    number = 0
    for letter in tail:
        number = number << 5 | _VALUES[letter]
    if number >> 128:
        raise HeadwaterError("invalid_parameter", f"{text[:64]!r} is larger than 128 bits")
    return uuid.UUID(int=number)


def encode(number: int) -> str:
    """Return the 26 Crockford base-32 characters of a 128-bit number."""
    return _head(number >> 10) + _PAIRS[number & 1023]


@lru_cache(maxsize=64)
def _head(number: int) -> str:
    """Return all but the last two characters, which the many identifiers of a busy millisecond have in common."""
    pairs = _PAIRS
    return "".join([pairs[number >> shift & 1023] for shift in range(110, -1, -10)])


def _next_int(count: int = 1) -> int:
    """Return the first of the next ``count`` 128-bit values: milliseconds, then 74 random bits, never decreasing."""
    global _last, _pool  # noqa: PLW0603 - one sequence per process is the point
    millis = time.time_ns() // 1_000_000
    with _lock:
        if millis <= _last >> _RANDOM_AND_VERSION_BITS:
            # Same or earlier millisecond (clock set back): step the random tail, keep the version bits.
            number = _last + 1
        else:
            # Asking the kernel for each identifier would cost more than all the rest, and yield to threads.
            if not _pool:
                _pool = os.urandom(_POOL_BYTES)
            random_bits = int.from_bytes(_pool[:_RANDOM_BYTES], "big")
            _pool = _pool[_RANDOM_BYTES:]
            number = (
                (millis & (1 << 48) - 1) << _RANDOM_AND_VERSION_BITS
                | 0x7 << 76
                | (random_bits >> 68 & 0xFFF) << 64
                | 0b10 << 62
                | random_bits & (1 << 62) - 1
            )
        _last = number + count - 1
    return number


def _drop_pool() -> None:
    """Forget the random bytes and the last value in a forked child, which would otherwise make its parent's ids."""
    global _last, _pool  # noqa: PLW0603 - as above
    _last = 0
    _pool = b""


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drop_pool)
