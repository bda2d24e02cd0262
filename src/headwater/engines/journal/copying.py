"""What a copy of a journal knows: which blocks it holds, so that a lake can be copied to match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw

from headwater.engines.journal.faults import translated

_POSITIONS: Final = """
    SELECT name, max(
        coalesce((SELECT max(id) FROM blocks WHERE stream_id = s.id), 0),
        coalesce((SELECT max(through_block) FROM seals WHERE stream_id = s.id), 0))
    FROM streams s"""


@dataclass(frozen=True, slots=True)
class JournalPosition:
    """Where a journal stands: its identity, and by stream the last block that it ever gave to it."""

    uuid: str
    last_blocks: Mapping[str, int]


def read_position(path: Path) -> JournalPosition:
    """Return where the journal at ``path`` stands; it is only read."""
    with translated(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            uuid: str = connection.execute("SELECT uuid FROM journal").get
            found: list[Any] = connection.execute(_POSITIONS).fetchall()
            return JournalPosition(uuid, dict(found))
        finally:
            connection.close()
