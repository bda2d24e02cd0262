"""One step of sealing, and what it makes of a table that already has some of the blocks."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest
from tests.builders.journal import STREAM, make_block

from headwater.core.clock import FrozenClock
from headwater.core.errors import HeadwaterError
from headwater.core.home import Home
from headwater.core.setting_sections import LakeSettings
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Journal, Seal
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import TableStore
from headwater.jobs.seal import Sealed, seal_segment

CLOCK = FrozenClock(datetime(2026, 1, 1, tzinfo=UTC))
NOW_US = 1_767_225_600_000_000


def append(journal: Journal, *ids: int) -> None:
    for n in ids:
        journal.write(lambda tx, n=n: tx.append(make_block([n, n])))  # type: ignore[misc]


def seal(journal: Journal, lake: TableStore, *, max_rows: int = 1_000) -> Sealed | None:
    limits = LakeSettings(segment_max_rows=max_rows)
    return seal_segment(journal, lake, journal.backlogs()[0], limits=limits, clock=CLOCK)


def ids(lake: TableStore) -> list[int]:
    state = lake.state(STREAM)
    assert state is not None
    return sorted(n for file in state.files for n in pq.read_table(file).column("id").to_pylist())


def test_a_segment_goes_into_the_table_and_out_of_the_journal(journal: Journal, lake: TableStore) -> None:
    append(journal, 1, 2, 3)
    block = journal.read(STREAM, max_rows=4, max_bytes=1 << 20)[-1].id
    sealed = seal(journal, lake, max_rows=4)
    state = lake.state(STREAM)
    assert state is not None
    assert sealed is not None
    assert sealed == Sealed(STREAM, 4, block, state.version, sealed.table)
    assert journal.find_seal(STREAM, 4) == Seal(STREAM, block, 4, state.version, NOW_US)
    assert journal.backlogs()[0].rows == 2
    assert ids(lake) == [1, 1, 2, 2]


def test_blocks_that_the_table_has_are_only_marked(
    journal: Journal, lake: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(journal, 1, 2)
    with monkeypatch.context() as patch:
        patch.setattr(journal, "seal", lambda _seal: (_ for _ in ()).throw(KeyError("died")))
        with pytest.raises(KeyError):
            seal(journal, lake)
    append(journal, 3)
    first = seal(journal, lake)
    assert first is not None
    assert first.rows == 4
    assert ids(lake) == [1, 1, 2, 2]
    seal(journal, lake)
    assert ids(lake) == [1, 1, 2, 2, 3, 3]
    assert journal.backlogs() == []


def test_a_journal_older_than_its_lake_is_told_from_a_crash(
    journal: Journal, lake: TableStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(journal, 1)
    monkeypatch.setattr(lake, "committed", lambda _stream, _app: 1_000)
    with pytest.raises(HeadwaterError, match="older than the lake") as caught:
        seal(journal, lake)
    assert caught.value.code == "conflict"
    assert journal.backlogs()[0].rows == 2


def test_nothing_waiting_is_nothing_done(journal: Journal, lake: TableStore) -> None:
    append(journal, 1)
    backlog = journal.backlogs()[0]
    journal.seal(Seal(STREAM, backlog.last_block, 2, 1, 1))
    assert seal_segment(journal, lake, backlog, limits=LakeSettings(), clock=CLOCK) is None


def test_rows_stay_in_the_journal_when_the_table_of_earlier_ones_is_gone(
    journal: Journal, lake: TableStore, settings: Settings
) -> None:
    append(journal, 1)
    seal(journal, lake)
    table = Home(settings.home).lake / STREAM
    table.rename(table.with_name("away"))
    append(journal, 2)
    for store in (lake, open_lake(settings)):  # the second has never seen the table; the journal's seals tell
        with pytest.raises(HeadwaterError) as caught:
            seal(journal, store)
        assert caught.value.code == "storage_unavailable"
    assert journal.backlogs()[0].rows == 2
    table.with_name("away").rename(table)
    seal(journal, lake)
    assert ids(lake) == [1, 1, 2, 2]
