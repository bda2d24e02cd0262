"""How far the online state of a view goes, as the store notes it beside the state itself."""

from __future__ import annotations

from typing import Final

import msgspec


class Progress(msgspec.Struct):
    """What the online state of a view holds.

    Attributes:
        generation: which of its states is read; a back-fill builds the next one.
        journal: the history of sequence numbers that ``seq`` belongs to.
        seq: every row up to this one is in.
        at_us: when that was written.
        tells_by_seq: whether the lake's rows that are not in are those with a higher number. Not so where the table is
            older than the journal and its old rows have numbers of another.
    """

    generation: int
    journal: str
    seq: int
    at_us: int
    tells_by_seq: bool = True


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Progress).decode


def note_name(environment_id: str, view: str, digest: str) -> str:
    """Return the name of the note on the state of a view in one layout."""
    return f"view/{environment_id}/{view}/{digest}"


def space_name(environment_id: str, view: str, digest: str, generation: int) -> str:
    """Return the name of the space that holds one generation of a view's state."""
    return f"{environment_id}/{view}/{digest}/{generation}"


def read_progress(note: bytes | None) -> Progress | None:
    """Return what a note says; None when there is none."""
    return None if note is None else _decode(note)


def write_progress(progress: Progress) -> bytes:
    """Return the note."""
    return _encode(progress)
