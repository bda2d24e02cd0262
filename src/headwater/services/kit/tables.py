"""What a table holds by the word of both who know: the lake that has the rows, the journal that sealed them."""

from __future__ import annotations

from headwater.engines.journal.protocol import Journal
from headwater.engines.lake.losses import lost
from headwater.engines.lake.protocol import TableState, TableStore


def table_state(journal: Journal, lake: TableStore, stream: str) -> TableState | None:
    """Return the newest version of a table, or None when it never had a row.

    Raises:
        HeadwaterError: ``storage_unavailable`` when rows were sealed into a table that is not there.
    """
    state = lake.state(stream)
    # Looked at twice: the first rows may have been sealed in between.
    if state is None and journal.find_seal(stream, 0) is not None and (state := lake.state(stream)) is None:
        raise lost(stream)
    return state
