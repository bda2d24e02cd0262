"""Reading the canonical text of snapshots piece by piece.

One call that parses a large snapshot would keep every other thread of the interpreter waiting until it is done. A
reader parses one spec at a time, and remembers them: what did not change since the snapshot before is the same object
again, so whoever compiles it can tell at a glance.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any, get_args, get_origin

import msgspec
from pydantic import TypeAdapter, ValidationError

from headwater.core.errors import HeadwaterError
from headwater.core.snapshot import Snapshot

_Pieces = dict[str, msgspec.Raw]
_OBJECT = msgspec.json.Decoder(_Pieces)


class SnapshotReader:
    """Reads the snapshots of one environment, one after the other. Used by one thread at a time."""

    def __init__(self) -> None:
        """Begin knowing nothing."""
        self._known: dict[str, dict[str, tuple[bytes, Any]]] = {}

    def read(self, payload: bytes) -> Snapshot:
        """Return the snapshot.

        Raises:
            HeadwaterError: ``snapshot_invalid`` naming the member that does not parse.
        """
        known: dict[str, dict[str, tuple[bytes, Any]]] = {}
        values: dict[str, Any] = {}
        try:
            for member, text in _OBJECT.decode(payload).items():
                if member not in Snapshot.model_fields:
                    continue  # a newer control says more
                if _spec_of(member) is None:
                    values[member] = _adapter(member).validate_json(bytes(text))
                else:
                    known[member] = self._read_specs(member, _OBJECT.decode(text))
                    values[member] = {name: spec for name, (_, spec) in known[member].items()}
            snapshot = Snapshot.model_validate(values)
        except (ValidationError, msgspec.MsgspecError) as error:
            raise HeadwaterError("snapshot_invalid", f"the snapshot does not parse: {error}") from error
        self._known = known
        return snapshot

    def _read_specs(self, member: str, pieces: _Pieces) -> dict[str, tuple[bytes, Any]]:
        before = self._known.get(member, {})
        adapter = _adapter(member)
        found: dict[str, tuple[bytes, Any]] = {}
        for name, piece in pieces.items():
            text = bytes(piece)
            digest = hashlib.blake2b(text, digest_size=16).digest()
            kept = before.get(name)
            if kept is not None and kept[0] == digest:
                found[name] = kept
            else:
                found[name] = (digest, adapter.validate_json(text))
        return found


@cache
def _spec_of(member: str) -> Any:
    """Return the type of the values of a member that maps names to specs; None for any other member."""
    annotation: Any = Snapshot.model_fields[member].annotation
    return get_args(annotation)[1] if get_origin(annotation) is dict else None


@cache
def _adapter(member: str) -> TypeAdapter[Any]:
    annotation: Any = Snapshot.model_fields[member].annotation
    return TypeAdapter(_spec_of(member) or annotation)
