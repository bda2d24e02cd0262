"""Server-sent events as bytes that all viewers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from headwater.core.errors import HeadwaterError
from headwater.core.ids import new_id
from headwater.services.kit.exchange import frame_chunk
from headwater.services.kit.problem import problem_body
from headwater.services.query.plain import dump_json

MEDIA_TYPE: Final = b"text/event-stream; charset=utf-8"
HEARTBEAT: Final = b": \n\n"
_PIECE_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Event:
    """An event, cut into pieces between which a slow client is waited for.

    ``chunk`` is one of a single piece, framed for the wire; none of several.
    """

    kind: str
    pieces: tuple[bytes, ...]
    chunk: bytes | None = None

    @property
    def size(self) -> int:
        """Return its length in bytes."""
        return sum(map(len, self.pieces))


def make_event(kind: str, data: bytes, *, id: str | None = None) -> Event:  # noqa: A002 - what the format calls it
    """Return an event with ``data``, JSON without line breaks; ``id`` is what a client resumes from."""
    named = f"event: {kind}\n" + (f"id: {id}\n" if id is not None else "")
    text = b"".join((named.encode(), b"data: ", data, b"\n\n"))
    if len(text) <= _PIECE_BYTES:
        return Event(kind, (text,), frame_chunk(text))
    return Event(kind, tuple(text[start : start + _PIECE_BYTES] for start in range(0, len(text), _PIECE_BYTES)))


def closing(kind: str, code: str, detail: str) -> Event:
    """Return the last event of a stream: ``reauth`` asks to come again with what is valid, ``gone`` not to."""
    return make_event(kind, dump_json({"code": code, "detail": detail}))


def problem(error: HeadwaterError, *, instance: str, id: str) -> Event:  # noqa: A002 - as above
    """Return the event that says why there is no result now, as an answer with the error would.

    It has an ``id`` that no state has, so that who comes again behind it gets a whole snapshot.
    """
    return make_event("problem", problem_body(error, instance=instance, request_id=new_id("req")), id=id)


def comment(text: str, **fields: Any) -> bytes:
    """Return the beginning of a stream: a comment and fields such as ``retry``."""
    lines = [f": {text}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\n".join(lines) + "\n\n").encode()
