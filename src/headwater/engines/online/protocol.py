"""What an online store promises: one read for many keys, writes that never go back, and things that expire.

Keys are bytes that begin with a *space* (``space_of``), so that one state of a view can be dropped as a whole. Values
are bytes with a head of 16: the newest event time and the highest sequence number they were made of. A write whose
head is not greater than that of the stored value changes nothing, so replayed and delayed writes are harmless.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple, Protocol

HEAD_BYTES: Final = 16
SPACE_BYTES: Final = 11
_HEAD: Final = struct.Struct(">QQ")
_BIAS: Final = 1 << 63  # instants before 1970 sort before those after it


class Item(NamedTuple):
    """A value to store; ``expires_at_us`` is when nobody can want it any more."""

    key: bytes
    value: bytes
    expires_at_us: int | None = None


def space_of(name: str) -> bytes:
    """Return the prefix of all keys of one space."""
    return b"hwf" + blake2b(name.encode(), digest_size=SPACE_BYTES - 3).digest()


def put_head(event_us: int, seq: int, body: bytes) -> bytes:
    """Return a value: its head and its body."""
    return _HEAD.pack(event_us + _BIAS, seq) + body


def read_head(value: bytes) -> tuple[int, int]:
    """Return the event time in microseconds and the sequence number of a value."""
    event, seq = _HEAD.unpack_from(value)
    return event - _BIAS, seq


class OnlineStore(Protocol):
    """Values by key. Safe to use from several threads and processes; every method but ``fetch`` blocks.

    Whatever is wrong with the store is raised as ``features_unavailable``.
    """

    @property
    def is_immediate(self) -> bool:
        """Return whether ``read`` takes microseconds and may be called in an event loop."""
        ...

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of keys, in their order; None where there is none. One round trip."""
        ...

    async def fetch(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Do as ``read`` without blocking the event loop."""
        ...

    def write(self, items: Sequence[Item], notes: Mapping[str, bytes] | None = None) -> None:
        """Store what is newer than what is there; then, or in the same transaction, the notes."""
        ...

    def note(self, name: str) -> bytes | None:
        """Return a note: small bookkeeping under a name."""
        ...

    async def fetch_note(self, name: str) -> bytes | None:
        """Do as ``note`` without blocking the event loop."""
        ...

    def drop(self, space: bytes) -> None:
        """Delete every value of a space."""
        ...

    def sweep(self, now_us: int) -> int:
        """Delete what has expired, where the store does not by itself; return how many."""
        ...

    def close(self) -> None:
        """Release the store; what is written stays."""
        ...
