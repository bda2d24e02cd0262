from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes.memory_journal import MemoryJournal

from headwater.core.errors import HeadwaterError
from headwater.core.setting_sections import IngestSettings, JournalSettings
from headwater.core.settings import Settings
from headwater.engines.journal.protocol import Block, Span
from headwater.services.ingest.admission import Admission


def make(tmp_path: Path, journal: MemoryJournal | None = None, **limits: int) -> Admission:
    settings = Settings(
        ingest=IngestSettings(max_in_flight_bytes=1 << 20),
        journal=JournalSettings(**{"min_free_bytes": 0, "max_unsealed_bytes": 1 << 20, **limits}),
    )
    return Admission(settings, journal or MemoryJournal(), tmp_path)


def test_bytes_in_flight_are_bounded_and_given_back(tmp_path: Path) -> None:
    admission = make(tmp_path)
    first = admission.enter(700_000)
    with pytest.raises(HeadwaterError) as caught:
        admission.enter(700_000)
    assert caught.value.code == "overloaded"
    assert caught.value.retry_after_seconds in range(1, 6)
    first.close()
    first.close()
    assert admission.in_flight_bytes == 0
    admission.enter(700_000)


def test_a_request_that_comes_alone_is_let_in_whatever_its_size(tmp_path: Path) -> None:
    make(tmp_path).enter(2 << 20)


def test_a_body_that_grows_counts(tmp_path: Path) -> None:
    admission = make(tmp_path)
    ticket = admission.enter(0)
    admission.enter(1000)
    with pytest.raises(HeadwaterError):
        ticket.grow(2 << 20)
    ticket.grow(1000)
    assert admission.in_flight_bytes == 2000


def test_a_journal_near_its_limit_lets_nobody_in_and_the_process_is_not_ready(tmp_path: Path) -> None:
    journal = MemoryJournal()
    admission = make(tmp_path, journal)
    admission.check()
    assert admission.problems() == []
    block = Block("env_1/flights", bytes(900_000), 1, (Span("rcp_1", 1, 0, "1.0"),))
    journal.write(lambda transaction: transaction.append(block))
    admission.check()
    with pytest.raises(HeadwaterError) as caught:
        admission.enter(0)
    assert caught.value.code == "overloaded"
    assert "wait to be sealed" in admission.problems()[0]


def test_a_disk_that_is_nearly_full_lets_nobody_in(tmp_path: Path) -> None:
    admission = make(tmp_path, min_free_bytes=1 << 60)
    admission.check()
    with pytest.raises(HeadwaterError) as caught:
        admission.enter(0)
    assert caught.value.code == "storage_exhausted"
